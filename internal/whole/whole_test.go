package whole_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/behalf-dev/behalf/internal/whole"
)

func TestAFileIsReplacedOrAsItWas(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	for _, text := range []string{"old", "new"} {
		if err := whole.Replace(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := whole.Replace(filepath.Join(dir, "no", "such", "folder"), nil); err == nil {
		t.Error("a file was written where there is no folder")
	}
	taken := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(taken, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := whole.Replace(taken, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}

	text, err := os.ReadFile(file)
	info, statErr := os.Stat(file)
	if err != nil || statErr != nil || string(text) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("got %q, %v, %v, want new and 0600", text, err, statErr)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want nothing left beside it", left, err)
	}
}
