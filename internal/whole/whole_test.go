package whole_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

func TestALinkIsNotTheProgramsOwnFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "keys"), filepath.Join(dir, "link")
	if err := whole.CheckOwn(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no file", err)
	}
	if err := whole.Replace(file, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := whole.CheckOwn(file); err != nil {
		t.Error(err)
	}
	for _, other := range []string{link, dir} {
		if err := whole.CheckOwn(other); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want it refused", filepath.Base(other), err)
		}
	}
}

func TestAFileOfAnotherUserIsNotTheProgramsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	file := filepath.Join(t.TempDir(), "keys")
	if err := whole.Replace(file, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := whole.CheckOwn(file); err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("got %v, want it refused", err)
	}
}
