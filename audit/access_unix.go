//go:build unix

package audit

import "syscall"

// What the kernel can be asked: it knows of owners, lists and read-only disks.
const (
	enter = 1
	write = 2
	read  = 4
)

func mayMakeIn(dir string) error  { return syscall.Access(dir, write|enter) }
func mayChange(file string) error { return syscall.Access(file, read|write) }
