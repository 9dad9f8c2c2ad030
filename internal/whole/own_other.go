//go:build !unix

package whole

import "io/fs"

// Here a file's owner is not known this way.
func checkOwner(string, fs.FileInfo) error { return nil }
