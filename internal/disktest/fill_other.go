//go:build !unix

package disktest

import "testing"

// Fill skips the test: a disk cannot be filled here.
func Fill(t *testing.T, _ uint64) (mend func()) {
	t.Skip("needs RLIMIT_FSIZE")
	return nil
}
