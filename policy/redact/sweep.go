package redact

import (
	"cmp"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/policy/pii"
)

// sweep takes what the detectors find out of every text of a document: values,
// numbers, and the names of members, which a backend may make of anything.
func (r *Redaction) sweep(doc any, set pii.Set) (any, bool) {
	if set == 0 {
		return doc, false
	}
	switch v := doc.(type) {
	case string:
		clean := set.Redact(v, r.found)
		return clean, clean != v
	case json.Number:
		return r.sweepNumber(v, set)
	case []any:
		changed := false
		for i := range v {
			var found bool
			v[i], found = r.sweep(v[i], set)
			changed = changed || found
		}
		return v, changed
	case map[string]any:
		return r.sweepObject(v, set)
	}
	return doc, false
}

// sweepNumber marks a number in whose digits something is found, in whatever form
// they are written: a card number is one as 4.111111111111111e15, too.
func (r *Redaction) sweepNumber(n json.Number, set pii.Set) (any, bool) {
	if len(n) < 8 {
		return n, false
	}
	for _, text := range []string{string(n), plainDigits(string(n))} {
		if set.Redact(text, nil) != text {
			set.Redact(text, r.found)
			return Mark, true
		}
	}
	return n, false
}

// plainDigits is a whole number without point and exponent, empty for what is none
// or so large that no class has it.
func plainDigits(n string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(n), "e")
	if e, err := strconv.Atoi(cmp.Or(exponent, "0")); err != nil || e > 40 || e < -40 || len(mantissa) > 80 {
		return ""
	}
	v, ok := new(big.Rat).SetString(n)
	if !ok || !v.IsInt() {
		return ""
	}
	return v.Num().String()
}

// sweepObject goes by the order of the names, so that the same document always
// gives the same bytes.
func (r *Redaction) sweepObject(m map[string]any, set pii.Set) (any, bool) {
	changed, last := false, map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		value, found := r.sweep(m[name], set)
		m[name] = value
		changed = changed || found
		if clean := set.Redact(name, r.found); clean != name {
			delete(m, name)
			m[free(m, clean, last)] = value
			changed = true
		}
	}
	return m, changed
}

// free is a name that no member has yet. Last is the number that each name had last:
// whoever writes thousands that become one would have all of them tried for each.
func free(m map[string]any, name string, last map[string]int) string {
	for {
		last[name]++
		other := name
		if n := last[name]; n > 1 {
			other = name + " " + strconv.Itoa(n)
		}
		if _, taken := m[other]; !taken {
			return other
		}
	}
}

// Counted is the redaction, of which account hears.
func (r *Redaction) Counted(account func(class string, bytes int)) *Redaction {
	if r.Empty() {
		return r
	}
	c := *r
	c.account = account
	return &c
}

func (r *Redaction) found(c pii.Class, bytes int) { r.count(c.String(), bytes) }

func (r *Redaction) count(class string, bytes int) {
	if r.account != nil {
		r.account(class, bytes)
	}
}

// sizeOf is how many bytes a value has as it would be shown.
func sizeOf(v any) int {
	if text, ok := v.(string); ok {
		return len(text)
	}
	b, err := arguments.Encode(v)
	if err != nil {
		return 0
	}
	return len(b)
}
