package pii

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxHold is how many bytes a Stream may keep back at most.
	MaxHold = 1 << 10
	// behind is how far a matcher may look back.
	behind = 64
	// maxPEM bounds a private key whose end does not come.
	maxPEM = 16 << 10
)

// Redact gives the text without what is found. Taken hears of each run of bytes
// that was taken out; nil: nobody does.
func (set Set) Redact(text string, taken func(Class, int)) string {
	if set == 0 {
		return text
	}
	s := Stream{set: set, taken: taken}
	return s.take(text, true)
}

// Stream takes things out of a text that comes in pieces.
type Stream struct {
	set   Set
	taken func(Class, int)

	text   string // what was let go of lately, then what is held
	next   int    // the first byte that is held
	found  int    // all before it is to be taken out
	class  Class  // of what is there
	bytes  int    // taken out and not told of yet
	marked bool   // what was let go of last is a mark
	tails  [tails]int
	pem    int // bytes that a private key may still have
}

// Stream begins a text. Taken is as for Redact.
func (set Set) Stream(taken func(Class, int)) *Stream { return &Stream{set: set, taken: taken} }

// Add gives what can be let go of now that text has come.
func (s *Stream) Add(text string) string { return s.take(text, false) }

// End gives what was held: nothing more will come.
func (s *Stream) End() string { return s.take("", true) }

// Held is how many bytes are held.
func (s *Stream) Held() int { return len(s.text) - s.next }

func (s *Stream) take(text string, final bool) string {
	if s.set == 0 {
		return text
	}
	s.forget()
	if len(s.text) > 0 {
		text = s.text + text
	}
	s.text = text
	from, out := s.next, []byte(nil)
	for s.next < len(text) {
		size, ready := s.look(final)
		if !ready {
			break
		}
		covered := s.next < s.found
		switch {
		case covered && !s.marked:
			out = append(append(out, text[from:s.next]...), Mark...)
			s.marked = true
		case !covered && s.marked:
			s.tell()
			from, s.marked = s.next, false
		}
		if covered {
			s.bytes += size
		}
		s.next += size
	}
	if final {
		s.tell()
	}
	switch {
	case s.marked:
		return string(out)
	case out == nil:
		return text[from:s.next]
	}
	return string(append(out, text[from:s.next]...))
}

// forget drops what no matcher looks at any more.
func (s *Stream) forget() {
	n := s.next - behind
	if n <= 0 {
		return
	}
	s.text = s.text[n:]
	s.next, s.found = behind, max(s.found-n, 0)
	for k := range s.tails {
		s.tails[k] = max(s.tails[k]-n, 0)
	}
}

func (s *Stream) tell() {
	if s.bytes > 0 && s.taken != nil {
		s.taken(s.class, s.bytes)
	}
	s.bytes = 0
}

// look asks the matchers about the next character. It is not ready if one of them
// needs more text.
func (s *Stream) look(final bool) (size int, ready bool) {
	at := place{s.text, s.next, final}
	first := s.text[s.next]
	size = 1
	if first >= utf8.RuneSelf {
		if !final && !utf8.FullRuneInString(s.text[s.next:]) {
			return 0, false
		}
		_, size = utf8.DecodeRuneInString(s.text[s.next:])
	}
	if !at.inWord() && !s.match(first, at) {
		return 0, false
	}
	for k := range s.tails {
		if s.tails[k] != s.next || s.next == 0 {
			continue
		}
		switch goesOn(tail(k), at) {
		case undecided:
			return 0, false
		case yes:
			s.tails[k] = s.next + size
			s.found = max(s.found, s.next+size)
		}
	}
	s.insideKey(size)
	return size, true
}

// match asks who may find something that begins so, false if one of them needs
// more text.
func (s *Stream) match(first byte, at place) bool {
	for _, m := range matchersOf[first] {
		if !s.set.has(m.class) {
			continue
		}
		hit := m.find(at)
		if hit.length < 0 {
			return false
		}
		s.cover(m.class, hit)
	}
	return true
}

