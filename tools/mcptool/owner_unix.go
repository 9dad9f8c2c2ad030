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

// shared reports whether somebody may change a file who could not put another one in its
// place anyway: a group that may change both it and its folder is no more than it was.
// With a umask of 002, which many have, all that they make is like that.
func shared(path string, info os.FileInfo) bool {
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		return true
	case mode&0o020 == 0:
		return false
	}
	dir, err := os.Stat(filepath.Dir(path))
	return err != nil || dir.Mode().Perm()&0o020 == 0 || dir.Mode()&os.ModeSticky != 0 || !sameGroup(dir, info)
}

func sameGroup(a, b os.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return ok && also && x.Gid == y.Gid
}
