package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Verdict is what became of a mutant.
type Verdict string

// All but Caught are failures.
const (
	Caught   Verdict = "caught"
	Survived Verdict = "SURVIVED"
	Broken   Verdict = "DOES NOT COMPILE"
	Rotten   Verdict = "DOES NOT APPLY"
)

// Result is how one mutant ended.
type Result struct {
	Name    string  `json:"name"`
	Holds   string  `json:"holds"`
	File    string  `json:"file"`
	Area    string  `json:"area"`
	Verdict Verdict `json:"verdict"`
	By      string  `json:"by,omitempty"`    // folder and name of the test that caught it
	Cause   string  `json:"cause,omitempty"` // why it was not
	Seconds float64 `json:"seconds"`
}

// lab builds and runs tests of a tree of which some files are replaced. When it is
// sound, try may be called by several goroutines.
type lab struct {
	root  string        // of the project
	dir   string        // for files of its own
	limit time.Duration // of the tests of one folder
	made  atomic.Int64

	programs map[string]string // the tests of a folder, with the mutants of woven in them
	woven    map[string]bool   // by name
}

// try sees whether the suite notices a mutant.
func (l *lab) try(ctx context.Context, m *Mutant) Result {
	start := time.Now()
	r := Result{Name: m.Name, Holds: m.Holds, File: m.File, Area: m.Area}
	r.Verdict, r.By, r.Cause = l.judge(ctx, m)
	r.Seconds = time.Since(start).Seconds()
	return r
}

func (l *lab) judge(ctx context.Context, m *Mutant) (v Verdict, by, cause string) {
	text, err := m.apply(l.root)
	if err == nil {
		_, err = m.tests(testsIn(l.root))
	}
	if err != nil {
		return Rotten, "", err.Error()
	}
	if !l.woven[m.Name] {
		return l.alone(ctx, m, text)
	}
	for _, dir := range m.In {
		if test := l.run(ctx, dir, l.programs[dir], m.Run, m.Name); test != "" {
			return Caught, dir + " " + test, ""
		}
	}
	return Survived, "", ""
}

// alone judges a mutant that has to be built by itself.
func (l *lab) alone(ctx context.Context, m *Mutant, text []byte) (v Verdict, by, cause string) {
	overlay, err := l.overlay(m.File, text)
	if err != nil {
		return Rotten, "", err.Error()
	}
	for _, dir := range m.In {
		program, err := l.build(ctx, dir, overlay)
		if err != nil {
			return Broken, "", err.Error()
		}
		test := l.run(ctx, dir, program, m.Run, m.Name)
		_ = os.Remove(program) // they are large
		if test != "" {
			return Caught, dir + " " + test, ""
		}
	}
	return Survived, "", ""
}

// overlay writes the file that tells Go what to read instead of what.
func (l *lab) overlay(file string, text []byte) (string, error) {
	base := l.name("source")
	from, err := filepath.Abs(filepath.Join(l.root, file))
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {from: base + ".go"}})
	if err != nil {
		return "", err
	}
	return base + ".json", errors.Join(os.WriteFile(base+".go", text, 0o600), os.WriteFile(base+".json", list, 0o600))
}

func (l *lab) name(kind string) string {
	return filepath.Join(l.dir, kind+strconv.FormatInt(l.made.Add(1), 10))
}

// build makes the tests of a folder, so that what does not compile is told from
// what fails. Neither vet nor the linker's tables for debuggers are of use here.
func (l *lab) build(ctx context.Context, dir, overlay string) (string, error) {
	out := l.name("tests")
	args := []string{"test", "-c", "-p=1", "-vet=off", "-ldflags=-s -w", "-o", out}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+dir)...) //nolint:gosec // folders are the project's own
	cmd.Dir = l.root
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, shorten(said))
	}
	return out, nil
}

// none is the name of no mutant.
const none = ""

// run runs tests as a mutant until one fails, and names it; empty: none did.
func (l *lab) run(ctx context.Context, dir, program, pattern, mutant string) string {
	limit := l.limit
	if mutant == none {
		limit *= 5 // all tests, and nothing that may hang
	}
	cmd := exec.CommandContext(ctx, program, "-test.run="+pattern, "-test.count=1", "-test.failfast", "-test.timeout="+limit.String()) //nolint:gosec // it was built here
	cmd.Dir, cmd.Env = filepath.Join(l.root, dir), append(os.Environ(), chooser+"="+mutant)
	cmd.WaitDelay = 10 * time.Second
	said, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		return ""
	}
	return failed(said)
}

var (
	failure = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	running = regexp.MustCompile(`(?m)^\s+(\S+) \([\d.]+m?s\)$`)
)

// failed finds the first test that failed, as deep inside as it says, in what a
// program of tests printed.
func failed(said []byte) string {
	name := ""
	for _, f := range failure.FindAllSubmatch(said, -1) {
		if next := string(f[1]); name == "" || strings.HasPrefix(next, name+"/") {
			name = next
		}
	}
	if name != "" {
		return name
	}
	if _, after, late := bytes.Cut(said, []byte("running tests:")); late {
		if f := running.FindSubmatch(after); f != nil {
			return string(f[1]) + " (out of time)"
		}
	}
	return "the program of tests: " + shorten(said)
}

// shorten keeps what fits on a line of a report.
func shorten(said []byte) string {
	text := strings.Join(strings.Fields(string(said)), " ")
	return text[:min(len(text), 300)]
}

// sound builds the tests with all mutants in them, and sees that they pass when it
// is to be none: all that any of the mutants counts on and no others.
func (l *lab) sound(ctx context.Context, all []Mutant) error {
	if err := l.together(ctx, all); err != nil {
		return err
	}
	for _, dir := range folders(all) {
		test := l.run(ctx, dir, l.programs[dir], patterns(all, dir), none)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if test != "" {
			return fmt.Errorf("%s %s fails without any mutant", dir, test)
		}
	}
	return nil
}

// together builds the tests of all folders. When the mutants do not compile in one
// program, one of them does not at all: each is then built alone, to find it.
func (l *lab) together(ctx context.Context, all []Mutant) error {
	w, err := l.weave(all)
	if err != nil {
		return err
	}
	overlay, err := w.overlay(l)
	if err != nil {
		return err
	}
	l.woven = w.has
	if err = l.programsOf(ctx, all, overlay); err == nil || ctx.Err() != nil {
		return err
	}
	say("they do not compile together, so each is built alone: %v", err)
	l.woven = nil
	return l.programsOf(ctx, all, "")
}

func (l *lab) programsOf(ctx context.Context, all []Mutant, overlay string) (err error) {
	l.programs = map[string]string{}
	for _, dir := range folders(all) {
		if l.programs[dir], err = l.build(ctx, dir, overlay); err != nil {
			return err
		}
	}
	return nil
}

func folders(all []Mutant) (dirs []string) {
	for _, m := range all {
		dirs = append(dirs, m.In...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// patterns is what any of the mutants runs in a folder; empty: everything.
func patterns(all []Mutant, dir string) string {
	var runs []string
	for _, m := range all {
		switch {
		case !slices.Contains(m.In, dir):
		case m.Run == "":
			return ""
		default:
			runs = append(runs, m.Run)
		}
	}
	slices.Sort(runs)
	return strings.Join(slices.Compact(runs), "|")
}
