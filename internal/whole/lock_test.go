//go:build unix

package whole_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/internal/whole"
)

func TestALockIsOfOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it-lock")
	unlock, err := whole.TryLock(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whole.TryLock(path, 0o644); !errors.Is(err, whole.ErrHeld) {
		t.Errorf("got %v, want it held", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("got %v, %v, want the mode that was asked for", info, err)
	}

	unlock()

	if unlock, err = whole.TryLock(path, 0o644); err != nil {
		t.Fatal(err)
	}
	unlock()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := whole.TryLock(link, 0o644); err == nil || errors.Is(err, whole.ErrHeld) {
		t.Errorf("got %v, want a link refused", err)
	}
}

func TestWhoWaitsForALockGetsItOrIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "it-lock")
		unlock, err := whole.TryLock(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}

		begun := time.Now()
		if _, err := whole.Lock(path, 0o600, time.Second); !errors.Is(err, whole.ErrHeld) || time.Since(begun) < time.Second {
			t.Errorf("got %v after %v, want it held for a second", err, time.Since(begun))
		}
		time.AfterFunc(time.Second, unlock)
		mine, err := whole.Lock(path, 0o600, time.Minute)

		if err != nil || time.Since(begun) > 3*time.Second {
			t.Fatalf("got %v after %v, want it once it was free", err, time.Since(begun))
		}
		mine()
	})
}
