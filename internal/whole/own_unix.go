//go:build unix

package whole

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func checkOwner(file string, info fs.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if ok && int64(s.Uid) == int64(os.Geteuid()) {
		return nil
	}
	return fmt.Errorf("%s belongs to another user than the one that runs this: chown it if you trust what is in it, or remove it", file)
}
