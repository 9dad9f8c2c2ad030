package behalf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/lifecycle"
)

// complete reports whether it is known which tools a section has.
func (s *snapshot) complete(name string) bool {
	t := s.cfg.Tools[name]
	if t.GRPC == nil && t.MCP == nil {
		return true
	}
	src := s.sources[name]
	if src == nil || !src.Read() {
		return false
	}
	for _, schema := range src.Waiting() {
		if schema == nil {
			return false
		}
	}
	return true
}

// waiting are the tools that nobody accepted yet, as agents and policies may name
// them. One that has the name of a tool of another section is none.
func (s *snapshot) waiting() map[string]policy.ToolSchema {
	out := map[string]policy.ToolSchema{}
	for _, set := range slices.Sorted(maps.Keys(s.sources)) {
		for name, schema := range s.sources[set].Waiting() {
			d, taken := s.registry.Descriptor(name)
			if _, twice := out[name]; twice || taken && d.Toolset != set {
				continue
			}
			out[name] = policy.ToolSchema{Name: name, Toolset: set, Schema: schema}
		}
	}
	return out
}

// schemas are what policies are held against. Those about a tool of which nothing is
// known rest until it is.
func (s *snapshot) schemas() []policy.ToolSchema {
	waiting := s.waiting()
	out := slices.DeleteFunc(s.registry.Schemas(), func(t policy.ToolSchema) bool { return waiting[t.Name].Name != "" })
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		if waiting[name].Schema != nil {
			out = append(out, waiting[name])
		}
	}
	return out
}

// unasked reports that there are backends which could say more of their tools, and
// that nobody asked them yet. Before anything is in force they are, see begin.
func (s *snapshot) unasked() bool {
	return slices.ContainsFunc(s.absent, func(set string) bool {
		t, r := s.cfg.Tools[set], s.sources[set]
		return (t.GRPC != nil || t.MCP != nil) && (r == nil || r.cancel == nil)
	})
}

// provisional are policies to go on looking with, where not all tools are known: no
// case about one of the others is told of. Nothing with such cases is put in force.
func (s *snapshot) provisional(c policy.Config, wrong error) (*policy.Set, error) {
	set, err := policy.Load(c)
	if err != nil {
		return nil, wrong
	}
	results, _ := lifecycle.RunTests(set, c.Files()) // what is wrong with the files is told already
	resting := map[string]bool{}
	s.resting = nil
	for _, r := range results {
		tool := r.Case.Tool
		known := slices.ContainsFunc(c.Tools, func(t policy.ToolSchema) bool { return t.Name == tool })
		if len(r.Failures) > 0 && tool != "" && !known {
			resting[r.At] = true
			s.resting = append(s.resting, tool)
		}
	}
	if err := without(wrong, resting); len(resting) == 0 || err != nil {
		return nil, err
	}
	return set, nil
}

// without leaves out the problems of cases, and what they would cover.
func without(wrong error, cases map[string]bool) error {
	return errors.Join(slices.DeleteFunc(flat(wrong), func(err error) bool {
		p, ok := errors.AsType[*policy.Problem](err)
		return ok && len(cases) > 0 && (cases[fmt.Sprintf("%s:%d", p.Inside, p.Line)] || strings.HasSuffix(p.Inside, ".cedar"))
	})...)
}

// leftOut says why methods of backends are no tools, by the name that the tool would
// have. One that another backend is expected to have is not among them.
func (s *snapshot) leftOut() map[string]string {
	out := map[string]string{}
	for _, r := range s.sources {
		if g, ok := r.source.(interface{ LeftOut() map[string]string }); ok {
			maps.Copy(out, g.LeftOut())
		}
	}
	for name := range s.expected() {
		delete(out, name)
	}
	return out
}

// nameable are the tools that agents may name, by section, without the sections of
// which not all is known.
func (s *snapshot) nameable() map[string][]string {
	out := s.known()
	for name, t := range s.waiting() {
		if !slices.Contains(out[t.Toolset], name) {
			out[t.Toolset] = append(out[t.Toolset], name)
		}
	}
	for _, set := range s.absent {
		delete(out, set)
	}
	return out
}

// awaited are the names that stand for tools of backends that were never reached, with
// their toolset where the config says it: those that it has facts of, and those that
// agents name and nobody has.
func (s *snapshot) awaited() map[string]string {
	out := map[string]string{}
	if len(s.absent) == 0 {
		return out
	}
	waiting := s.waiting()
	for _, a := range s.cfg.Agents {
		for _, ref := range a.Tools {
			if _, waits := waiting[ref]; !waits && !strings.HasSuffix(ref, "/*") {
				out[ref] = ""
			}
		}
	}
	maps.Copy(out, s.expected())
	maps.DeleteFunc(out, func(name, _ string) bool { _, here := s.registry.Descriptor(name); return here })
	return out
}

// expected are the names that the config has facts of, of backends that were never
// reached, with their toolsets.
func (s *snapshot) expected() map[string]string {
	out := map[string]string{}
	for _, set := range s.absent {
		r := s.sources[set]
		if r == nil || r.Read() {
			continue
		}
		if names, ok := r.inner().(interface{ Awaited() []string }); ok {
			for _, name := range names.Awaited() {
				out[name] = set
			}
		}
	}
	return out
}

// present are the references that mean something now. Others were found to be those
// of absent toolsets, or of tools that wait: they mean nothing until those are there.
func (s *snapshot) present(refs []string) (known []string) {
	for _, r := range refs {
		if _, err := s.registry.Resolve([]string{r}); err == nil {
			known = append(known, r)
		}
	}
	return known
}
