package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxSchema bounds a tool's schema, which a tool server may have sent.
const maxSchema = 256 << 10

// resource is where a schema stands while it is compiled. It is not opaque
// (urn:…): against such a base a relative $ref would mean the schema itself.
const resource = "behalf:///arguments"

// schema is a compiled argument schema.
type schema struct {
	compiled   check
	properties map[string]any // the root's, as written
}

// compile closes and compiles an argument schema. The bytes returned are the
// schema in force. Notes tell the operator what was changed beyond closing it.
func compile(raw json.RawMessage) (closed json.RawMessage, s *schema, notes []string, err error) {
	doc, err := readSchema(raw)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("schema: %w", err)
	}
	root, ok := doc.(map[string]any)
	if !ok || root["type"] != "object" {
		return nil, nil, nil, errors.New(`schema must be of "type": "object"`)
	}
	c := &closer{old: oldDraft(root)}
	c.root(root)
	if closed, err = c.bytes(raw, root); err != nil {
		return nil, nil, nil, err
	}
	compiled, err := build(root)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("schema: %w", err)
	}
	properties, _ := root["properties"].(map[string]any)
	return closed, &schema{compiled, properties}, c.notes, nil
}

// CompileResult gives the check of results against a schema that a backend
// declared for them, which is not closed: what else it answers is not refused.
func CompileResult(raw json.RawMessage) (func(result json.RawMessage) error, error) {
	doc, err := readSchema(raw)
	if err != nil {
		return nil, fmt.Errorf("the result's schema: %w", err)
	}
	compiled, err := build(doc)
	if err != nil {
		return nil, fmt.Errorf("the result's schema: %w", err)
	}
	return func(result json.RawMessage) error {
		v, _, bad := parseJSON(string(result), foreign)
		if bad != nil {
			return fmt.Errorf("the result %s", bad.Problem)
		}
		return compiled.of(v, len(result))
	}, nil
}

// readSchema parses a schema that somebody hostile may have written, and refuses what
// takes too long to compile.
func readSchema(raw json.RawMessage) (any, error) {
	if len(raw) > maxSchema {
		return nil, fmt.Errorf("has %d bytes, at most %d", len(raw), maxSchema)
	}
	doc, _, bad := parseJSON(string(raw), foreign)
	if bad != nil {
		return nil, errors.New(strings.TrimSpace(bad.Path + " " + bad.Problem))
	}
	return doc, bounded(doc)
}

// build compiles the document. The default loader would read local files that a
// tool server names in a $ref; this one loads nothing.
func build(doc any) (_ check, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("cannot be compiled")
		}
	}()
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{})
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseRegexpEngine(compilePattern)
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: FormatDouble, Validate: exactDouble})
	c.RegisterVocabulary(&jsonschema.Vocabulary{URL: "urn:behalf:strict", Compile: compileStrict})
	c.AssertVocabs()
	if err := c.AddResource(resource, doc); err != nil {
		return check{}, err
	}
	root, err := c.Compile(resource)
	if err != nil {
		return check{}, err
	}
	return check{root}, expands(root)
}

// oldDraft reports whether a schema says that it is of a draft that has no
// unevaluatedProperties.
func oldDraft(root map[string]any) bool {
	name, _ := root["$schema"].(string)
	for _, d := range []string{"draft-03", "draft-04", "draft-06", "draft-07"} {
		if strings.Contains(name, d) {
			return true
		}
	}
	return false
}

// closer makes a schema refuse what it does not name. JSON Schema lets unknown
// fields through by default; policy would never see them.
type closer struct {
	old     bool // draft without unevaluatedProperties
	changed bool
	notes   []string
}

func (c *closer) root(node map[string]any) {
	if _, ok := node["properties"].(map[string]any); !ok && node["properties"] == nil {
		// No parameters: {} and nothing else.
		if node["additionalProperties"] == nil || node["additionalProperties"] == true {
			node["properties"] = map[string]any{}
			c.changed = true
		}
	}
	c.walk(node, "", false)
}

// walk closes node and what is below it. Part says that node is one of several
// schemas for the same value: then the whole is closed, not the part. What is
// below `not`, `if` and `contains` stays as it is, because a stricter condition
// can make a laxer schema.
func (c *closer) walk(node any, at string, part bool) {
	obj, ok := node.(map[string]any)
	if !ok {
		return
	}
	c.pattern(obj, at)
	for _, k := range []string{"properties", "patternProperties"} {
		c.each(obj[k], at+"/"+k, false)
	}
	for _, k := range []string{"$defs", "definitions", "dependentSchemas"} {
		c.each(obj[k], at+"/"+k, true)
	}
	for _, k := range []string{"items", "prefixItems", "additionalItems", "additionalProperties", "unevaluatedItems"} {
		c.list(obj[k], at+"/"+k, false)
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf", "then", "else"} {
		c.list(obj[k], at+"/"+k, true)
	}
	if !part {
		c.close(obj, at)
	}
}

func (c *closer) each(node any, at string, part bool) {
	m, _ := node.(map[string]any)
	for _, name := range sortedKeys(m) {
		c.walk(m[name], at+pointer(name), part)
	}
}

func (c *closer) list(node any, at string, part bool) {
	if l, ok := node.([]any); ok {
		for i := range l {
			c.walk(l[i], fmt.Sprintf("%s/%d", at, i), part)
		}
		return
	}
	c.walk(node, at, part)
}

// close refuses unknown fields of one object. A schema for them is a typed map
// and stays; `true` is not.
func (c *closer) close(obj map[string]any, at string) {
	composed := has(obj, "allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "$recursiveRef", "then", "else", "dependentSchemas")
	if !composed && !has(obj, "properties", "patternProperties") {
		return
	}
	if says(obj, "additionalProperties") || says(obj, "unevaluatedProperties") {
		return
	}
	keyword := "additionalProperties"
	if composed && c.old {
		c.notes = append(c.notes, fmt.Sprintf("schema %s: unknown fields cannot be refused in this draft; policy will", at))
		return
	}
	if composed {
		keyword = "unevaluatedProperties"
		delete(obj, "additionalProperties")
	}
	obj[keyword] = false
	c.changed = true
}

// says reports whether a keyword for unknown fields is there and is not true.
func says(obj map[string]any, keyword string) bool {
	v, ok := obj[keyword]
	return ok && v != true
}

// pattern drops a pattern that RE2 cannot express, such as a lookahead, or only at
// length: one of them would make the whole schema unusable. The backend still checks it.
func (c *closer) pattern(obj map[string]any, at string) {
	p, ok := obj["pattern"].(string)
	if !ok {
		return
	}
	if _, err := compilePattern(p); err != nil {
		delete(obj, "pattern")
		c.changed = true
		c.notes = append(c.notes, fmt.Sprintf("schema %s: pattern is not RE2, or repeats too much, and was dropped", at))
	}
}

// bytes is the schema as text: as it was, unless something was changed.
func (c *closer) bytes(raw json.RawMessage, root map[string]any) (json.RawMessage, error) {
	if c.changed {
		return json.Marshal(root)
	}
	var buf bytes.Buffer
	err := json.Compact(&buf, raw)
	return buf.Bytes(), err
}

func has(obj map[string]any, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { _, ok := obj[n]; return ok })
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
