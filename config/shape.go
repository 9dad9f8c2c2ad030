package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/behalf-dev/behalf/internal/typo"
	"go.yaml.in/yaml/v4"
)

const maxConfig = 1 << 20

// reader compares the tree of a file with the types of Config. What it reports
// it takes out of the tree, so that the rest can be decoded and checked too.
type reader struct {
	places
	world   World
	written map[place]string // scalars as the file has them, before references are replaced
	findings
}

func newReader(file string, w World) *reader {
	return &reader{
		places:  places{file: file, marks: map[place]mark{}, spoilt: map[place]bool{}},
		world:   w,
		written: map[place]string{},
	}
}

// slot is a place with what belongs there.
type slot struct {
	at  place
	typ reflect.Type
	tag reflect.StructTag
}

// bad reports a problem of p, unless p has one already.
func (r *reader) bad(p place, message, fix string) {
	if !r.isSpoilt(p) {
		r.report(r.problem(p, message, fix))
	}
}

// spoil reports a problem of p and gives false: p must be taken out.
func (r *reader) spoil(p place, message, fix string) bool {
	r.bad(p, message, fix)
	r.spoilt[p] = true
	return false
}

// parse gives the root of the file's only document, or nil.
func (r *reader) parse(data []byte) *yaml.Node {
	if len(data) > maxConfig {
		r.spoil("", fmt.Sprintf("the file has more than %d bytes", maxConfig), "move long instructions into files of their own: ${file:…}")
		return nil
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		r.syntax(err)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.spoil("", "the file is empty", "see config.example.yaml")
		return nil
	}
	return doc.Content[0]
}

func (r *reader) syntax(err error) {
	message, at := err.Error(), mark{1, 1}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		message = e.Message
		if e.Mark.Line > 0 {
			at = mark{e.Mark.Line, max(e.Mark.Column, 1)}
		}
	}
	// Only this message repeats text of the file, which may be a secret that
	// begins with an asterisk.
	if strings.HasPrefix(message, "unknown anchor") {
		message = "an alias without an anchor; put text that begins with * into quotes"
	}
	message, fix := "not valid YAML: "+strings.TrimPrefix(message, "yaml: "), "correct the syntax; `${…}` inside {…} or […] needs quotes"
	switch {
	case strings.Contains(message, "no documents"):
		message, fix = "the file is empty", "see config.example.yaml"
	case strings.Contains(message, "found multiple"):
		message, fix = "the file has several documents", "keep one; remove the lines with ---"
	}
	r.report(Problem{File: r.file, Line: at.line, Column: at.column, Message: message, Fix: fix})
}

func (r *reader) shape(root *yaml.Node) bool {
	return r.value(root, slot{typ: reflect.TypeFor[Config]()})
}

// decode is strict although shape has checked: what it did not foresee is
// refused, not dropped. It reports whether c can be used.
func (r *reader) decode(root *yaml.Node, c *Config) bool {
	if root.Load(c, yaml.WithKnownFields()) == nil {
		return true
	}
	if len(r.found) > 0 {
		return false
	}
	// Its error would quote values.
	return r.spoil("", "the file cannot be decoded", "compare it with config.example.yaml")
}

// value reports whether n may stay.
func (r *reader) value(n *yaml.Node, s slot) bool {
	if !r.plain(n, s.at) {
		return false
	}
	if s.typ.Kind() == reflect.Pointer {
		s.typ = s.typ.Elem()
	}
	switch kind := s.typ.Kind(); {
	case s.typ == reflect.TypeFor[Secret]():
		return r.secret(n, s)
	case s.typ == reflect.TypeFor[Schema]():
		return r.schema(n, s)
	case n.Kind == yaml.ScalarNode && shortForms[s.typ] != "":
		return r.value(lengthen(n, shortForms[s.typ]), s)
	case kind == reflect.Struct:
		return r.fields(n, s)
	case kind == reflect.Map:
		return r.entries(n, s)
	case kind == reflect.Slice:
		return r.items(n, s)
	}
	return r.scalar(n, s)
}

// plain refuses what makes a file mean something other than what it shows.
func (r *reader) plain(n *yaml.Node, p place) bool {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		return r.spoil(p, "anchors and aliases are not used here", "write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return r.spoil(p, "YAML tags are not used here", "remove the tag")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return r.spoil(p, "has no value", "give it one or remove the key; an empty list is []")
	}
	return true
}

// shortForms are the types that the file may give as one value, with the key
// that the value stands for.
var shortForms = map[reflect.Type]string{
	reflect.TypeFor[Handoff]():     "to",
	reflect.TypeFor[Participant](): "name",
	reflect.TypeFor[MaxMessages](): "count",
	reflect.TypeFor[Mention]():     "text",
	reflect.TypeFor[Tokens]():      "total",
}

