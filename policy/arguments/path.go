package arguments

import (
	"maps"
	"slices"

	"github.com/ohler55/ojg/jp"
)

// FreeText reports whether any text may stand there.
func (t *Type) FreeText() bool { return t.kind == text && t.enum == nil }

// MayHave reports whether a value of the type may have something at the path.
func (t *Type) MayHave(path jp.Expr) bool {
	if len(path) == 0 || t.open || t.kind == opaque {
		return true
	}
	if slices.ContainsFunc(t.step(path[0]), func(next *Type) bool { return next.MayHave(path[1:]) }) {
		return true
	}
	_, descent := path[0].(jp.Descent)
	return descent && slices.ContainsFunc(t.members(), func(next *Type) bool { return next.MayHave(path) })
}

// Resolve gives the types that a path leads to.
func (t *Type) Resolve(path jp.Expr) []*Type {
	if len(path) == 0 {
		return []*Type{t}
	}
	var hits []*Type
	for _, next := range t.step(path[0]) {
		hits = append(hits, next.Resolve(path[1:])...)
	}
	if _, descent := path[0].(jp.Descent); descent {
		for _, next := range t.members() {
			hits = append(hits, next.Resolve(path)...)
		}
	}
	return hits
}

func (t *Type) step(f jp.Frag) []*Type {
	switch f := f.(type) {
	case jp.Child:
		if member, ok := t.fields[string(f)]; ok {
			return []*Type{member.typ}
		}
	case jp.Nth:
		if t.elem != nil {
			return []*Type{t.elem}
		}
	case jp.Wildcard:
		return t.members()
	case jp.Descent:
		return []*Type{t}
	}
	return nil
}

func (t *Type) members() []*Type {
	var all []*Type
	if t.elem != nil {
		all = append(all, t.elem)
	}
	for _, name := range slices.Sorted(maps.Keys(t.fields)) {
		all = append(all, t.fields[name].typ)
	}
	return all
}
