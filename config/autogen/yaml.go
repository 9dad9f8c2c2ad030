package autogen

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/behalf-dev/behalf/config"
	"go.yaml.in/yaml/v4"
)

// encode writes what a configuration says, in the order of its types, without
// what it does not say. `${` in texts is escaped: only secrets are references.
func encode(c *config.Config) ([]byte, error) {
	b, err := yaml.Dump(said(reflect.ValueOf(c).Elem()), yaml.WithIndent(2))
	return escape(b), err
}

// escape writes out what shows as nothing or turns the text around, which would let
// a file look other than it is. It is in quotes wherever it is: see isPrintable.
func escape(text []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case !unicode.Is(unicode.Cf, r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	return b.Bytes()
}

// value is nil for what is not said. Behind a pointer also zero is said.
func value(v reflect.Value) *yaml.Node {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return said(v.Elem())
	}
	if v.IsZero() || v.Kind() == reflect.Map && v.Len() == 0 {
		return nil
	}
	return said(v)
}

func said(v reflect.Value) *yaml.Node {
	switch x := v.Interface().(type) {
	case config.Secret:
		return quoted(x.Reveal())
	case config.Schema:
		return schema(x)
	case time.Duration:
		return scalar(x.String())
	}
	switch v.Kind() {
	case reflect.Struct:
		return fields(v)
	case reflect.Map:
		return entries(v)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, said(v.Index(i)))
		}
		if isPlain(n) {
			n.Style = yaml.FlowStyle
		}
		return n
	case reflect.String:
		return text(v.String())
	}
	return scalar(fmt.Sprint(v)) // a number, or true
}

// shortForms are the types that may be written as one value: that of this key.
var shortForms = map[reflect.Type]string{
	reflect.TypeFor[config.Handoff]():     "to",
	reflect.TypeFor[config.Participant](): "name",
	reflect.TypeFor[config.MaxMessages](): "count",
	reflect.TypeFor[config.Mention]():     "text",
	reflect.TypeFor[config.Tokens]():      "total",
}

func fields(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for f, field := range v.Fields() {
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		if one := value(field); one != nil {
			n.Content = append(n.Content, scalar(key), one)
		}
	}
	if len(n.Content) == 2 && n.Content[0].Value == shortForms[v.Type()] {
		return n.Content[1]
	}
	return n
}

func entries(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	for _, key := range keys {
		n.Content = append(n.Content, text(key.String()), said(v.MapIndex(key)))
	}
	return n
}

func isPlain(n *yaml.Node) bool {
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode || strings.Contains(c.Value, "\n") || len(c.Value) > 40 {
			return false
		}
	}
	return true
}

func text(s string) *yaml.Node {
	escaped := strings.ReplaceAll(s, "${", "$${")
	n := quoted(escaped)
	switch {
	case strings.Contains(s, "\n") && isPrintable(s):
		n.Style = yaml.LiteralStyle
	case isWord(escaped):
		n.Style = 0
	}
	return n
}

// isPrintable says that a text reads the same in a literal block.
func isPrintable(s string) bool {
	for line := range strings.SplitSeq(s, "\n") {
		if strings.TrimSpace(line) != line {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\n' || r > '~' && r < 0xA1 || r > 0x2027 || unicode.Is(unicode.Cf, r)
	})
}

// isWord is what needs no quotes.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	switch s {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}

// schema is a mapping in the order of its JSON.
func schema(s config.Schema) *yaml.Node {
	var doc yaml.Node
	if yaml.Load([]byte(s), &doc) != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return quoted(strings.ReplaceAll(string(s), "${", "$${"))
	}
	return blocks(doc.Content[0])
}

func blocks(n *yaml.Node) *yaml.Node {
	n.Line, n.Column = 0, 0
	for _, c := range n.Content {
		blocks(c)
	}
	if n.Kind == yaml.ScalarNode && isWord(n.Value) || n.Kind != yaml.ScalarNode && !isPlain(n) {
		n.Style = 0
	}
	return n
}

func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }
