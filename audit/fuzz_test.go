package audit_test

import (
	"bytes"
	"testing"

	"github.com/behalf-dev/behalf/audit"
)

// FuzzCheckpoint: what is accepted is byte for byte what is written, and a changed
// line is not signed.
func FuzzCheckpoint(f *testing.F) {
	e := newEvidence(f)
	for _, line := range e.checkpoints {
		f.Add(line)
	}
	f.Add([]byte(`{"heads":[],"key":"","number":"0","previous":"","signature":"","time":"0"}`))
	f.Add([]byte(`{"heads":[{"hash":"","sequence":"-0","tenant":"a"}],"key":""}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := audit.ParseCheckpoint(line)
		if err != nil {
			return
		}
		own := false
		for _, known := range e.checkpoints {
			own = own || bytes.Equal(known, line)
		}
		if c.SignedBy(e.key) && !own {
			t.Fatalf("a line that nobody signed counts as signed: %q", line)
		}
		again, err := audit.ParseCheckpoint(line)
		if err != nil || again.Hash() != c.Hash() {
			t.Fatalf("read twice, got %v and another hash", err)
		}
	})
}