// cover notes what was found at the next character.
func (s *Stream) cover(c Class, hit match) {
	if hit.length == 0 {
		return
	}
	end := s.next + hit.length
	if end > s.found {
		s.found, s.class = end, c
	}
	switch hit.tail {
	case noTail:
	case pemTail:
		s.pem = maxPEM
	default:
		s.tails[hit.tail] = max(s.tails[hit.tail], end)
	}
}

// insideKey covers a private key to its end.
func (s *Stream) insideKey(size int) {
	if s.pem <= 0 {
		return
	}
	s.pem -= size
	s.found, s.class = max(s.found, s.next+size), Secret
	if over := s.text[max(s.next+size-behind, 0) : s.next+size]; strings.HasSuffix(over, "-----") {
		if i := strings.LastIndex(over, "-----END "); i >= 0 && i < len(over)-len("-----END ") {
			s.pem = 0
		}
	}
}

// place is where a matcher looks.
type place struct {
	text  string
	i     int
	final bool // nothing comes after text
}

// match is what a matcher says: length bytes are to be taken out, none for 0, and
// less than none if it depends on what comes. What follows is taken out as long as
// it belongs to the tail.
type match struct {
	length int
	tail   tail
}

type tail uint8

const (
	tokenTail  tail = iota // letters, digits, - and _
	dottedTail             // the same with dots between, and what base64 has
	valueTail              // all that a value may have
	tails
	pemTail
	noTail
)

var (
	nothing = match{0, noTail}
	waiting = match{-1, noTail}
)

// end is the answer of a matcher that has come to the end of the text.
func (p place) end() match {
	if p.final {
		return nothing
	}
	return waiting
}

func (p place) rest() string { return p.text[p.i:] }

// before is the character in front of the place, RuneError for none.
func (p place) before() rune {
	r, _ := utf8.DecodeLastRuneInString(p.text[max(p.i-utf8.UTFMax, 0):p.i])
	return r
}

// fresh reports whether no word or number reaches the place from before.
func (p place) fresh() bool {
	r := p.before()
	return r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

// afterDigit reports whether the place stands inside a number.
func (p place) afterDigit() bool { return unicode.IsDigit(p.before()) }

// inWord reports whether the place is inside a word or a number, where nothing
// begins. A number that follows letters may be one.
func (p place) inWord() bool {
	if p.i == 0 {
		return false
	}
	here, before := kinds[p.text[p.i]], kinds[p.text[p.i-1]]
	return here != 0 && (here == before || here < before)
}

type verdict uint8

const (
	no verdict = iota
	yes
	undecided
)

// goesOn reports whether the next character still belongs to a tail.
func goesOn(k tail, p place) verdict {
	c := p.text[p.i]
	if token[c] || k == valueTail && valued[c] {
		return yes
	}
	if k != dottedTail {
		return no
	}
	if c == '=' || c == '+' || c == '/' {
		return yes
	}
	if c != '.' {
		return no
	}
	switch { // a dot at the end of a sentence is not the token's
	case p.i+1 < len(p.text):
		if token[p.text[p.i+1]] {
			return yes
		}
		return no
	case p.final:
		return no
	}
	return undecided
}

// finder is a matcher with the class of what it finds.
type finder struct {
	class Class
	find  func(place) match
}

// matchersOf lists, by the first byte, who may find something there.
var matchersOf = compile()

func compile() (table [256][]finder) {
	add := func(class Class, find func(place) match, begins func(byte) bool) {
		for c := range table {
			if begins(byte(c)) {
				table[c] = append(table[c], finder{class, find})
			}
		}
	}
	digit := func(c byte) bool { return c >= '0' && c <= '9' || c == wide[0] }
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	add(Card, findCard, digit)
	add(Email, findEmail, func(c byte) bool { return local[c] || c >= utf8.RuneSelf })
	add(IBAN, findIBAN, letter)
	add(NationalID, findNationalID, func(c byte) bool { return digit(c) && c < utf8.RuneSelf || letter(c) })
	add(Phone, findPhone, func(c byte) bool { return c == '+' || c == '(' || digit(c) && c < utf8.RuneSelf })
	add(Secret, findKey, func(c byte) bool { return keysBy[c] != nil })
	add(Secret, findNamed, func(c byte) bool { return valued[c] })
	return table
}
