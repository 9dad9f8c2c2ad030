package agents

import (
	"fmt"
	"strings"
)

// template is a text with fields, as in "{tool_name}: {result}". Two braces stand
// for one.
type template []piece

// piece is a text, or a field if that has a name.
type piece struct{ text, field string }

// parseTemplate reads a template. Fields hold only letters, digits and _.
func parseTemplate(text string) (template, error) {
	var t template
	for text != "" {
		i := strings.IndexAny(text, "{}")
		if i < 0 {
			return append(t, piece{text: text}), nil
		}
		if i > 0 {
			t = append(t, piece{text: text[:i]})
		}
		if strings.HasPrefix(text[i+1:], text[i:i+1]) {
			t = append(t, piece{text: text[i : i+1]})
			text = text[i+2:]
			continue
		}
		field, rest, closed := strings.Cut(text[i+1:], "}")
		if text[i] == '}' || !closed || !isWord(field) {
			return nil, fmt.Errorf("the format has a brace that is not part of a {field} at %q", clip(text[i:], 20))
		}
		t = append(t, piece{field: field})
		text = rest
	}
	return t, nil
}

// isWord says that a text is made of letters, digits and _ and not empty.
func isWord(s string) bool {
	for _, r := range s {
		if !strings.ContainsRune("_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r) {
			return false
		}
	}
	return s != ""
}

// fill puts values into the fields.
func (t template) fill(value func(field string) string) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		if p.field != "" {
			b.WriteString(value(p.field))
		}
	}
	return b.String()
}
