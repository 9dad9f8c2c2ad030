//go:build unix

package whole

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// tryLock opens it for reading alone, which is enough to lock it: who made it may be
// somebody else.
func tryLock(path string, mode fs.FileMode) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	_ = f.Chmod(mode) // for those who may lock it, whatever the umask of who made it
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrHeld
		}
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
