//go:build unix

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockFile keeps a second writer out. The lock has a file of its own beside the
// database: SQLite's locks go when anybody in the process closes the database's.
// The kernel releases it when the process dies, however it dies.
func lockFile(path string) (unlock func(), err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return lockName(path + "-lock")
}

// lockName holds a file that is made for that.
func lockName(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrInUse, path, err)
	}
	return func() { f.Close() }, nil
}
