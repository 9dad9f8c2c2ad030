package runs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/behalf-dev/behalf/internal/whole"
)

// lockDir keeps a second process out: two servers on the same files destroy them.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err = whole.TryLock(filepath.Join(dir, "lock"), 0o600)
	if errors.Is(err, whole.ErrHeld) {
		return nil, fmt.Errorf("another process uses %s: %w", dir, err)
	}
	return unlock, err
}
