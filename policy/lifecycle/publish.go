package lifecycle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/policy/engine"
)

// How often a folder that changes is read again, and how long after the first
// time; each wait is twice the one before.
const (
	maxReads  = 5
	firstWait = 20 * time.Millisecond
)

// Publish loads a set as it may be put in force: parsed, validated, linted, and
// every case of the *.policytest.yaml beside the policies holds. The error joins
// every [Problem]: those of the policies, or those of their tests.
//
// A file that was written half cannot be known from one that is meant so, but a
// folder that changes while it is read can: it is read again, and if it does not
// come to rest, refused. One that does not answer is refused as well.
func Publish(c engine.Config) (*engine.Set, error) {
	return c.InTime(func() (*engine.Set, error) { return publish(c) })
}

func publish(c engine.Config) (*engine.Set, error) {
	fsys := c.Files()
	wait := firstWait
	for range maxReads {
		before := fingerprint(fsys)
		set, err := tested(c)
		files := keep(fsys)
		switch {
		case fingerprint(fsys) != before:
		case err != nil:
			return nil, err
		default:
			return set.Keeping(files), nil
		}
		<-time.After(wait) // no event says that whoever writes there is done
		wait *= 2
	}
	return nil, &engine.Problem{File: c.Dir, Inside: ".", Line: 1, Column: 1, Text: "changes while it is read; publish when all files are in their place"}
}

func tested(c engine.Config) (*engine.Set, error) {
	set, err := engine.Load(c)
	if err != nil {
		return nil, err
	}
	results, err := RunTests(set, c.Files())
	errs := []error{below(c, err)}
	for _, r := range results {
		if len(r.Failures) > 0 {
			errs = append(errs, problem(c, r.Case.file, r.Case.line, fmt.Sprintf("case %q: %s", r.Case.Name, strings.Join(r.Failures, "; "))))
		}
	}
	if c.Covered {
		errs = append(errs, uncovered(c, set, results)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return set, nil
}

// uncovered are the policies that the tests do not show.
func uncovered(c engine.Config, set *engine.Set, results []CaseResult) (errs []error) {
	for _, s := range CoverageOf(set, results).Policies {
		if gap := s.Gap(); gap != "" {
			errs = append(errs, problem(c, s.File, s.Line, fmt.Sprintf("%s: %s", s.ID, gap)))
		}
	}
	return errs
}

func problem(c engine.Config, file string, line int, text string) *engine.Problem {
	return &engine.Problem{File: path.Join(c.Dir, file), Inside: file, Line: line, Column: 1, Text: text}
}

// below puts the problems of a test file where the folder is.
func below(c engine.Config, err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for _, e := range engine.Flatten(err) {
		if p, ok := errors.AsType[*engine.Problem](e); ok {
			at := *p
			at.File = path.Join(c.Dir, p.File)
			e = &at
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// keep copies what a set is made of. What cannot be read is left out: it is a problem
// of the set, which is not put in force then.
func keep(fsys fs.FS) fs.FS {
	files := fstest.MapFS{}
	for _, name := range slices.Concat(glob(fsys, "*"), glob(fsys, "tenants/*/*")) {
		if src, err := fs.ReadFile(fsys, name); ours(name) && err == nil {
			files[name] = &fstest.MapFile{Data: src}
		}
	}
	return files
}

func ours(name string) bool {
	return strings.HasSuffix(name, ".cedar") || strings.HasSuffix(name, testSuffix)
}

// fingerprint is the hash of all that a set is made of, and of what could not be
// read of it.
func fingerprint(fsys fs.FS) [sha256.Size]byte {
	h := sha256.New()
	for _, dir := range append([]string{".", "tenants"}, glob(fsys, "tenants/*")...) {
		entries, err := fs.ReadDir(fsys, dir)
		field(h, fmt.Sprint(dir, err != nil))
		for _, e := range entries {
			if name := path.Join(dir, e.Name()); ours(name) {
				hashFile(h, fsys, name)
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func glob(fsys fs.FS, pattern string) []string {
	names, _ := fs.Glob(fsys, pattern) // the pattern is well formed
	return names
}

// field keeps what follows from being read as part of it.
func field(w io.Writer, s string) { fmt.Fprintf(w, "%d:%s,", len(s), s) }

func hashFile(h hash.Hash, fsys fs.FS, name string) {
	field(h, name)
	f, err := fsys.Open(name)
	if err != nil {
		field(h, "cannot be opened")
		return
	}
	defer func() { _ = f.Close() }()
	n, err := io.Copy(h, io.LimitReader(f, engine.MaxFile+1)) // a larger one is refused
	field(h, fmt.Sprint(n, err != nil))
}
