package tools

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Left is a tool that its backend offers and nobody can call.
type Left struct{ Name, Toolset, Why string }

// Left are the tools that were left out, sorted. A backend, which may be anybody's,
// must not keep everything from starting by what it calls its tools.
func (r *Registry) Left() []Left {
	out := slices.Clone(r.left)
	slices.SortFunc(out, func(a, b Left) int { return cmp.Or(cmp.Compare(a.Toolset, b.Toolset), cmp.Compare(a.Name, b.Name)) })
	return out
}

func leave(t Tool, why string) Left { return Left{Clean(t.Name, 64), t.Toolset, why} }

// Leave is what [Registry.Left] says of a tool whose name is that of a tool of another
// toolset.
func Leave(t Tool, other string) Left {
	return leave(t, fmt.Sprintf("toolset %q has a tool of this name; give this one another name (name:), or all of its toolset a prefix (prefix:)", other))
}

// Withhold is what [Registry.Left] says of a tool whose name may be that of a tool of
// another toolset, which nobody could ask yet.
func Withhold(t Tool, other string) Left {
	return leave(t, fmt.Sprintf("toolset %q may have a tool of this name, and its backend was not read yet; give this one a name (name:), or all of its toolset a prefix (prefix:), if it shall not wait", other))
}

// settle takes out the tools that cannot have the name which their backend chose. What
// the operator wrote goes first. Of two backends neither has it, whichever came first:
// a name that agents and policies know must never lead to another backend because that
// one wants it, or because the other one is away.
func settle(all []Tool) (rest []Tool, left []Left) {
	chosen, offered := map[string]string{}, map[string][]string{}
	for _, t := range all {
		if t.Offered {
			offered[t.Name] = append(offered[t.Name], t.Toolset)
		} else {
			chosen[t.Name] = t.Toolset
		}
	}
	for _, t := range all {
		other, taken := chosen[t.Name]
		switch {
		case !t.Offered:
			rest = append(rest, t)
		case taken:
			left = append(left, Leave(t, other))
		case len(offered[t.Name]) > 1:
			left = append(left, leave(t, fmt.Sprintf("backends have %d tools of this name (toolsets %s), and none gets it; say whose it is (name:), or give their toolsets a prefix (prefix:)",
				len(offered[t.Name]), strings.Join(slices.Compact(slices.Sorted(slices.Values(offered[t.Name]))), ", "))))
		default:
			rest = append(rest, t)
		}
	}
	return rest, left
}
