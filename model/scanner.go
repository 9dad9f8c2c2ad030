package model

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// scanner reads the tokens of a JSON text. Its methods report false where the
// text is no such token, or not in the plain form that they know.
type scanner struct {
	b            []byte
	i            int
	text0, text1 int // where the text's string begins and ends
	pad0, pad1   int // and the padding's
}

// member opens the object for n = 0 and moves to the value of its n-th member.
func (s *scanner) member(n int) (key []byte, end, ok bool) {
	if n == 0 && !s.take('{') {
		return nil, false, false
	}
	if s.peek() == '}' {
		s.i++
		return nil, true, true
	}
	if n > 0 && !s.take(',') {
		return nil, false, false
	}
	key, ok = s.plain()
	return key, false, ok && s.take(':')
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\r' || s.b[s.i] == '\n') {
		s.i++
	}
}

// peek gives the next byte that is no space, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	s.space()
	if s.i == len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) null() bool { return s.word("null") }

func (s *scanner) word(w string) bool {
	s.space()
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// zero takes the number 0 and not the 0 of another number.
func (s *scanner) zero() bool {
	s.space()
	from := s.i
	return s.integer() && s.i == from+1 && s.b[from] == '0'
}

func (s *scanner) scalar() bool {
	if s.peek() == '"' {
		_, ok := s.plain()
		return ok
	}
	return s.integer() || s.null() || s.word("true") || s.word("false")
}

// integer takes digits; a number of any other form is left to the decoder.
func (s *scanner) integer() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	n := s.i - from
	return n == 1 || n > 1 && s.b[from] != '0'
}

// plain takes a string without escapes.
func (s *scanner) plain() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	str := s.b[s.i : s.i+run(s.b[s.i:])]
	if s.i += len(str); s.i == len(s.b) || s.b[s.i] != '"' {
		return nil, false
	}
	s.i++
	return str, true
}

// text appends a string to dst.
func (s *scanner) text(dst []byte) ([]byte, bool) {
	if !s.take('"') {
		return dst, false
	}
	from := len(dst)
	for {
		n := run(s.b[s.i:])
		dst = append(dst, s.b[s.i:s.i+n]...)
		s.i += n
		if s.i >= len(s.b) || s.b[s.i] < ' ' {
			return dst, false
		}
		if s.b[s.i] == '"' {
			s.i++
			return dst, utf8.Valid(dst[from:])
		}
		var ok bool
		if dst, ok = s.escape(dst); !ok {
			return dst, false
		}
	}
}

// run is the number of bytes that stand for themselves in a string.
func run(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if m := stops(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// stops marks the first of eight bytes that is a quote, a backslash or a
// control character by its top bit: x-1 borrows into it only if x was zero. The
// marks above the first may be wrong.
func stops(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^(ones*'"'), w^(ones*'\\')
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*' ')&^w) & tops
}

func (s *scanner) escape(dst []byte) ([]byte, bool) {
	if s.i+1 >= len(s.b) {
		return dst, false
	}
	c := s.b[s.i+1]
	s.i += 2
	switch c {
	case '"', '\\', '/':
		return append(dst, c), true
	case 'n':
		return append(dst, '\n'), true
	case 't':
		return append(dst, '\t'), true
	case 'r':
		return append(dst, '\r'), true
	case 'b':
		return append(dst, '\b'), true
	case 'f':
		return append(dst, '\f'), true
	case 'u':
		return s.unicode(dst)
	}
	return dst, false
}

// unicode reads \uXXXX after its u, and the second half of a pair. A half
// without its other half is left to the decoder.
func (s *scanner) unicode(dst []byte) ([]byte, bool) {
	r, ok := s.hex()
	if !ok || r >= 0xdc00 && r < 0xe000 {
		return dst, false
	}
	if r >= 0xd800 && r < 0xdc00 {
		if !s.next(`\u`) {
			return dst, false
		}
		low, ok := s.hex()
		if !ok || low < 0xdc00 || low >= 0xe000 {
			return dst, false
		}
		r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
	}
	return utf8.AppendRune(dst, r), true
}

// next takes w without space before it.
func (s *scanner) next(w string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(w)) {
		return false
	}
	s.i += len(w)
	return true
}

func (s *scanner) hex() (r rune, ok bool) {
	if len(s.b)-s.i < 4 {
		return 0, false
	}
	for _, c := range s.b[s.i : s.i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	s.i += 4
	return r, true
}
