package audit

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// Checkpoint is a signed statement of where chains ended at a time. It names the
// tenants whose chains grew since the checkpoint before, and holds the hash of
// that one, so that a checkpoint cannot be left out unseen either.
type Checkpoint struct {
	Number    int64 // gapless from 1 in a store
	Time      int64 // UTC, nanoseconds since 1970
	Key       string
	Previous  string // hash of the line before, empty for the first
	Heads     []TenantHead
	Signature string // base64url Ed25519 over domain and the line without signature
}

// TenantHead is the head of one tenant's chain.
type TenantHead struct {
	Tenant string
	Head
}

// domain keeps a checkpoint's signature from meaning anything elsewhere.
const domain = "behalf audit checkpoint 1\n"

// Sign signs c and gives its line: canonical JSON, without the line feed. Heads
// must be sorted by tenant. A key that is elsewhere (a KMS, a token) may fail, and
// what it gives back is held against its public half: a line that nobody can
// verify must not get into the log.
func (c *Checkpoint) Sign(key crypto.Signer) ([]byte, error) {
	public, err := PublicOf(key)
	if err != nil {
		return nil, err
	}
	c.Key = KeyID(public)
	signature, err := key.Sign(rand.Reader, c.signed(), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	c.Signature = base64.RawURLEncoding.EncodeToString(signature)
	if !c.SignedBy(public) {
		return nil, errSignature
	}
	return c.line(), nil
}

var errSignature = errors.New("sign checkpoint: the signature does not fit the public key")

// SignedBy says whether key signed c.
func (c *Checkpoint) SignedBy(key ed25519.PublicKey) bool {
	sig, err := base64.RawURLEncoding.Strict().DecodeString(c.Signature)
	return err == nil && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, c.signed(), sig)
}

// Hash is what the next checkpoint names as Previous.
func (c *Checkpoint) Hash() string { return hashOf(c.line()) }

// ParseCheckpoint reads a line strictly: it accepts what Sign writes, byte for
// byte. It does not look at the signature.
func ParseCheckpoint(line []byte) (Checkpoint, error) {
	var c Checkpoint
	d := reader{s: string(line)}
	d.heads(`{"heads":[`, &c.Heads)
	c.layoutRest(&d, true)
	if err := d.end(); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	if !bytes.Equal(c.line(), line) {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", errNotCanonical)
	}
	return c, nil
}

func (c *Checkpoint) signed() []byte { return c.write([]byte(domain), false) }
func (c *Checkpoint) line() []byte   { return c.write(nil, true) }

func (c *Checkpoint) write(prefix []byte, signature bool) []byte {
	w := &writer{b: prefix}
	w.heads(`{"heads":[`, c.Heads)
	c.layoutRest(w, signature)
	return w.b
}

func (c *Checkpoint) layoutRest(d codec, signature bool) {
	d.text(`],"key":`, &c.Key)
	d.num(`,"number":`, &c.Number)
	d.text(`,"previous":`, &c.Previous)
	if signature {
		d.text(`,"signature":`, &c.Signature)
	}
	d.num(`,"time":`, &c.Time)
	d.lit(`}`)
}

func layoutHead(c codec, h *TenantHead) {
	c.text(`{"hash":`, &h.Hash)
	c.num(`,"sequence":`, &h.Sequence)
	c.text(`,"tenant":`, &h.Tenant)
	c.lit(`}`)
}

func (w *writer) heads(lit string, hs []TenantHead) {
	w.lit(lit)
	for i := range hs {
		if i > 0 {
			w.lit(",")
		}
		layoutHead(w, &hs[i])
	}
}

func (d *reader) heads(lit string, hs *[]TenantHead) {
	d.lit(lit)
	for d.err == nil && d.s != "" && d.s[0] != ']' {
		if len(*hs) > 0 {
			d.lit(",")
		}
		var h TenantHead
		layoutHead(d, &h)
		*hs = append(*hs, h)
	}
}
