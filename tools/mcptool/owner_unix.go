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

// shared reports whether others than its owner may change a file. A group of the owner's
// own has nobody else in it: where people have one, of the same number, their umask is
// often 002, and all that they make is the group's too.
func shared(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	return mode&0o002 != 0 || mode&0o020 != 0 && (!ok || st.Gid != st.Uid)
}
