package config

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func problems(t *testing.T, err error) []Problem {
	t.Helper()
	list, ok := errors.AsType[*Problems](err)
	if !ok || len(list.List) == 0 {
		t.Fatalf("got %v, want problems", err)
	}
	return list.List
}

// TestBadFilesHaveTheirProblems reads testdata/NAME.yaml and compares with
// testdata/NAME.problems.
func TestBadFilesHaveTheirProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v, want bad files", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := world(map[string]fs.FileMode{"open.key": 0o644, "shut.key": 0o600, "cert.pem": 0o644})

			_, err = Parse(filepath.Base(file), data, w)

			if err == nil {
				t.Fatal("got none, want problems")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".problems", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("want, got (-update writes it):\n%s", d)
	}
}

func TestEveryProblemSaysWhereAndWhatToDo(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(file, data, world(nil))
		for _, p := range problems(t, err) {
			if p.Fix == "" || p.File == "" || strings.Contains(p.Message, "\n") {
				t.Errorf("got %q, want one line with a place and what to do", p)
			}
		}
	}
}

func TestTheNearestKeyIsSuggested(t *testing.T) {
	keys := []string{"tools", "model", "scopes", "max_turns"}
	for word, want := range map[string]string{"tols": "tools", "mdoel": "model", "Scopes": "scopes", "maxturns": "max_turns", "x": "", "temperature": ""} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
