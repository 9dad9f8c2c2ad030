package tools

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/fault"
)

// maxDepth bounds the nesting of arguments and results (SECURITY 9).
const maxDepth = 32

// maxNumber bounds a number's literal, so that no exact arithmetic behind us
// gets a number whose size is the attack.
const maxNumber = 32

// The same for texts that may carry any number: the schema library computes with
// rational numbers, and what 1e-999999 takes nine bytes to write is a megabit there.
const (
	maxForeignNumber = 400
	maxExponent      = 400 // that of a float64 ends at 308
)

// strictness says what a text must be beyond RFC 8259. All levels refuse
// duplicate names at any depth, names that differ only in case, invalid UTF-8,
// lone surrogates, trailing bytes and too deep nesting: each is read differently
// by some decoder behind us (POLICY, trap 5).
type strictness int

const (
	// foreign texts may carry any number that is not absurd: results and schemas.
	foreign strictness = iota
	// exact texts may not: integers are int64, fractions are written out, and
	// no name can be taken for an entity (POLICY, traps 3 and 4).
	exact
)

// parser reads one JSON text in one pass.
type parser struct {
	src    string
	pos    int
	depth  int
	level  strictness
	spaced bool // there is insignificant white space
}

// parseJSON gives the value of a JSON text: nil, bool, string, json.Number,
// []any or map[string]any. Spaced reports whether the text has white space
// between its tokens. A text that is refused gives the place and the problem,
// never a value out of the text.
func parseJSON(src string, level strictness) (v any, spaced bool, bad *fault.Field) {
	if !utf8.ValidString(src) {
		return nil, false, &fault.Field{Problem: "is not valid UTF-8"}
	}
	p := &parser{src: src, level: level}
	p.space()
	v, bad = p.value()
	if bad != nil {
		return nil, false, bad
	}
	p.space()
	if p.pos != len(src) {
		return nil, false, p.fail("has bytes after the end of the JSON value")
	}
	return v, p.spaced, nil
}

func (p *parser) value() (any, *fault.Field) {
	switch c := p.peek(); {
	case c == '{':
		return p.object()
	case c == '[':
		return p.array()
	case c == '"':
		return p.str()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case p.take("true"):
		return true, nil
	case p.take("false"):
		return false, nil
	case p.take("null"):
		return nil, nil
	}
	return nil, p.broken()
}

func (p *parser) object() (any, *fault.Field) {
	if bad := p.enter(); bad != nil {
		return nil, bad
	}
	defer p.leave()
	out := map[string]any{}
	if p.next('}') {
		return out, nil
	}
	mixed := false
	for {
		name, bad := p.name(out)
		if bad != nil {
			return nil, bad
		}
		mixed = mixed || !plain(name)
		v, bad := p.value()
		if bad != nil {
			return nil, under(name, bad)
		}
		out[name] = v
		if p.next('}') {
			break
		}
		if !p.next(',') {
			return nil, p.broken()
		}
	}
	if mixed && folded(out) {
		return nil, p.fail("has names that differ only in case")
	}
	return out, nil
}

// name reads a member's name and its colon.
func (p *parser) name(seen map[string]any) (string, *fault.Field) {
	if p.peek() != '"' {
		return "", p.broken()
	}
	name, bad := p.str()
	if bad != nil {
		return "", bad
	}
	if _, dup := seen[name]; dup {
		return "", under(name, p.fail("is there twice"))
	}
	if p.level == exact && (name == "__entity" || name == "__extn") {
		return "", under(name, p.fail("is not a name that arguments may use"))
	}
	if !p.next(':') {
		return "", p.broken()
	}
	return name, nil
}

func (p *parser) array() (any, *fault.Field) {
	if bad := p.enter(); bad != nil {
		return nil, bad
	}
	defer p.leave()
	out := []any{}
	if p.next(']') {
		return out, nil
	}
	for {
		v, bad := p.value()
		if bad != nil {
			return nil, under(strconv.Itoa(len(out)), bad)
		}
		out = append(out, v)
		if p.next(']') {
			return out, nil
		}
		if !p.next(',') {
			return nil, p.broken()
		}
	}
}

func (p *parser) str() (string, *fault.Field) {
	p.pos++
	start := p.pos
	for ; p.pos < len(p.src); p.pos++ {
		switch c := p.src[p.pos]; {
		case c == '"':
			p.pos++
			return p.src[start : p.pos-1], nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.broken()
		}
	}
	return "", p.broken()
}

