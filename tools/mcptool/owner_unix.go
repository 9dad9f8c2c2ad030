//go:build unix

package mcptool

import (
	"os"
	"path/filepath"
	"syscall"
)

// trusted reports whether a file is of somebody who decides here anyway: us, root, or
// who has its folder and could put another one there.
func trusted(path string, info os.FileInfo) bool {
	uid, ok := owner(info)
	if !ok {
		return false
	}
	if uid == 0 || int(uid) == os.Geteuid() {
		return true
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return false
	}
	of, ok := owner(dir)
	return ok && of == uid
}

func owner(info os.FileInfo) (uid uint32, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Uid, true
}
