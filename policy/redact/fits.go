package redact

import (
	"maps"
	"slices"

	"github.com/ohler55/ojg/jp"
)

// fits reports whether a path can be applied to a document, that is to say
// whether what it does not find is not there. What is absent, null, empty or
// taken out already is fine; a list where the path names a member, an object where
// it counts, or a bare value where it goes on may hold the value in another place.
//
// Behind a descent the path is tried everywhere, so what does not fit there is no
// sign of anything: that is loose.
func fits(v any, path jp.Expr, loose bool) bool {
	if len(path) == 0 || isNothing(v) {
		return true
	}
	rest := path[1:]
	switch f := path[0].(type) {
	case jp.Root:
		return fits(v, rest, loose)
	case jp.Descent:
		return fitsBelow(v, rest)
	case jp.Child:
		if m, ok := v.(map[string]any); ok {
			return fits(m[string(f)], rest, false)
		}
	case jp.Nth:
		if list, ok := v.([]any); ok {
			return fits(at(list, int(f)), rest, false)
		}
	case jp.Wildcard:
		if takesAll(f, v, len(rest) == 0 || loose) {
			return fitsEach(v, rest, loose)
		}
	}
	return loose
}

func isNothing(v any) bool {
	list, isList := v.([]any)
	return v == nil || v == any(Mark) || isList && len(list) == 0
}

func at(list []any, n int) any {
	if n < 0 {
		n += len(list)
	}
	if n < 0 || n >= len(list) {
		return nil
	}
	return list[n]
}

// takesAll reports whether a wildcard means what is in v. Written as [*] it counts,
// and goes into the members of an object only where it takes them out, or looks
// everywhere anyway; written as .* it takes both.
func takesAll(f jp.Wildcard, v any, members bool) bool {
	switch v.(type) {
	case []any:
		return true
	case map[string]any:
		return f != '#' || members
	}
	return false
}

func fitsEach(v any, path jp.Expr, loose bool) bool {
	for _, inner := range within(v) {
		if !fits(inner, path, loose) {
			return false
		}
	}
	return true
}

// fitsBelow is fits for v and for all that is in it.
func fitsBelow(v any, path jp.Expr) bool {
	if !fits(v, path, true) {
		return false
	}
	for _, inner := range within(v) {
		if !fitsBelow(inner, path) {
			return false
		}
	}
	return true
}

// within are the values directly in v.
func within(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		return slices.Collect(maps.Values(v))
	}
	return nil
}
