package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/go/packages"
)

const root = "../.."

// The whole run takes minutes and is not part of this suite, so that mutants do
// not rot is seen here: each still applies, compiles, and has tests to catch it.
func TestEveryMutantStillFitsTheCode(t *testing.T) {
	all, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	sources, names := check(t, all), once(testsIn(root))
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			text, err := m.apply(root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.tests(names); err != nil {
				t.Error(err)
			}
			if err := sources[m.File].with(text); err != nil {
				t.Errorf("the new text does not compile: %v", err)
			}
		})
	}
}

// once remembers what it was answered: many mutants have the same folder.
func once(in func(string) ([]string, error)) func(string) ([]string, error) {
	seen := map[string][]string{}
	return func(dir string) ([]string, error) {
		if names, ok := seen[dir]; ok {
			return names, nil
		}
		names, err := in(dir)
		seen[dir] = names
		return names, err
	}
}

// source is a file with what is needed to see whether another text compiles in its
// place.
type source struct {
	name string
	of   *packages.Package
}

// check loads the packages of all mutants once.
func check(t *testing.T, all []Mutant) map[string]source {
	t.Helper()
	dirs := map[string]bool{}
	for _, m := range all {
		dirs["./"+filepath.Dir(m.File)] = true
	}
	mode := packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax
	loaded, err := packages.Load(&packages.Config{Mode: mode, Dir: root}, slices.Sorted(maps.Keys(dirs))...)
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]source{}
	for _, p := range loaded {
		for _, f := range p.Syntax {
			bodiless(f)
		}
		for _, f := range p.CompiledGoFiles {
			rel, err := filepath.Rel(base, f)
			if err != nil {
				t.Fatal(err)
			}
			sources[filepath.ToSlash(rel)] = source{f, p}
		}
	}
	return sources
}

// bodiless takes out what functions do. To see whether one file compiles only the
// declarations of the others are needed, and all the rest would be checked again
// for each mutant.
func bodiless(f *ast.File) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			fn.Body = nil
		}
	}
}

// with type-checks the package with another text of the file.
func (s source) with(text []byte) (problem error) {
	file, err := parser.ParseFile(s.of.Fset, s.name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	files := []*ast.File{file}
	for i, f := range s.of.CompiledGoFiles {
		if f != s.name {
			files = append(files, s.of.Syntax[i])
		}
	}
	config := types.Config{Importer: imports(s.of.Imports), Sizes: s.of.TypesSizes, Error: func(err error) {
		// The others have no bodies: what they import is not used.
		if e, ok := errors.AsType[types.Error](err); ok && s.of.Fset.File(e.Pos) == s.of.Fset.File(file.Pos()) {
			problem = errors.Join(problem, err)
		}
	}}
	_, _ = config.Check(s.of.PkgPath, s.of.Fset, files, nil) // its error is the first that was heard of
	return problem
}

type imports map[string]*packages.Package

func (i imports) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	return i[path].Types, nil
}

func TestAMutantMustApplyOnce(t *testing.T) {
	for name, m := range map[string]Mutant{
		"absent":    {File: "build/mutants/doc.go", Old: "nobody wrote" + " this", New: "x"},
		"twice":     {File: "build/mutants/doc.go", Old: "mutant", New: "x"},
		"unchanged": {File: "build/mutants/doc.go", Old: "package main", New: "package main"},
		"empty":     {File: "build/mutants/doc.go", New: "x"},
		"no file":   {File: "build/mutants/gone.go", Old: "a", New: "b"},
	} {
		if text, err := m.apply(root); err == nil {
			t.Errorf("%s: got %d bytes, want an error", name, len(text))
		}
	}
}

func TestAMutantMustHaveTests(t *testing.T) {
	m := Mutant{In: []string{"build/mutants", "audit"}, Run: "TestAMutantMustHaveTests"}

	got, err := m.tests(testsIn(root))

	if err == nil || !strings.Contains(err.Error(), "audit") {
		t.Errorf("got %v, %v, want an error that names the folder without such a test", got, err)
	}
}

