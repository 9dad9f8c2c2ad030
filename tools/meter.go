package tools

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of a check, in steps of some hundred nanoseconds at worst. A step that
// fails keeps an error, so they are bounds of memory too.
const (
	maxSteps     = 250_000 // for any text
	stepsPerByte = 2       // and for each byte of it,
	maxCounted   = 1 << 20 // of so many
)

var errTooMuch = errors.New("takes too long to check against the schema; send less")

// check is a compiled schema that is held against values with an end to it: the
// library goes wherever a $ref leads, as often as it leads there, and asks no
// context.
type check struct{ root *jsonschema.Schema }

// of holds a value against the schema. Size is that of its text.
func (c check) of(value any, size int) error {
	m := &meter{left: maxSteps + stepsPerByte*min(size, maxCounted)}
	m.visit(c.root, value, 0)
	if m.left < 0 {
		return errTooMuch
	}
	return c.root.Validate(value)
}

// meter walks a value the way that the library does, without checking anything,
// and stops when the steps are used up. It counts every alternative.
type meter struct{ left int }

// visit counts what s takes for v. Chain is how many schemas led here for the same
// value: the library looks back at all of them.
func (m *meter) visit(s *jsonschema.Schema, v any, chain int) {
	if m.left -= 1 + chain; m.left < 0 || s.Bool != nil {
		return
	}
	m.compare(s, v)
	switch v := v.(type) {
	case map[string]any:
		m.object(s, v)
	case []any:
		m.array(s, v)
	case string:
		m.text(s, v)
	case json.Number:
		m.left -= digits(string(v)) / 8
	}
	beside(s, func(sub *jsonschema.Schema) { m.visit(sub, v, chain+1) })
}

func (m *meter) text(s *jsonschema.Schema, v string) {
	m.left -= len(v) * (1 + weight(s.Pattern)) / 64
	if s.Format != nil {
		m.left -= len(v) / 4
	}
}

// weight is what a pattern takes for a byte; none takes nothing.
func weight(r jsonschema.Regexp) int {
	p, ok := r.(*pattern)
	if !ok {
		return 0
	}
	return p.instructions
}

// compare counts the values that v is compared with.
func (m *meter) compare(s *jsonschema.Schema, v any) {
	if s.Enum != nil {
		m.equal(v, s.Enum.Values)
	}
	if s.Const != nil {
		m.left -= m.size(v) + m.size(*s.Const)
	}
}

// equal counts what it takes to look for v in a list. The library makes rational
// numbers of every two that it compares.
func (m *meter) equal(v any, list []any) {
	if text, ok := v.(string); ok {
		m.left -= (len(list) + len(text)) / 16
		return
	}
	each := m.size(v)
	for _, other := range list {
		if m.left < 0 {
			return
		}
		switch other.(type) {
		case string, bool, nil:
			m.left--
		default:
			m.left -= each + m.size(other)
		}
	}
}

// size is about how many steps it takes to compare v, which are counted too.
func (m *meter) size(v any) int {
	n := 1
	switch v := v.(type) {
	case json.Number:
		n += digits(string(v)) / 8
	case map[string]any:
		for _, member := range v {
			n += m.size(member)
		}
	case []any:
		for _, item := range v {
			n += m.size(item)
		}
	}
	m.left--
	return n
}

func (m *meter) object(s *jsonschema.Schema, obj map[string]any) {
	m.left -= len(obj) + len(s.Required) + len(s.Dependencies) + len(s.DependentRequired) + len(s.DependentSchemas)
	for _, names := range s.DependentRequired {
		m.left -= len(names)
	}
	for name, v := range obj {
		if m.left < 0 {
			return
		}
		m.member(s, name, v)
	}
}

func (m *meter) member(s *jsonschema.Schema, name string, v any) {
	sub, known := s.Properties[name]
	if known {
		m.visit(sub, v, 0)
	}
	for p, sub := range s.PatternProperties {
		m.left -= 1 + len(name)*weight(p)/64
		if m.left >= 0 && p.MatchString(name) {
			known = true
			m.visit(sub, v, 0)
		}
	}
	if more, ok := s.AdditionalProperties.(*jsonschema.Schema); ok && !known {
		m.visit(more, v, 0)
	}
	if s.UnevaluatedProperties != nil {
		m.visit(s.UnevaluatedProperties, v, 0)
	}
	if s.PropertyNames != nil {
		m.visit(s.PropertyNames, name, 0)
	}
}

func (m *meter) array(s *jsonschema.Schema, arr []any) {
	m.left -= len(arr)
	if s.UniqueItems {
		m.left -= m.size(arr) * min(len(arr), 20)
	}
	for i, v := range arr {
		if m.left < 0 {
			return
		}
		for _, sub := range itemsAt(s, i) {
			if sub != nil {
				m.visit(sub, v, 0)
			}
		}
	}
}

// itemsAt gives the schemas that the item at i is held against, in all drafts.
func itemsAt(s *jsonschema.Schema, i int) [4]*jsonschema.Schema {
	at := [4]*jsonschema.Schema{s.Items2020, s.Contains, s.UnevaluatedItems}
	switch items := s.Items.(type) {
	case *jsonschema.Schema:
		at[3] = items
	case []*jsonschema.Schema:
		if at[3], _ = s.AdditionalItems.(*jsonschema.Schema); i < len(items) {
			at[3] = items[i]
		}
	}
	if i < len(s.PrefixItems) {
		at[0] = s.PrefixItems[i]
	}
	return at
}

// beside calls f with each schema that s holds the same value against.
func beside(s *jsonschema.Schema, f func(*jsonschema.Schema)) {
	for _, sub := range [...]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else} {
		if sub != nil {
			f(sub)
		}
	}
	for _, list := range [...][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for _, sub := range list {
			f(sub)
		}
	}
	for _, sub := range s.DependentSchemas {
		f(sub)
	}
	for _, dependency := range s.Dependencies {
		if sub, ok := dependency.(*jsonschema.Schema); ok {
			f(sub)
		}
	}
}

// inside calls f with each schema that s holds what is in a value against.
func inside(s *jsonschema.Schema, f func(*jsonschema.Schema)) {
	for _, sub := range s.Properties {
		f(sub)
	}
	for _, sub := range s.PatternProperties {
		f(sub)
	}
	for _, one := range [...]any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		if sub, ok := one.(*jsonschema.Schema); ok {
			f(sub)
		}
	}
	items, _ := s.Items.([]*jsonschema.Schema)
	for _, sub := range slices.Concat(items, s.PrefixItems) {
		f(sub)
	}
	for _, sub := range [...]*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.Items2020, s.Contains, s.UnevaluatedItems} {
		if sub != nil {
			f(sub)
		}
	}
}

// digits is how long a number is when it is written out.
func digits(text string) int {
	e := strings.IndexAny(text, "eE")
	if e < 0 {
		return len(text)
	}
	n, _ := strconv.Atoi(text[e+1:])
	return len(text) + max(n, -n)
}