// lengthen makes the short form of a value the long one, in place.
func lengthen(n *yaml.Node, key string) *yaml.Node {
	value := *n
	k := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: n.Line, Column: n.Column}
	*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{&k, &value}, Line: n.Line, Column: n.Column}
	return n
}

func (r *reader) fields(n *yaml.Node, s slot) bool {
	known, names := fieldsOf(s.typ)
	return r.pairs(n, s.at, "keys with values", func(key string, p place) (slot, bool) {
		f, ok := known[key]
		if !ok {
			r.unknown(n, s.at, p, key, names)
		}
		return slot{p, f.Type, f.Tag}, ok
	})
}

func (r *reader) unknown(n *yaml.Node, at, p place, key string, names []string) {
	full := r.full()
	r.spoil(p, "unknown key", r.suggest(key, these(names)))
	if full {
		return
	}
	if like := typo.Meant(key, names); like != "" && !hasKey(n, like) {
		r.spoilt[at.key(like)] = true // so that it is not reported as missing
	}
}

func fieldsOf(t reflect.Type) (known map[string]reflect.StructField, names []string) {
	known = map[string]reflect.StructField{}
	for f := range t.Fields() {
		if name := f.Tag.Get("yaml"); name != "" {
			known[name] = f
			names = append(names, name)
		}
	}
	return known, names
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

func (r *reader) entries(n *yaml.Node, s slot) bool {
	form := s.tag.Get("keys")
	return r.pairs(n, s.at, "names with values", func(key string, p place) (slot, bool) {
		if message, fix := wrongForm(form, key); message != "" {
			return slot{}, r.spoil(p, "the key "+message, fix)
		}
		return slot{p, s.typ.Elem(), s.tag}, true
	})
}

// pairs visits a mapping; what finds out what belongs to a key.
func (r *reader) pairs(n *yaml.Node, at place, want string, what func(key string, p place) (slot, bool)) bool {
	if n.Kind != yaml.MappingNode {
		return r.wrong(n, at, want)
	}
	seen := map[string]int{}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !r.plainKey(k, at) {
			continue
		}
		p := at.key(k.Value)
		if line := seen[k.Value]; line > 0 {
			// Not spoilt: the first one counts and is checked.
			r.report(Problem{File: r.file, Line: k.Line, Column: k.Column, Message: fmt.Sprintf("%s: duplicate key, first on line %d", p, line), Fix: "keep one of them"})
			continue
		}
		seen[k.Value] = k.Line
		r.marks[p] = mark{k.Line, k.Column}
		if s, ok := what(k.Value, p); ok && r.value(v, r.marked(v, s)) {
			k.Tag, k.Style = "!!str", yaml.DoubleQuotedStyle
			kept = append(kept, k, v)
		}
	}
	n.Content = kept
	return true
}

func (r *reader) plainKey(k *yaml.Node, at place) bool {
	switch {
	case k.ShortTag() == "!!merge":
		return r.spoilKey(k, at, "merge keys are not used here")
	case k.Kind != yaml.ScalarNode, k.Anchor != "", k.Style&yaml.TaggedStyle != 0:
		return r.spoilKey(k, at, "a key is a plain word here")
	}
	return true
}

// spoilKey reports a key that has no place of its own.
func (r *reader) spoilKey(k *yaml.Node, at place, message string) bool {
	if at != "" {
		message = string(at) + ": " + message
	}
	r.report(Problem{File: r.file, Line: k.Line, Column: k.Column, Message: message, Fix: "write the keys out"})
	r.spoilt[at.key(k.Value)] = true
	return false
}

// marked notes where a scalar is; other values keep the mark of their key.
func (r *reader) marked(n *yaml.Node, s slot) slot {
	if !r.has(s.at) || n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		r.marks[s.at] = mark{n.Line, n.Column}
	}
	return s
}

func (r *reader) items(n *yaml.Node, s slot) bool {
	if n.Kind != yaml.SequenceNode {
		return r.wrong(n, s.at, "a list: [a, b]")
	}
	for i, item := range n.Content {
		one := slot{s.at.item(i), s.typ.Elem(), s.tag}
		if !r.value(item, r.marked(item, one)) {
			blank(item, one.typ) // not taken out: the places of the others hold
		}
	}
	return true
}

// blank makes n the zero value of t, which is a struct or a string.
func blank(n *yaml.Node, t reflect.Type) {
	if t.Kind() == reflect.Struct {
		*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
		return
	}
	*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Line: n.Line, Column: n.Column}
}

func (r *reader) wrong(n *yaml.Node, at place, want string) bool {
	got := map[yaml.Kind]string{yaml.MappingNode: "keys with values", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}[n.Kind]
	if at == "" {
		got = "the file is " + got
	} else {
		got = "is " + got
	}
	return r.spoil(at, got, "it must be "+want)
}
