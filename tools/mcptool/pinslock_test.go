package mcptool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/behalf-dev/behalf/internal/whole"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

// TestTwoWhoAcceptAtOnceLoseNothing has a lock for each, as two processes have.
func TestTwoWhoAcceptAtOnceLoseNothing(t *testing.T) {
	const each = 20
	path := filepath.Join(t.TempDir(), "tools.lock")
	var writers sync.WaitGroup
	for _, who := range []string{"operator", "service"} {
		writers.Go(func() {
			pins := mcptool.NewFilePins(path)
			for i := range each {
				if err := pins.Save(fmt.Sprint(who, i), map[string]mcptool.Pin{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"operator", "service"} {
		for i := range each {
			want(t, string(text), fmt.Sprintf("%q", fmt.Sprint(who, i)))
		}
	}
}

func TestWhoeverHoldsTheLockOfPinsForLongIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tools.lock")
		unlock, err := whole.TryLock(path+"-lock", 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()

		err = mcptool.NewFilePins(path).Save("ext", map[string]mcptool.Pin{})

		if !errors.Is(err, whole.ErrHeld) || !strings.Contains(err.Error(), "tools.lock-lock") {
			t.Errorf("got %v, want the lock named", err)
		}
		if _, err := mcptool.NewFilePins(path).Load("ext"); err != nil {
			t.Errorf("got %v, want it read all the same", err)
		}
	})
}
