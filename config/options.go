package config

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Output is the form of an assistant's answer.
type Output struct {
	Schema Schema `yaml:"schema"` // in the file, or ${file:…} with JSON
	Format string `yaml:"format"` // how the answer reads as text, with {field}; absent: its JSON
}

// Schema is a JSON Schema as JSON text.
type Schema string

// Window is how much of the conversation the model is shown: exactly one of these.
type Window struct {
	Buffered   int       `yaml:"buffered" range:"1..100000"` // the last messages
	HeadTail   *HeadTail `yaml:"head_tail"`
	TokenLimit int       `yaml:"token_limit" range:"1..10000000"`
}

// HeadTail shows the first and the last messages.
type HeadTail struct {
	Head int `yaml:"head" range:"1..100000"`
	Tail int `yaml:"tail" range:"1..100000"`
}

// summaryFields are what the text of summary may name.
var summaryFields = []string{"tool_name", "arguments", "result", "is_error"}

// options checks what an assistant does beside the plain loop.
func (c *checker) options(p place, a Agent) {
	switch {
	case a.Summary != "" && a.Reflect:
		c.bad(p.key("summary"), "has no effect with reflect: the model puts the results into words", "remove one of them")
	case a.Summary != "" && a.MaxToolRounds == 0:
		c.bad(p.key("summary"), "has no effect without max_tool_rounds: the model is asked until it answers", "add max_tool_rounds, or remove it")
	}
	rounds := a.MaxToolRounds
	if a.Reflect {
		rounds++
	}
	if a.MaxTurns > 0 && rounds > a.MaxTurns {
		c.bad(p.key("max_turns"), "is not enough for max_tool_rounds and, with reflect, one more", "say "+strconv.Itoa(rounds)+" or more, or remove it")
	}
	if a.Reflect && a.MaxTurns == 1 && a.MaxToolRounds == 0 {
		c.bad(p.key("max_turns"), "is not enough to reflect", "say 2 or more")
	}
	c.braces(p.key("summary"), a.Summary, summaryFields)
	if a.Output != nil {
		if a.Output.Schema == "" {
			c.missing(p.key("output").key("schema"), "write a JSON Schema, or ${file:answer.json}")
		}
		c.braces(p.key("output").key("format"), a.Output.Format, nil)
	}
	c.remembers(p.key("remembers"), a.Remembers)
	c.window(p.key("context"), a.Context)
}

// remembers checks that what is remembered can be looked at and erased, too.
func (c *checker) remembers(p place, about []string) {
	c.unique(p, about)
	if len(about) == 0 || c.spoilt["tools"] || c.isThin("tools") {
		return
	}
	for _, t := range c.Tools {
		if t.Builtin == BuiltinMemory {
			return
		}
	}
	c.bad(p, "has no effect without the tools that remember and forget", "add to tools: "+BuiltinMemory+": { builtin: "+BuiltinMemory+" }")
}

func (c *checker) window(p place, w *Window) {
	if w == nil {
		return
	}
	c.exactlyOne(p, "buffered", "head_tail", "token_limit")
	if h := w.HeadTail; h != nil {
		for key, n := range map[string]int{"head": h.Head, "tail": h.Tail} {
			if n == 0 {
				c.missing(p.key("head_tail").key(key), "say how many messages")
			}
		}
	}
}

// braces reports what is wrong with a text in which {name} stands for a value and
// two braces for one. Fields nil: any name may be one.
func (c *checker) braces(p place, text string, fields []string) {
	const write = "write {name} for a value, and two braces for one"
	for text != "" {
		i := strings.IndexAny(text, "{}")
		if i < 0 {
			return
		}
		if strings.HasPrefix(text[i+1:], text[i:i+1]) {
			text = text[i+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[i+1:], "}")
		switch {
		case text[i] == '}' || !closed || !isMadeOf(strings.ToLower(name), "_", 64):
			c.bad(p, "has a brace that belongs to no {name}", write)
			return
		case fields != nil && !slices.Contains(fields, name):
			c.bad(p, c.unlessReferred(p, "has {"+name+"}, which stands for nothing", "has a {name} that stands for nothing"), "known here: {"+strings.Join(fields, "}, {")+"}")
		}
		text = rest
	}
}

// unlessReferred gives the exact message, or the vague one where the exact one
// would quote what a reference stands for.
func (c *checker) unlessReferred(p place, exact, vague string) string {
	if strings.Contains(c.written[p], "${") {
		return vague
	}
	return exact
}

// schema turns a mapping into JSON text, in the order of the file. Text must be
// JSON already, from a file.
func (r *reader) schema(n *yaml.Node, s slot) bool {
	const fix = "write a JSON Schema as a mapping, or ${file:answer.json}"
	text := ""
	switch n.Kind {
	case yaml.MappingNode:
		var b strings.Builder
		if !r.json(&b, n, s.at) {
			return false
		}
		text = b.String()
	case yaml.ScalarNode:
		if _, ok := r.expand(n, s); !ok {
			return false
		}
		text = n.Value
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return r.spoil(s.at, "is not a JSON Schema", fix)
	}
	*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text, Line: n.Line, Column: n.Column}
	return true
}

// json writes a plain YAML value as JSON.
func (r *reader) json(b *strings.Builder, n *yaml.Node, at place) bool {
	if n.ShortTag() == "!!null" && n.Kind == yaml.ScalarNode && n.Value != "" {
		b.WriteString("null")
		return true
	}
	if !r.plain(n, at) {
		return false
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.members(b, n, at)
	case yaml.SequenceNode:
		return r.elements(b, n, at)
	}
	var v any = n.Value
	if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" || tag == "!!bool" {
		if n.Load(&v) != nil {
			return r.spoil(at, "is not a plain value", "put it into quotes")
		}
	}
	text, err := json.Marshal(v)
	if err != nil { // infinity and its like
		return r.spoil(at, "has no form in JSON", "put it into quotes")
	}
	b.Write(text)
	return true
}

func (r *reader) members(b *strings.Builder, n *yaml.Node, at place) bool {
	seen := map[string]bool{}
	b.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !r.plainKey(k, at) {
			return false
		}
		if seen[k.Value] {
			return r.spoil(at.key(k.Value), "is there twice", "keep one of them")
		}
		seen[k.Value] = true
		if i > 0 {
			b.WriteByte(',')
		}
		name := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: k.Value, Line: k.Line, Column: k.Column}
		if !r.json(b, &name, at) {
			return false
		}
		b.WriteByte(':')
		if !r.json(b, n.Content[i+1], at.key(k.Value)) {
			return false
		}
	}
	b.WriteByte('}')
	return true
}

func (r *reader) elements(b *strings.Builder, n *yaml.Node, at place) bool {
	b.WriteByte('[')
	for i, item := range n.Content {
		if i > 0 {
			b.WriteByte(',')
		}
		if !r.json(b, item, at.item(i)) {
			return false
		}
	}
	b.WriteByte(']')
	return true
}