// escaped reads the rest of a string that has a backslash.
func (p *parser) escaped(start int) (string, *fault.Field) {
	var sb strings.Builder
	sb.WriteString(p.src[start:p.pos])
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == '"':
			return sb.String(), nil
		case c < 0x20:
			return "", p.broken()
		case c != '\\':
			sb.WriteByte(c)
		default:
			r, ok := p.escape()
			if !ok {
				return "", p.fail("has a bad escape in a string")
			}
			sb.WriteRune(r)
		}
	}
	return "", p.broken()
}

// escape reads what follows a backslash. A lone surrogate is refused because
// decoders replace it, each in its own way; a NUL because C ends there.
func (p *parser) escape() (rune, bool) {
	if p.pos >= len(p.src) {
		return 0, false
	}
	c := p.src[p.pos]
	p.pos++
	if c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false
		}
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := p.hex()
	if !ok || r == 0 && p.level == exact {
		return 0, false
	}
	if !utf16.IsSurrogate(r) {
		return r, true
	}
	if !strings.HasPrefix(p.src[p.pos:], `\u`) {
		return 0, false
	}
	p.pos += 2
	low, ok := p.hex()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

func (p *parser) hex() (rune, bool) {
	if len(p.src)-p.pos < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(p.src[p.pos:p.pos+4], 16, 16)
	p.pos += 4
	return rune(n), err == nil
}

func (p *parser) number() (any, *fault.Field) {
	start := p.pos
	p.take("-")
	if !p.take("0") && !p.digits() {
		return nil, p.broken()
	}
	fraction := p.take(".")
	if fraction && !p.digits() {
		return nil, p.broken()
	}
	exponent := p.take("e") || p.take("E")
	if exponent {
		_ = p.take("+") || p.take("-")
		if !p.digits() {
			return nil, p.broken()
		}
	}
	text := p.src[start:p.pos]
	problem := absurd(text)
	if p.level == exact {
		problem = inexact(text, fraction, exponent)
	}
	if problem != "" {
		return nil, p.fail(problem)
	}
	return json.Number(text), nil
}

// absurd says why nobody should compute with a literal; empty if it is fine.
func absurd(text string) string {
	if len(text) > maxForeignNumber {
		return "is a number with too many digits"
	}
	e := strings.IndexAny(text, "eE")
	if e < 0 {
		return ""
	}
	if n, err := strconv.Atoi(text[e+1:]); err != nil || n > maxExponent || n < -maxExponent {
		return "is a number with too large an exponent"
	}
	return ""
}

// inexact says why a literal cannot be carried exactly to policy, approval
// digest and backend alike; empty if it can.
func inexact(text string, fraction, exponent bool) string {
	switch {
	case exponent:
		return "is a number with an exponent; write it out"
	case len(text) > maxNumber:
		return "is a number with too many digits"
	case fraction:
		return ""
	case text == "-0":
		return "is minus zero; write 0"
	}
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return "is an integer beyond 64 bits"
	}
	return ""
}

func (p *parser) digits() bool {
	start := p.pos
	for p.pos < len(p.src) && p.src[p.pos] >= '0' && p.src[p.pos] <= '9' {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) take(lit string) bool {
	if !strings.HasPrefix(p.src[p.pos:], lit) {
		return false
	}
	p.pos += len(lit)
	return true
}

// next takes a punctuation mark and the white space around it.
func (p *parser) next(c byte) bool {
	p.space()
	if p.peek() != c {
		return false
	}
	p.pos++
	p.space()
	return true
}

func (p *parser) space() {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
		p.spaced = true
	}
}

// enter opens an object or an array.
func (p *parser) enter() *fault.Field {
	p.depth++
	if p.depth > maxDepth {
		return p.fail("is nested too deeply")
	}
	p.pos++
	p.space()
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) fail(problem string) *fault.Field { return &fault.Field{Problem: problem} }

func (p *parser) broken() *fault.Field {
	return p.fail("is not JSON at byte " + strconv.Itoa(p.pos))
}

// under puts a problem below a name.
func under(name string, f *fault.Field) *fault.Field {
	return &fault.Field{Path: pointer(name) + f.Path, Problem: f.Problem}
}

// pointer is the JSON pointer (RFC 6901) of the names, each bounded and without
// what could harm a terminal: names are hostile too.
func pointer(names ...string) string {
	var sb strings.Builder
	for _, n := range names {
		sb.WriteByte('/')
		sb.WriteString(strings.ReplaceAll(strings.ReplaceAll(clean(n, 64), "~", "~0"), "/", "~1"))
	}
	return sb.String()
}
