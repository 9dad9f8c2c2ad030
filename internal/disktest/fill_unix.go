//go:build unix

package disktest

import (
	"os/signal"
	"syscall"
	"testing"
)

// Fill makes every write of the process fail that goes beyond size bytes of a file,
// as a full disk does; 0: every write to any file. The test calls mend, or it is
// mended when the test ends.
func Fill(t *testing.T, size uint64) (mend func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ) // the error is enough
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	set := func(size uint64) {
		full := old
		full.Cur = size
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
			t.Fatal(err)
		}
	}
	mend = func() { set(old.Cur) }
	t.Cleanup(mend)
	set(size)
	return mend
}
