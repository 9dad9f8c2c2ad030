package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// fill appends n rows and gives the store.
func fill(t testing.TB, cfg store.Config, n int) *storetest.Running {
	t.Helper()
	s := storetest.Start(t, cfg)
	for i := range n {
		if err := s.Append(audit.Entry{Record: storetest.Sample("acme", fmt.Sprint("run_abcdefghijklmnopqrstuvwxyz/", i))}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// files gives name and hash of every file beside the database; shared memory and
// the lock are no files of the database and are left out.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		text, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(n, "-shm") && !strings.HasSuffix(n, "-lock") {
			out[n] = fmt.Sprintf("%x", sha256.Sum256(text))
		}
	}
	return out
}

func verifyFile(t *testing.T, path string, want int64) {
	t.Helper()
	r, err := store.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := storetest.Verify(t, r); len(got.Tenants) != 1 || got.Tenants[0].Rows != want {
		t.Errorf("got %+v, want %d rows", got, want)
	}
}

func TestReadOnlyChangesNothingAfterAShutdown(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "be half?#%.db")
	fill(t, store.Config{DSN: "sqlite://" + path}, 5).Stop()
	before := files(t, dir)

	verifyFile(t, path, 5)

	if after := files(t, dir); !maps.Equal(before, after) || len(after) != 1 {
		t.Errorf("got %v, want %v", after, before)
	}
}

func TestReadOnlyWorksBesideAServer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "behalf.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path}, 5)
	before := files(t, dir)

	verifyFile(t, path, 5)

	if after := files(t, dir); !maps.Equal(before, after) {
		t.Errorf("got %v, want %v", after, before)
	}
	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/6")}).Wait(t.Context()); err != nil {
		t.Error(err)
	}
	verifyFile(t, path, 6)
}

func TestReadOnlyReadsWhatACrashLeft(t *testing.T) {
	for _, left := range [][]string{{"", "-wal", "-shm"}, {"", "-wal"}} {
		dir, crashed := t.TempDir(), t.TempDir()
		path := filepath.Join(dir, "behalf.db")
		fill(t, store.Config{DSN: "sqlite://" + path}, 5)
		for _, suffix := range left {
			text, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(crashed, "behalf.db"+suffix), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := files(t, crashed)

		verifyFile(t, filepath.Join(crashed, "behalf.db"), 5)

		if after := files(t, crashed); !maps.Equal(before, after) {
			t.Errorf("%v: got %v, want %v", left, slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
		}
	}
}

func TestReadOnlyNoticesAServerThatStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "behalf.db")
	fill(t, store.Config{DSN: "sqlite://" + path}, 5).Stop()
	r, err := store.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fill(t, store.Config{DSN: "sqlite://" + path}, 5)

	var got error
	for _, err := range r.Rows(t.Context()) {
		got = err
	}

	if got == nil {
		t.Error("got no error, want one: the file changed under the reader")
	}
}

func TestReadOnlyRefusesToMakeADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nothing.db")

	_, err := store.OpenReadOnly(path)

	if !errors.Is(err, os.ErrNotExist) || len(files(t, filepath.Dir(path))) != 0 {
		t.Errorf("got %v", err)
	}
}
