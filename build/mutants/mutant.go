package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Mutant is one broken guarantee.
type Mutant struct {
	Name  string   `yaml:"name"`
	Holds string   `yaml:"holds"` // the guarantee, and where it is written
	Old   string   `yaml:"old"`   // is in the file exactly once
	New   string   `yaml:"new"`
	In    []string `yaml:"in"`  // folders whose tests must catch it; absent: the group's
	Run   string   `yaml:"run"` // which of them; absent: any

	File string `yaml:"-"` // from the root of the project
	Area string `yaml:"-"` // the name of its *.yaml file
}

// group is the mutants of one source file.
type group struct {
	File    string   `yaml:"file"`
	In      []string `yaml:"in"` // absent: the file's own folder
	Mutants []Mutant `yaml:"mutants"`
}

// load reads all mutants of a folder, in the order of the files' names.
func load(dir string) ([]Mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("there are no mutants in %s; run this in the root of the project", dir))
	}
	var all []Mutant
	for _, f := range files {
		some, err := read(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		all = append(all, some...)
	}
	return all, unique(all)
}

func read(file string) ([]Mutant, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var groups []group
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&groups); err != nil {
		return nil, err
	}
	var all []Mutant
	for _, g := range groups {
		for _, m := range g.Mutants {
			m.File, m.Area = g.File, strings.TrimSuffix(filepath.Base(file), ".yaml")
			if m.In == nil {
				m.In = g.In
			}
			if m.In == nil {
				m.In = []string{filepath.ToSlash(filepath.Dir(g.File))}
			}
			all = append(all, m)
		}
	}
	return all, nil
}

func unique(all []Mutant) error {
	seen := map[string]bool{}
	for _, m := range all {
		if m.Name == "" || m.Holds == "" || seen[m.Name] {
			return fmt.Errorf("mutant %q of %s needs a name of its own and the guarantee that it breaks", m.Name, m.File)
		}
		seen[m.Name] = true
	}
	return nil
}

// apply gives the file with the guarantee broken.
func (m *Mutant) apply(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, err
	}
	n := strings.Count(string(text), m.Old)
	switch {
	case m.Old == "" || m.Old == m.New:
		return nil, errors.New("it changes nothing")
	case n != 1:
		return nil, fmt.Errorf("its old text is in %s %d times, not once", m.File, n)
	}
	return []byte(strings.Replace(string(text), m.Old, m.New, 1)), nil
}

// tests lists the tests that are to catch the mutant. None in one of its folders
// is an error: a test that was renamed catches nothing.
func (m *Mutant) tests(in func(dir string) ([]string, error)) (all []string, err error) {
	run, err := regexp.Compile(m.Run)
	if err != nil {
		return nil, err
	}
	for _, dir := range m.In {
		names, err := in(dir)
		if err != nil {
			return nil, err
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !run.MatchString(name) })
		if len(names) == 0 {
			return nil, fmt.Errorf("no test in %s is called %q", dir, m.Run)
		}
		all = append(all, names...)
	}
	return all, nil
}

var aTest = regexp.MustCompile(`^func ((?:Test|Example|Fuzz)\w*)\(`)

// testsIn gives the names of the tests in folders of the project.
func testsIn(root string) func(dir string) ([]string, error) {
	return func(dir string) (names []string, err error) {
		files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			for line := range strings.Lines(string(text)) {
				if found := aTest.FindStringSubmatch(line); found != nil {
					names = append(names, found[1])
				}
			}
		}
		return names, nil
	}
}
