package audit

import (
	"fmt"
	"strconv"
	"strings"
)

// reader is the codec that takes canonical JSON apart. It knows the order of
// all members, so it is a prefix match and not a JSON parser. It may accept a
// little more than the writer writes (an escape in its long form, a leading
// zero); its callers compare with what the writer makes of the answer.
type reader struct {
	s   string // what is left
	at  int
	err error
}

// end says what went wrong, or that something is left over.
func (d *reader) end() error {
	if d.err == nil && d.s != "" {
		d.fail("trailing bytes")
	}
	return d.err
}

func (d *reader) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s at byte %d", what, d.at)
	}
	d.s = ""
}

func (d *reader) skip(n int) { d.s, d.at = d.s[n:], d.at+n }

func (d *reader) try(lit string) bool {
	if d.err != nil || !strings.HasPrefix(d.s, lit) {
		return false
	}
	d.skip(len(lit))
	return true
}

func (d *reader) lit(lit string) {
	if !d.try(lit) {
		d.fail("want " + lit)
	}
}

func (d *reader) text(lit string, v *string) {
	d.lit(lit)
	*v = d.quoted()
}

func (d *reader) list(lit string, v *[]string) {
	d.lit(lit)
	d.lit("[")
	for d.err == nil && !d.try("]") {
		if len(*v) > 0 {
			d.lit(",")
		}
		*v = append(*v, d.quoted())
	}
}

func (d *reader) num(lit string, v *int64) {
	d.lit(lit)
	s := d.quoted()
	if d.err != nil {
		return
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		d.fail("want an integer")
	}
	*v = n
}

func (d *reader) flag(lit string, v *bool) {
	d.lit(lit)
	switch {
	case d.try("true"):
		*v = true
	case d.try("false"):
		*v = false
	default:
		d.fail("want true or false")
	}
}

// quoted takes one string. Without escapes, which is the rule, it shares the
// bytes of the whole.
func (d *reader) quoted() string {
	d.lit(`"`)
	end := strings.IndexByte(d.s, '"')
	if end < 0 {
		d.fail("unfinished string")
		return ""
	}
	if s := d.s[:end]; strings.IndexByte(s, '\\') < 0 {
		d.skip(end + 1)
		return s
	}
	return d.escaped()
}

func (d *reader) escaped() string {
	var b strings.Builder
	for d.err == nil {
		i := strings.IndexAny(d.s, `"\`)
		if i < 0 {
			break
		}
		b.WriteString(d.s[:i])
		d.skip(i)
		if d.try(`"`) {
			return b.String()
		}
		d.escape(&b)
	}
	d.fail("unfinished string")
	return ""
}

func (d *reader) escape(b *strings.Builder) {
	const short, plain = `"\btnfr`, "\"\\\b\t\n\f\r"
	if len(d.s) < 2 {
		d.fail("unfinished escape")
		return
	}
	if i := strings.IndexByte(short, d.s[1]); i >= 0 {
		b.WriteByte(plain[i])
		d.skip(2)
		return
	}
	if len(d.s) < 6 || d.s[1] != 'u' {
		d.fail("bad escape")
		return
	}
	n, err := strconv.ParseUint(d.s[2:6], 16, 8) // only control characters are written this way
	if err != nil {
		d.fail("bad escape")
		return
	}
	b.WriteByte(byte(n))
	d.skip(6)
}
