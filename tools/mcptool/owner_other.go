//go:build !unix

package mcptool

import "os"

// trusted: files have no owner that we could compare.
func trusted(string, os.FileInfo) bool { return true }