func TestTheFirstFailureIsNamed(t *testing.T) {
	for name, tc := range map[string]struct{ said, want string }{
		"a test":        {"--- FAIL: TestA (0.01s)\n    a_test.go:3: no\nFAIL\n", "TestA"},
		"inside":        {"--- FAIL: TestA (0.01s)\n    --- FAIL: TestA/b (0.00s)\n        --- FAIL: TestA/b/c (0.00s)\n--- FAIL: TestD (0s)\n", "TestA/b/c"},
		"out of time":   {"panic: test timed out after 1s\n\trunning tests:\n\t\tTestA (1s)\n\ngoroutine 1", "TestA (out of time)"},
		"another cause": {"leaked\ngoroutines\n", "the program of tests: leaked goroutines"},
	} {
		if got := failed([]byte(tc.said)); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// A text that does not fit the declarations of the other files is none.
func TestANewTextMustCompile(t *testing.T) {
	m := Mutant{File: "internal/typo/typo.go", Old: "d < len(w)", In: []string{"internal/typo"}}
	source := check(t, []Mutant{m})[m.File]

	for text, fits := range map[string]bool{"d > len(w)": true, "d < w": false, "d < absent": false, "d <": false} {
		m.New = text
		whole, err := m.apply(root)
		if err != nil {
			t.Fatal(err)
		}
		if err := source.with(whole); (err == nil) != fits {
			t.Errorf("%s: got %v, want fits=%v", text, err, fits)
		}
	}
}

// The way in which functions are called is kept, whatever they look like.
func TestMutantsAreWovenIntoEveryKindOfFunction(t *testing.T) {
	dir := t.TempDir()
	const src = "package p\n\ntype t struct{}\n\n" +
		"func (t) method(a, b int, _ string) (n int, err error) { n = a - b; return }\n" +
		"func (*t) silent(...int) { println(1) }\n" +
		"func list(a int, more ...string) []string { return more[a:] }\n" +
		"func of[T any](v T) T { return v }\n" +
		"const most = 3\n"
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newCloth([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[[2]string]bool{
		{"a - b", "b - a"}: true, {"println(1)", "println(2)"}: true, {"more[a:]", "more"}: true, {"more[a:]", "nil"}: true,
		{"return v", "panic(v)"}: false, {"most = 3", "most = 4"}: false, {"a, b int", "b, a int"}: false,
	} {
		if got := c.add(&Mutant{Name: text[1], File: "p.go", Old: text[0], New: text[1]}, dir); got != want {
			t.Errorf("%q for %q: woven %v, want %v", text[1], text[0], got, want)
		}
	}

	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "p.go", string(c.text())+"\nvar mutant__ string\n", 0)
	if err == nil {
		_, err = new(types.Config).Check("p", set, []*ast.File{file}, nil)
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, c.text())
	}
	for _, mutant := range []string{"b - a", "println(2)", "more", "nil"} {
		if !strings.Contains(string(c.text()), "case "+strconv.Quote(mutant)) {
			t.Errorf("nothing asks for %q:\n%s", mutant, c.text())
		}
	}
}

// A mutant that a test notices, and one that none does, in one program; one that
// has to be built alone, and one that is no Go; in the smallest package that there is.
func TestMutantsAreTried(t *testing.T) {
	mutant := func(name, old, text string) Mutant {
		return Mutant{Name: name, File: "internal/typo/typo.go", Old: old, New: text, In: []string{"internal/typo"}, Run: "TestMeant"}
	}
	all := []Mutant{mutant("caught", "d < len(w)", "d > len(w)"), mutant("survived", "d < len(w)", "len(w) > d"), mutant("rotten", "not there", "x")}
	l := &lab{root: root, dir: t.TempDir(), limit: 30 * time.Second}
	if err := l.sound(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	alone := &lab{root: root, dir: t.TempDir(), limit: 30 * time.Second}

	for name, c := range map[string]struct {
		l    *lab
		m    Mutant
		want Verdict
	}{
		"caught": {l, all[0], Caught}, "survived": {l, all[1], Survived}, "gone": {l, all[2], Rotten},
		"alone": {alone, all[0], Caught}, "no Go": {alone, mutant("broken", "d < len(w)", "d < w"), Broken},
	} {
		if got := c.l.try(t.Context(), &c.m); got.Verdict != c.want {
			t.Errorf("%s: got %+v, want %s", name, got, c.want)
		}
	}
	if !l.woven["caught"] || !l.woven["survived"] || l.woven["rotten"] {
		t.Errorf("got %v woven, want those that apply", l.woven)
	}
}
