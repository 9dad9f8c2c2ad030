package model

import "bytes"

// scanDelta reads the one frame that makes up nearly all of a stream,
//
//	{"id":"…","choices":[{"index":0,"delta":{"content":"…"},"finish_reason":null}]}
//
// and appends its text to dst. It is strict: whatever it does not know (a tool
// call, a finish reason, usage, an error, an escape in a key, a second choice,
// invalid UTF-8) gives false and an unchanged dst, and the frame goes to the
// full decoder. What it accepts, encoding/json reads the same way.
func scanDelta(frame, dst []byte) ([]byte, bool) {
	var m mould
	return m.scan(frame, dst)
}

// mould remembers the frame before: most frames of a stream differ from it only
// in their text (and the padding that OpenAI adds to hide its length), and what
// was read once around them need not be read again.
type mould struct {
	head, mid, tail []byte // around the text and the padding
	padded          bool
}

func (m *mould) scan(frame, dst []byte) ([]byte, bool) {
	if out, ok := m.fill(frame, dst); ok {
		return out, true
	}
	s := scanner{b: frame}
	out, ok := s.frame(dst)
	if s.space(); !ok || s.i != len(s.b) {
		return dst, false
	}
	m.learn(&s)
	return out, true
}

// fill reads a frame that is head, a string, mid, and if padded a string, tail.
func (m *mould) fill(frame, dst []byte) ([]byte, bool) {
	if len(m.head) == 0 || !bytes.HasPrefix(frame, m.head) {
		return dst, false
	}
	s := scanner{b: frame, i: len(m.head)}
	out, ok := s.text(dst)
	if !ok || !bytes.HasPrefix(frame[s.i:], m.mid) {
		return dst, false
	}
	s.i += len(m.mid)
	if m.padded {
		_, ok = s.plain()
	}
	if !ok || !bytes.Equal(frame[s.i:], m.tail) {
		return dst, false
	}
	return out, true
}

func (m *mould) learn(s *scanner) {
	if s.text1 == 0 {
		return
	}
	m.padded = s.pad0 > s.text1
	end, rest := len(s.b), len(s.b)
	if m.padded {
		end, rest = s.pad0, s.pad1
	}
	m.head = append(m.head[:0], s.b[:s.text0]...)
	m.mid = append(m.mid[:0], s.b[s.text1:end]...)
	m.tail = append(m.tail[:0], s.b[rest:]...)
}

func (s *scanner) frame(dst []byte) (_ []byte, ok bool) {
	seen := false
	for n := 0; ; n++ {
		key, end, ok := s.member(n)
		if !ok || end {
			return dst, ok && seen
		}
		switch string(key) {
		case "choices":
			if seen {
				return dst, false
			}
			seen = true
			dst, ok = s.choices(dst)
		case "id", "object", "created", "model", "system_fingerprint", "service_tier", "provider":
			ok = s.scalar()
		case "obfuscation":
			s.pad0 = s.i
			_, ok = s.plain()
			s.pad1 = s.i
		case "usage", "error":
			ok = s.null()
		default:
			ok = !special(key) && s.scalar()
		}
		if !ok {
			return dst, false
		}
	}
}

// special finds the keys that encoding/json would take for ours: it ignores case.
func special(key []byte) bool {
	return bytes.EqualFold(key, []byte("choices")) || bytes.EqualFold(key, []byte("usage")) || bytes.EqualFold(key, []byte("error"))
}

// choices reads a list of exactly one.
func (s *scanner) choices(dst []byte) ([]byte, bool) {
	if !s.take('[') {
		return dst, false
	}
	dst, ok := s.choice(dst)
	return dst, ok && s.take(']')
}

func (s *scanner) choice(dst []byte) ([]byte, bool) {
	seen := false
	for n := 0; ; n++ {
		key, end, ok := s.member(n)
		if !ok || end {
			return dst, ok && seen
		}
		switch string(key) {
		case "index":
			ok = s.zero()
		case "delta":
			if seen {
				return dst, false
			}
			seen = true
			dst, ok = s.delta(dst)
		default:
			ok = s.null()
		}
		if !ok {
			return dst, false
		}
	}
}

func (s *scanner) delta(dst []byte) ([]byte, bool) {
	seen := false
	for n := 0; ; n++ {
		key, end, ok := s.member(n)
		if !ok || end {
			return dst, ok
		}
		switch {
		case string(key) == "content" && !seen:
			seen = true
			if !s.null() {
				s.space()
				s.text0 = s.i
				dst, ok = s.text(dst)
				s.text1 = s.i
			}
		case string(key) == "role":
			_, ok = s.plain()
		default:
			ok = s.null()
		}
		if !ok {
			return dst, false
		}
	}
}
