package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// This file puts mutants into one program, since to build the tests takes far
// longer than to run them. A function that mutants change is there once as it is and
// once for each of them, and asks the environment which it shall be. What changes
// anything else than the inside of functions is built alone.

// chooser is the variable of the environment that names the mutant to be.
const chooser = "BEHALF_MUTANT"

// woven are the files that have mutants in them.
type woven struct {
	replace map[string]string // path of a source -> path of what is read instead
	has     map[string]bool   // mutants, by name
}

// weave writes the files that hold all mutants that can be put together.
func (l *lab) weave(all []Mutant) (*woven, error) {
	w := &woven{replace: map[string]string{}, has: map[string]bool{}}
	byFile := map[string][]*Mutant{}
	for i := range all {
		byFile[all[i].File] = append(byFile[all[i].File], &all[i])
	}
	for file, mutants := range byFile {
		c, err := readCloth(filepath.Join(l.root, file))
		if err != nil {
			return nil, err
		}
		for _, m := range mutants {
			w.has[m.Name] = c.add(m, l.root)
		}
		if len(c.variants) == 0 {
			continue
		}
		if err := l.put(w, file, c.text()); err != nil {
			return nil, err
		}
		which := fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar mutant__ = os.Getenv(%q)\n", c.file.Name, chooser)
		if err := l.put(w, filepath.Join(filepath.Dir(file), "zz_mutant.go"), []byte(which)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// put has a text read in the place of a file.
func (l *lab) put(w *woven, file string, text []byte) error {
	place, err := filepath.Abs(filepath.Join(l.root, file))
	if err != nil {
		return err
	}
	w.replace[place] = l.name("woven") + ".go"
	return os.WriteFile(w.replace[place], text, 0o600)
}

// overlay writes the list of all woven files.
func (w *woven) overlay(l *lab) (string, error) {
	list, err := json.Marshal(map[string]map[string]string{"Replace": w.replace})
	if err != nil {
		return "", err
	}
	name := l.name("woven") + ".json"
	return name, os.WriteFile(name, list, 0o600)
}

// cloth is one file, parsed.
type cloth struct {
	src      []byte
	file     *ast.File
	at       func(token.Pos) int
	variants map[int][]variant // by the number of the declaration
}

// variant is a function as a mutant has it.
type variant struct {
	mutant string
	cloth  *cloth
	fn     *ast.FuncDecl
}

func readCloth(path string) (*cloth, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return newCloth(src)
}

func newCloth(src []byte) (*cloth, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &cloth{src: src, file: file, at: func(p token.Pos) int { return set.Position(p).Offset }, variants: map[int][]variant{}}, nil
}

func (c *cloth) slice(from, to token.Pos) string { return string(c.src[c.at(from):c.at(to)]) }

// add takes a mutant in, if it only changes the inside of functions.
func (c *cloth) add(m *Mutant, root string) bool {
	text, err := m.apply(root)
	if err != nil {
		return false
	}
	other, err := newCloth(text)
	if err != nil || len(other.file.Decls) != len(c.file.Decls) {
		return false
	}
	changed := map[int]*ast.FuncDecl{}
	for i, d := range c.file.Decls {
		o := other.file.Decls[i]
		if c.slice(d.Pos(), d.End()) == other.slice(o.Pos(), o.End()) {
			continue
		}
		fn, ok := c.sameFunc(d, other, o)
		if !ok {
			return false
		}
		changed[i] = fn
	}
	for i, fn := range changed {
		c.variants[i] = append(c.variants[i], variant{m.Name, other, fn})
	}
	return len(changed) > 0
}

// sameFunc reports whether both are one function that is called in the same way,
// and gives the other.
func (c *cloth) sameFunc(d ast.Decl, other *cloth, o ast.Decl) (*ast.FuncDecl, bool) {
	a, ok1 := d.(*ast.FuncDecl)
	b, ok2 := o.(*ast.FuncDecl)
	if !ok1 || !ok2 || a.Body == nil || b.Body == nil || a.Type.TypeParams != nil || a.Name.Name == "init" || a.Name.Name == "main" {
		return nil, false
	}
	if a.Recv != nil && strings.Contains(c.slice(a.Recv.Pos(), a.Recv.End()), "[") {
		return nil, false
	}
	return b, c.slice(a.Type.Pos(), a.Body.Lbrace) == other.slice(b.Type.Pos(), b.Body.Lbrace)
}

// text is the file with all variants in it.
func (c *cloth) text() []byte {
	var out bytes.Buffer
	from := 0
	for i, d := range c.file.Decls {
		variants := c.variants[i]
		fn, ok := d.(*ast.FuncDecl)
		if len(variants) == 0 || !ok {
			continue
		}
		out.Write(c.src[from:c.at(fn.Type.Pos())])
		from = c.at(fn.End())
		c.choice(&out, fn, variants)
		c.copy(&out, fn, 0)
		for n, v := range variants {
			v.cloth.copy(&out, v.fn, n+1)
		}
	}
	out.Write(c.src[from:])
	return out.Bytes()
}

// copy writes a function under another name.
func (c *cloth) copy(out *bytes.Buffer, fn *ast.FuncDecl, n int) {
	fmt.Fprintf(out, "\n\n%s%s__%d%s", c.slice(fn.Type.Pos(), fn.Name.Pos()), fn.Name.Name, n, c.slice(fn.Name.End(), fn.End()))
}

// choice writes the function that calls one of the others.
func (c *cloth) choice(out *bytes.Buffer, fn *ast.FuncDecl, variants []variant) {
	params, args := c.params(fn.Type.Params)
	receiver, call := "", fn.Name.Name
	if fn.Recv != nil {
		receiver, call = fmt.Sprintf("(r__ %s) ", c.slice(fn.Recv.List[0].Type.Pos(), fn.Recv.List[0].Type.End())), "r__."+fn.Name.Name
	}
	results, back := "", ""
	if fn.Type.Results != nil {
		results, back = c.slice(fn.Type.Results.Pos(), fn.Type.Results.End()), "return "
	}
	fmt.Fprintf(out, "func %s%s(%s) %s {\n\tswitch mutant__ {\n", receiver, fn.Name.Name, params, results)
	for n, v := range variants {
		fmt.Fprintf(out, "\tcase %q:\n\t\t%s%s__%d(%s)\n", v.mutant, back, call, n+1, args)
	}
	fmt.Fprintf(out, "\tdefault:\n\t\t%s%s__0(%s)\n\t}\n}", back, call, args)
}

// params are the parameters under names of our own, and as they are passed on.
func (c *cloth) params(list *ast.FieldList) (params, args string) {
	var names, types []string
	for _, f := range list.List {
		for range max(1, len(f.Names)) {
			name, typ := fmt.Sprintf("p%d__", len(names)), c.slice(f.Type.Pos(), f.Type.End())
			types = append(types, name+" "+typ)
			if strings.HasPrefix(typ, "...") {
				name += "..."
			}
			names = append(names, name)
		}
	}
	return strings.Join(types, ", "), strings.Join(names, ", ")
}
