package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// CheckWitness says why OpenWitness would not open a file. It makes nothing.
func CheckWitness(path string) error { return checkOpen(path, checkDir) }

// CheckPrivate says why a file of mode 0600 could not be opened for writing, or
// made together with the folders that it is in. It makes nothing.
func CheckPrivate(path string) error { return checkOpen(path, CheckFolder) }

func checkOpen(path string, checkDir func(string) error) error {
	info, err := os.Stat(path)
	switch {
	case isAbsent(err):
		return checkDir(filepath.Dir(path))
	case err != nil:
		return pathError(err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	}
	if err := CheckMode(path); err != nil {
		return err
	}
	// Not by opening it: closing a database that this process has open would let
	// go of its locks.
	if err := mayChange(path); err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return nil
}

// CheckFolder says why nothing could be made in a folder, which is made too if
// it is not there, with those that it is in. It makes nothing.
func CheckFolder(dir string) error {
	for {
		_, err := os.Stat(dir)
		above := filepath.Dir(dir)
		if !isAbsent(err) || above == dir {
			return checkDir(dir)
		}
		dir = above
	}
}

// missingError is a folder that is not there; it is fs.ErrNotExist.
type missingError struct{ dir string }

func (e *missingError) Error() string { return "the folder " + e.dir + " is not there" }
func (e *missingError) Unwrap() error { return fs.ErrNotExist }

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case isAbsent(err):
		return &missingError{dir}
	case err != nil:
		return pathError(err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	if err := mayMakeIn(dir); err != nil {
		return fmt.Errorf("nothing can be made in the folder %s: %w", dir, err)
	}
	return nil
}

// isAbsent also knows what is below a file, where nothing can be.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// pathError leaves out the name of the system call.
func pathError(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}
