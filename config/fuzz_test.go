package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse: no input panics; it is a configuration or problems, each on one
// line, and no problem repeats what a reference stands for.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../config.example.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data, canaryWorld())

		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want one of them", c, err)
		}
		if err == nil {
			_ = c.Revision()
			_ = c.Ceilings(nil, nil)
			return
		}
		lookAtTheRest(err)
		if strings.Contains(err.Error(), canary) && !strings.Contains(string(data), canary) {
			t.Fatalf("got %v, want the secret masked", err)
		}
		if got, want := strings.Count(err.Error(), "\n")+1, len(problems(t, err)); got != want {
			t.Fatalf("got %d lines, want %d", got, want)
		}
	})
}

// lookAtTheRest asks all that a command asks: what is half there must not panic.
func lookAtTheRest(err error) {
	if list, ok := errors.AsType[*Problems](err); ok && list.Rest != nil {
		_, _ = list.Rest.CheckServe(), list.Rest.CheckTools(map[string][]string{"desk": {"look"}}, nil)
		_, _ = list.Rest.Ceilings(nil, nil), list.Rest.Notes()
	}
}
