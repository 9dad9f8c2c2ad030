package pii

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of an address: mail servers write longer local parts than RFC 5321 allows.
const (
	maxLocal  = 128
	maxDomain = 253
)

// findEmail takes name@host.domain, also with letters that are not ASCII and with
// the @ as a URL has it.
func findEmail(p place) match {
	if localRune(p.before()) {
		return nothing
	}
	name, open := p.run(p.i, maxLocal, localRune)
	switch {
	case open && !p.final:
		return waiting
	case name == 0:
		return nothing
	case strings.HasPrefix(p.text[p.i+name:], "@"):
		return p.address(p.i + name + 1)
	}
	if n := strings.Index(p.text[p.i:p.i+name], "%40"); n > 0 {
		return p.address(p.i + n + len("%40"))
	}
	return nothing
}

// address is what there is with the domain that begins at i.
func (p place) address(i int) match {
	n, open := p.run(i, maxDomain, domainRune)
	if open && !p.final {
		return waiting
	}
	host := strings.TrimRight(p.text[i:i+n], ".-")
	dot := strings.LastIndexByte(host, '.')
	if dot < 1 || utf8.RuneCountInString(host[dot+1:]) < 2 || !startsWithLetter(host[dot+1:]) {
		return nothing
	}
	return match{i + len(host) - p.i, noTail}
}

func startsWithLetter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r)
}

// run is how many bytes from i on belong, at most limit, and whether the text ends
// before it is known where they end.
func (p place) run(i, limit int, belongs func(rune) bool) (n int, open bool) {
	for n <= limit {
		if i+n >= len(p.text) || !p.final && p.cut(i+n) {
			return n, true
		}
		r, size := utf8.DecodeRuneInString(p.text[i+n:])
		if !belongs(r) {
			return n, false
		}
		n += size
	}
	return 0, false // too long to be one
}

// Letters of these scripts stand in words that spaces divide; in others an address
// would begin in the middle of a sentence.
func worded(r rune) bool {
	return r >= utf8.RuneSelf && unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic)
}

func localRune(r rune) bool {
	return r < utf8.RuneSelf && local[byte(r)] || worded(r)
}

func domainRune(r rune) bool {
	return r < utf8.RuneSelf && token[byte(r)] && r != '_' || r == '.' || r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsMark(r))
}
