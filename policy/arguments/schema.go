package arguments

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// node is one JSON Schema, by exact names: encoding/json would also take "Type"
// for "type", and the schema library that checks the arguments would not.
type node map[string]any

// readSchema parses all of a schema, once: what is used in many places would
// otherwise be parsed for each of them.
func readSchema(raw json.RawMessage) (node, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // a number that no float holds says nothing about the type
	var n node
	if err := d.Decode(&n); err != nil {
		return nil, fmt.Errorf("read JSON Schema: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return n, nil
}

type typeReader struct {
	root    node
	nodes   int
	tooDeep bool
	within  []string // references being followed
}

// child reads the schema at v. The flag tells whether null is allowed too.
func (r *typeReader) child(v any, depth int) (*Type, bool) {
	n, ok := v.(map[string]any)
	if !ok {
		return &Type{}, true // true, false or nonsense: anything may be there
	}
	return r.read(n, depth+1)
}

func (r *typeReader) read(n node, depth int) (*Type, bool) {
	r.nodes++
	r.tooDeep = r.tooDeep || depth > maxSchemaDepth
	if r.nodes > maxSchemaNodes || depth > maxSchemaDepth {
		return &Type{}, true
	}
	if ref := word(n["$ref"]); ref != "" {
		return r.reference(ref, depth)
	}
	t, null := r.own(n, depth)
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		branches, _ := n[key].([]any)
		for _, branch := range branches {
			null = r.combine(t, branch, key, depth) || null
		}
	}
	return t, null
}

// reference follows "#/$defs/x". Where a type contains itself it is not visible.
func (r *typeReader) reference(ref string, depth int) (*Type, bool) {
	path, ok := strings.CutPrefix(ref, "#/")
	group, name, deep := strings.Cut(path, "/")
	if !ok || !deep || strings.Contains(name, "/") || slices.Contains(r.within, ref) {
		return &Type{}, true
	}
	defs, _ := r.root[group].(map[string]any)
	def, ok := defs[name]
	if !ok {
		return &Type{}, true
	}
	r.within = append(r.within, ref)
	defer func() { r.within = r.within[:len(r.within)-1] }()
	return r.child(def, depth)
}

// combine merges one branch of allOf, anyOf or oneOf into t. What only one
// branch has is optional; what two branches type differently is not visible.
func (r *typeReader) combine(t *Type, schema any, key string, depth int) bool {
	branch, null := r.child(schema, depth)
	if null && branch.kind == opaque {
		return true
	}
	switch {
	case t.kind == opaque && t.fields == nil && !t.open:
		*t = *branch
		if key != "allOf" {
			t.loosen()
		}
	case t.kind == record && branch.kind == record:
		t.merge(branch, key == "allOf")
	case branch.kind == opaque && (key == "allOf" || t.kind == record): // a constraint, e.g. another `required`
	case t.kind == branch.kind && t.kind != set:
		t.enum = nil
	default:
		*t = Type{open: true} // a mixed union: settled as not visible
	}
	return null
}

func (t *Type) loosen() {
	for name, f := range t.fields {
		t.fields[name] = argField{f.typ, true}
	}
}

func (t *Type) merge(o *Type, all bool) {
	if t.fields == nil {
		t.fields = map[string]argField{}
	}
	for name, f := range o.fields {
		mine, both := t.fields[name]
		switch {
		case !both:
			t.fields[name] = argField{f.typ, f.optional || !all}
		case mine.typ.Cedar() != f.typ.Cedar():
			t.fields[name] = argField{&Type{}, true}
		case all:
			t.fields[name] = argField{mine.typ, mine.optional && f.optional}
		}
	}
	t.open = t.open || o.open
}

// own is the type that the node's own keywords say.
func (r *typeReader) own(n node, depth int) (*Type, bool) {
	name, null := typeName(n)
	if name == "" && eitherLong(n) {
		return &Type{kind: long, either: true}, null
	}
	switch name {
	case "string":
		return r.text(n), null
	case "integer":
		return &Type{kind: long}, null
	case "number":
		return &Type{kind: decimal}, null
	case "boolean":
		return &Type{kind: boolean}, null
	case "array":
		elem, nullElem := r.child(n["items"], depth)
		if nullElem {
			elem = &Type{}
		}
		return &Type{kind: set, elem: elem}, null
	case "object":
		return r.object(n, depth), null
	}
	return &Type{}, null
}

func (r *typeReader) object(n node, depth int) *Type {
	props, ok := n["properties"].(map[string]any)
	if !ok {
		return &Type{} // free-form
	}
	more, open := n["additionalProperties"]
	t := &Type{kind: record, fields: map[string]argField{}, open: open && more != false}
	required := map[string]bool{}
	for _, name := range r.words(n["required"]) {
		required[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		typ, null := r.child(props[name], depth)
		t.fields[name] = argField{typ, null || !required[name]}
	}
	return t
}

func (r *typeReader) text(n node) *Type {
	if word(n["contentEncoding"]) == "base64" {
		return &Type{kind: blob}
	}
	t := &Type{kind: text}
	if values, ok := n["enum"]; ok {
		t.enum = r.words(values)
	}
	if value, ok := n["const"]; ok {
		t.enum = []string{word(value)}
	}
	return t
}

// words gives a list of strings. Long ones count as nodes, because a schema that is
// used in many places has its own copy in each.
func (r *typeReader) words(v any) []string {
	all := words(v)
	r.nodes += len(all) / wordsPerNode
	return all
}

// typeName gives the one type besides null, or "" where there are several.
func typeName(n node) (name string, null bool) {
	names := words(n["type"])
	if one := word(n["type"]); one != "" {
		names = []string{one}
	}
	null = slices.Contains(names, "null")
	names = slices.DeleteFunc(names, func(s string) bool { return s == "null" })
	switch {
	case len(names) == 1:
		return names[0], null
	case len(names) == 2 && slices.Contains(names, "integer") && slices.Contains(names, "number"):
		return "number", null
	case len(names) == 0 && n["properties"] != nil:
		return "object", null
	case len(names) == 0 && len(words(n["enum"])) > 0:
		return "string", null
	}
	return "", null
}

// eitherLong reports whether n is an integer of 64 bits that may be a text too.
func eitherLong(n node) bool {
	format, names := word(n["format"]), words(n["type"])
	return (format == "int64" || format == "uint64") && len(names) == 2 && slices.Contains(names, "integer") && slices.Contains(names, "string")
}

func word(v any) string {
	s, _ := v.(string)
	return s
}

// words gives a list of strings, nil where anything else is in it. A null in it is
// the empty one.
func words(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	out := make([]string, len(list))
	for i := range list {
		if out[i], ok = list[i].(string); !ok && list[i] != nil {
			return nil
		}
	}
	return out
}
