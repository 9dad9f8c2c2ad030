package audit

import (
	"strconv"
	"unicode/utf8"
)

// writer is the codec that makes canonical JSON.
type writer struct {
	b        []byte
	scrubbed bool // something was not UTF-8 and was replaced
}

func (w *writer) lit(s string) { w.b = append(w.b, s...) }

func (w *writer) text(lit string, v *string) {
	w.lit(lit)
	w.quote(*v)
}

func (w *writer) list(lit string, v *[]string) {
	w.lit(lit)
	w.b = append(w.b, '[')
	for i, s := range *v {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.quote(s)
	}
	w.b = append(w.b, ']')
}

func (w *writer) num(lit string, v *int64) {
	w.lit(lit)
	w.b = append(w.b, '"')
	w.b = strconv.AppendInt(w.b, *v, 10)
	w.b = append(w.b, '"')
}

func (w *writer) flag(lit string, v *bool) {
	w.lit(lit)
	w.b = strconv.AppendBool(w.b, *v)
}

// quote writes a JSON string as RFC 8785 3.2.2.2 wants it: only what must be
// escaped is, with the short forms first and lower-case hexadecimal.
func (w *writer) quote(s string) {
	b := append(w.b, '"')
	for {
		n := plain(s)
		b = append(b, s[:n]...)
		if n == len(s) {
			break
		}
		if s = s[n:]; s[0] < utf8.RuneSelf {
			b, s = appendEscape(b, s[0]), s[1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		w.scrubbed = w.scrubbed || r == utf8.RuneError && size == 1
		b, s = utf8.AppendRune(b, r), s[size:]
	}
	w.b = append(b, '"')
}

// plain is how many bytes of s are ASCII that stands for itself. Eight at a
// time: this is most of what sealing a row costs beside the hash.
func plain(s string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		p := s[i : i+8]
		x := uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
			uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
		quote, slash := x^ones*'"', x^ones*'\\'
		if (x|(x-ones*' ')|(quote-ones)|(slash-ones))&highs != 0 {
			break // some byte is special, or a borrow makes it look so; look closer
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

func appendEscape(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\t':
		return append(b, `\t`...)
	case '\n':
		return append(b, `\n`...)
	case '\f':
		return append(b, `\f`...)
	case '\r':
		return append(b, `\r`...)
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
