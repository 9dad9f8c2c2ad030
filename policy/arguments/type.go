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
	wordsPerNode   = 32
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
	root, err := readSchema(schema)
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
	root, err := readSchema(schema)
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
