package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/behalf-dev/behalf/internal/whole"
)

// lockFile keeps a second writer out. The lock has a file of its own beside the
// database: SQLite's locks go when anybody in the process closes the database's.
// Where there are no such locks a second writer is noticed and ends both (see agree).
func lockFile(path string) (unlock func(), err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return lockName(path + "-lock")
}

// lockName holds a file that is made for that.
func lockName(path string) (unlock func(), err error) {
	unlock, err = whole.TryLock(path, 0o600)
	if errors.Is(err, whole.ErrHeld) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return unlock, nil
}
