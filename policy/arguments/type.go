package arguments

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// kind is how a JSON value appears to policies.
type kind uint8

const (
	opaque  kind = iota // not visible: Cedar has no type for it
	text                // String
	long                // Long
	boolean             // Bool
	decimal             // decimal, four places
	set                 // Set, with its length beside it
	record              // Record
	blob                // base64: {length, sha256}
)

// argType is the type of an argument or of a part of one, from its JSON Schema.
type Type struct {
	kind   kind
	enum   []string // of a text: the only values; nil for any
	elem   *Type
	fields map[string]argField
	open   bool // of a record: members without a type may appear, unseen
	either bool // of a long: it may be written as a text, as protobuf's JSON does
	// required is how many fields are not optional; settle counts them.
	required int
}

type argField struct {
	typ      *Type
	optional bool
}

// lengthSuffix names the attribute that holds an array's length.
const lengthSuffix = "_length"

// Bounds of a schema, which may come from a tool server that nobody reviewed.
const (
	maxSchemaNodes = 10_000
	maxSchemaDepth = 32
)

var (
	errSchemaTooLarge = errors.New("the JSON Schema is too large or too deep")
	errNotAnObject    = errors.New("the JSON Schema of arguments must be an object")
)

// typeOfArguments reads a tool's JSON Schema. An absent schema is that of a tool
// without arguments.
func TypeOf(schema json.RawMessage) (*Type, error) {
	if len(schema) == 0 {
		return NoArguments(), nil
	}
	root, err := schemaNode(schema)
	if err != nil {
		return nil, err
	}
	r := &typeReader{root: root}
	t, _ := r.read(root, 0)
	if r.nodes > maxSchemaNodes || r.tooDeep {
		return nil, errSchemaTooLarge
	}
	if t.kind == opaque && word(root["type"]) == "object" {
		t = &Type{kind: record}
	}
	if t.kind != record {
		return nil, errNotAnObject
	}
	t.open = false // a tool takes no unknown arguments
	t.settle()
	return t, nil
}

// NoArguments is the type of a tool that takes nothing.
func NoArguments() *Type { return &Type{kind: record} }

// TypeOfResult reads the JSON Schema of a tool's results, to check redactions
// against it. What it does not understand may be anything: nil.
func TypeOfResult(schema json.RawMessage) *Type {
	if len(schema) == 0 {
		return nil
	}
	root, err := schemaNode(schema)
	if err != nil {
		return nil
	}
	r := &typeReader{root: root}
	t, _ := r.read(root, 0)
	if r.nodes > maxSchemaNodes || r.tooDeep {
		return nil
	}
	return t
}

// settle counts what is required, once all branches are merged.
func (t *Type) settle() {
	t.required = 0
	for _, f := range t.fields {
		f.typ.settle()
		if !f.optional {
			t.required++
		}
	}
	if t.elem != nil {
		t.elem.settle()
	}
}

// node is one JSON Schema, by exact names: encoding/json would also take "Type"
// for "type", and the schema library that checks the arguments would not.
type node map[string]json.RawMessage

func schemaNode(raw json.RawMessage) (node, error) {
	var n node
	if err := json.Unmarshal(raw, &n); err != nil {
		return nil, fmt.Errorf("read JSON Schema: %w", err)
	}
	return n, nil
}

type typeReader struct {
	root    node
	nodes   int
	tooDeep bool
	within  []string // references being followed
}

// child reads the schema at raw. The flag tells whether null is allowed too.
func (r *typeReader) child(raw json.RawMessage, depth int) (*Type, bool) {
	n, err := schemaNode(raw)
	if err != nil {
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
		for _, raw := range list(n[key]) {
			null = r.combine(t, raw, key, depth) || null
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
	defs, err := schemaNode(r.root[group])
	raw, ok := defs[name]
	if err != nil || !ok {
		return &Type{}, true
	}
	r.within = append(r.within, ref)
	defer func() { r.within = r.within[:len(r.within)-1] }()
	return r.child(raw, depth)
}

// combine merges one branch of allOf, anyOf or oneOf into t. What only one
// branch has is optional; what two branches type differently is not visible.
func (r *typeReader) combine(t *Type, raw json.RawMessage, key string, depth int) bool {
	branch, null := r.child(raw, depth)
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
		return stringType(n), null
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
	props, err := schemaNode(n["properties"])
	if err != nil {
		return &Type{} // free-form
	}
	more := string(n["additionalProperties"])
	t := &Type{kind: record, fields: map[string]argField{}, open: more != "" && more != "false"}
	required := words(n["required"])
	for _, name := range slices.Sorted(maps.Keys(props)) {
		typ, null := r.child(props[name], depth)
		t.fields[name] = argField{typ, null || !slices.Contains(required, name)}
	}
	return t
}

func stringType(n node) *Type {
	if word(n["contentEncoding"]) == "base64" {
		return &Type{kind: blob}
	}
	t := &Type{kind: text}
	if raw, ok := n["enum"]; ok {
		t.enum = words(raw)
	}
	if raw, ok := n["const"]; ok {
		t.enum = []string{word(raw)}
	}
	return t
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

func word(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// words gives a list of strings, nil where anything else is in it.
func words(raw json.RawMessage) []string {
	var s []string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return s
}

func list(raw json.RawMessage) []json.RawMessage {
	var l []json.RawMessage
	_ = json.Unmarshal(raw, &l)
	return l
}

// visible reports whether Cedar has a type for it.
func (t *Type) visible() bool {
	if t.kind == set {
		return t.elem.visible()
	}
	return t.kind != opaque
}

// lengthOf names the attribute with the length of the array called name, unless
// an argument has that name already.
func (t *Type) lengthOf(name string) (types.String, bool) {
	_, taken := t.fields[name+lengthSuffix]
	return types.String(name + lengthSuffix), !taken && t.fields[name].typ.kind == set
}

// Attributes is the record type of context.args, or of a part of it.
func (t *Type) Attributes() resolved.RecordType {
	attrs := resolved.RecordType{}
	for name, f := range t.fields {
		if length, ok := t.lengthOf(name); ok {
			attrs[length] = resolved.Attribute{Type: resolved.LongType{}, Optional: f.optional}
		}
		if f.typ.visible() {
			attrs[types.String(name)] = resolved.Attribute{Type: f.typ.cedarType(), Optional: f.optional}
		}
	}
	return attrs
}

// cedarType is the type of what is visible.
func (t *Type) cedarType() resolved.IsType {
	switch t.kind {
	case text:
		return resolved.StringType{}
	case long:
		return resolved.LongType{}
	case boolean:
		return resolved.BoolType{}
	case decimal:
		return resolved.ExtensionType("decimal")
	case record:
		return t.Attributes()
	case blob:
		return resolved.RecordType{"length": {Type: resolved.LongType{}}, "sha256": {Type: resolved.StringType{}}}
	case set:
		return resolved.SetType{Element: t.elem.cedarType()}
	}
	return nil
}

// Cedar prints the type, the same for equal types.
func (t *Type) Cedar() string {
	var b strings.Builder
	t.print(&b)
	return b.String()
}

func (t *Type) print(b *strings.Builder) {
	fmt.Fprintf(b, "%d%q%t", t.kind, t.enum, t.open)
	if t.either {
		b.WriteByte('|')
	}
	if t.elem != nil {
		b.WriteByte('<')
		t.elem.print(b)
	}
	for _, name := range slices.Sorted(maps.Keys(t.fields)) {
		fmt.Fprintf(b, "{%q?%t", name, t.fields[name].optional)
		t.fields[name].typ.print(b)
		b.WriteByte('}')
	}
}
