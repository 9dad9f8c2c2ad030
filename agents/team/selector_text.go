package team

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/agents"
)

// history is the conversation as a selector shows it to its model. It reads each
// message once.
type history struct {
	lines []string
	all   strings.Builder // all lines
	said  []agents.Event  // the messages themselves, for functions
}

func (h *history) read(r *round) {
	all := r.t.Since(0)
	for _, i := range r.chat.said[len(h.lines):] {
		m := all[i].Body.(agents.Message)
		line := strings.TrimRightFunc(all[i].Source+": "+cmp.Or(m.Structured, m.Text), unicode.IsSpace) + "\n\n"
		if len(h.lines) > 0 {
			h.all.WriteByte('\n')
		}
		h.all.WriteString(line)
		h.lines = append(h.lines, line)
	}
}

// text is the newest n messages, all if n is 0.
func (h *history) text(n int) string {
	if n == 0 || n >= len(h.lines) {
		return h.all.String()
	}
	return strings.Join(h.lines[len(h.lines)-n:], "\n")
}

// events are the messages of the conversation.
func (h *history) events(r *round) []agents.Event {
	all := r.t.Since(0)
	for _, i := range r.chat.said[len(h.said):] {
		h.said = append(h.said, all[i])
	}
	return h.said[:len(h.said):len(h.said)]
}

// mentions says whether a text holds a name as a word of its own, also with its
// underscores as spaces or escaped.
func mentions(text, name string) bool {
	return hasWord(text, name) ||
		strings.Contains(name, "_") &&
			(hasWord(text, strings.ReplaceAll(name, "_", " ")) || hasWord(text, strings.ReplaceAll(name, "_", `\_`)))
}

func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		before, _ := utf8.DecodeLastRuneInString(text[:start])
		after, _ := utf8.DecodeRuneInString(text[end:])
		if !inWord(before) && !inWord(after) {
			return true
		}
		_, size := utf8.DecodeRuneInString(text[start:])
		from = start + size
	}
}

// inWord is false for the RuneError that stands for the text's ends.
func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }
