//go:build !unix

package runs

import "os"

// lockDir cannot lock here: that only one process uses the directory is the
// operator's promise.
func lockDir(dir string) (unlock func(), err error) {
	return func() {}, os.MkdirAll(dir, 0o700)
}
