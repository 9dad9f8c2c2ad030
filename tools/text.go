package tools

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain reports whether a name is its own folding.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

// folded reports whether two names of m fold to one.
func folded(m map[string]any) bool {
	seen := make(map[string]bool, len(m))
	for name := range m {
		f := fold(name)
		if seen[f] {
			return true
		}
		seen[f] = true
	}
	return false
}

// fold maps all spellings that encoding/json takes for one name to one text.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, name)
}

// Clean makes hostile text fit for a model, a log or a terminal: valid UTF-8, one
// line, no control or direction characters, at most n bytes.
func Clean(s string, n int) string { return clean(s, n) }

// clean makes hostile text fit for a model, a log or a terminal: valid UTF-8,
// no control or direction characters, at most n bytes.
func clean(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1 {
			s = s[:len(s)-1]
		}
	}
	s = strings.ToValidUTF8(s, "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029':
			return -1
		}
		return r
	}, s)
}
