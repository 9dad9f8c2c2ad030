package audit_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
)

// places has a folder, a file in it and a file that others can read.
func places(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"shut": 0o600, "open": 0o644} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestALookFindsWhatCannotBeOpenedOrMade(t *testing.T) {
	witness, private, folder := audit.CheckWitness, audit.CheckPrivate, audit.CheckFolder
	for name, row := range map[string]struct {
		look func(string) error
		path string
		want string // empty: fine
	}{
		"a new witness":               {witness, "new", ""},
		"a witness that is there":     {witness, "shut", ""},
		"a witness that others read":  {witness, "open", "has mode 0644; run chmod 600"},
		"a witness in no folder":      {witness, "gone/new", "gone is not there"},
		"a witness below a file":      {witness, "shut/new", "shut is not a folder"},
		"a witness that is a folder":  {witness, ".", "is not a file"},
		"a new store":                 {private, "new", ""},
		"a new store in a new folder": {private, "a/b/new", ""},
		"a store below a file":        {private, "shut/b/new", "shut is not a folder"},
		"a store that others read":    {private, "open", "has mode 0644"},
		"a folder":                    {folder, ".", ""},
		"a new folder in a new one":   {folder, "a/b", ""},
		"a folder that is a file":     {folder, "shut", "shut is not a folder"},
		"a folder far below a file":   {folder, "shut/a/b", "shut is not a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := places(t)

			err := row.look(filepath.Join(dir, row.path))

			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 2 {
				t.Errorf("got %v, want nothing made", left)
			}
		})
	}
}

func TestALookFindsAFolderThatIsShut(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := filepath.Join(t.TempDir(), "shut")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}

	for _, err := range []error{audit.CheckWitness(filepath.Join(dir, "new")), audit.CheckFolder(filepath.Join(dir, "a", "b"))} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want that it is not permitted", err)
		}
	}
}
