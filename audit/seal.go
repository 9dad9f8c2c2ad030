package audit

import (
	"crypto/sha256"
	"encoding/hex"
)

// Head is the end of a tenant's chain. The zero Head is a chain without rows.
type Head struct {
	Sequence int64
	Hash     string
}

// Head is the end of the chain that the record, once sealed, is the last of.
func (r *Record) Head() Head { return Head{Sequence: r.Sequence, Hash: r.Hash} }

// Seal makes r the next of the chain that ends in prev: it sets Sequence,
// PreviousHash and Hash and gives the bytes to store. The caller owns the bytes
// and must not seal two records on one head.
//
// Text that is not UTF-8 cannot be stored exactly; in that case r is replaced by
// what was stored, so that the record in hand is the record in the log.
func Seal(prev Head, r *Record) []byte {
	r.Sequence, r.PreviousHash = prev.Sequence+1, prev.Hash
	w := newWriter(r)
	layoutRecord(w, r)
	if w.scrubbed {
		if stored, err := Parse(w.b); err == nil {
			*r = stored
		}
	}
	r.Hash = hashOf(w.b)
	return w.b
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
