package tools

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/policy"
)

var (
	validName    = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
	validEffects = []Effect{Read, Write}
	validRisks   = []string{"low", "medium", "high"}
	validOwners  = []Owner{OwnerSubject, OwnerEmail, OwnerTenant}
)

// Registry holds all tools of one configuration. It is immutable but for the
// count of calls that do not stop: a reload makes a new one.
type Registry struct {
	tools    map[string]*entry
	names    []string            // sorted
	toolsets map[string][]string // names, sorted
	awaited  map[string]string   // names that stand for tools of backends that were never reached, by toolset
	notes    []string
	left     []Left
	stuck    *stuck
}

// entry is a tool as the gate needs it, computed once.
type entry struct {
	Tool
	hash     string
	schema   *schema
	resource policy.Entity
	owners   []string // the owner parameters, sorted
}

// NewRegistry checks the tools, closes and compiles their schemas and reports
// all problems at once. The zero Effect is Write, the zero Risk low. What is wrong with
// a tool that a backend named is no problem: it is left out, see [Registry.Left].
func NewRegistry(tools ...Tool) (*Registry, error) {
	r := &Registry{tools: map[string]*entry{}, toolsets: map[string][]string{}, stuck: &stuck{}}
	var problems []error
	rest, left := settle(tools)
	r.left = left
	for _, t := range rest {
		err := r.add(t)
		switch {
		case err == nil:
		case t.Offered:
			r.left = append(r.left, leave(t, Clean(err.Error(), 512)))
		default:
			problems = append(problems, fmt.Errorf("tool %q: %w", clean(t.Name, 64), err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	r.names = sortedKeys(r.tools)
	for _, n := range r.names {
		if set := r.tools[n].Toolset; set != "" {
			r.toolsets[set] = append(r.toolsets[set], n)
		}
	}
	return r, nil
}

// After gives the registry that takes the place of another one: calls that do not
// stop count on, and names that stand for tools of backends that were never reached
// (name to toolset, which may be empty) are unavailable instead of unknown.
func (r *Registry) After(old *Registry, awaited map[string]string) *Registry {
	next := *r
	if old != nil {
		next.stuck = old.stuck
	}
	next.awaited = awaited
	return &next
}

// Same reports whether another registry has the same tools, and waits for the same.
func (r *Registry) Same(other *Registry) bool {
	same := func(a, b *entry) bool { return a.hash == b.hash && a.Revision == b.Revision }
	return maps.EqualFunc(r.tools, other.tools, same) && maps.Equal(r.awaited, other.awaited)
}

// Changes names the tools that are new (+), changed (~) or gone (-) since another
// registry, sorted by name.
func (r *Registry) Changes(since *Registry) []string {
	all := map[string]bool{}
	for _, n := range slices.Concat(r.names, since.names) {
		all[n] = true
	}
	var out []string
	for _, n := range sortedKeys(all) {
		now, was := r.tools[n], since.tools[n]
		switch {
		case was == nil:
			out = append(out, "+"+n)
		case now == nil:
			out = append(out, "-"+n)
		case now.hash != was.hash:
			out = append(out, "~"+n)
		}
	}
	return out
}

// Awaited lists the names that stand for tools of backends that were never reached.
func (r *Registry) Awaited() []string { return sortedKeys(r.awaited) }

// await gives those names that references mean and no tool has yet.
func (r *Registry) await(refs []string) map[string]bool {
	out := map[string]bool{}
	for name, toolset := range r.awaited {
		if r.tools[name] == nil && (slices.Contains(refs, name) || toolset != "" && slices.Contains(refs, toolset+"/*")) {
			out[name] = true
		}
	}
	return out
}

func (r *Registry) add(t Tool) error {
	if t.Effect == "" {
		t.Effect = Write
	}
	if t.Risk == "" {
		t.Risk = "low"
	}
	problems := []error{t.err, checkDescriptor(&t)}
	if other, clash := r.tools[t.Name]; clash {
		problems = append(problems, fmt.Errorf("the name is taken by toolset %q and by %q; give one of them a name or a prefix", other.Toolset, t.Toolset))
	}
	e := &entry{Tool: t}
	var err error
	if t.err == nil {
		var notes []string
		e.Schema, e.schema, notes, err = compile(t.Schema)
		for _, n := range notes {
			r.notes = append(r.notes, t.Name+": "+n)
		}
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := e.complete(); err != nil {
		return err
	}
	r.tools[t.Name] = e
	return nil
}

// complete computes what depends on the schema in force.
func (e *entry) complete() error {
	e.Scopes = slices.Clone(e.Scopes)
	e.hash = e.Hash()
	e.resource = policy.Entity{Type: "Tool", ID: e.Name}
	if e.Toolset != "" {
		e.resource.Parents = []policy.Entity{{Type: "Toolset", ID: e.Toolset}}
	}
	e.owners = sortedKeys(e.Owners)
	var problems []error
	for _, param := range e.owners {
		p, ok := e.schema.properties[param].(map[string]any)
		if !ok || p["type"] != "string" {
			problems = append(problems, fmt.Errorf("owner parameter %q is not a string parameter", param))
		}
	}
	return errors.Join(problems...)
}

func checkDescriptor(t *Tool) error {
	var problems []error
	no := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	no(!validName.MatchString(t.Name), "the name must match [a-z0-9_]{1,64}")
	no(t.Toolset != "" && !validName.MatchString(t.Toolset), "toolset %q must match [a-z0-9_]{1,64}", t.Toolset)
	no(!slices.Contains(validEffects, t.Effect), "effect %q is not read or write", t.Effect)
	no(!slices.Contains(validRisks, t.Risk), "risk %q is not low, medium or high", t.Risk)
	no(slices.Contains(t.Scopes, ""), "a scope is empty")
	no(t.Call == nil && t.err == nil, "nothing is behind it")
	for _, param := range sortedKeys(t.Owners) {
		fact := t.Owners[param]
		no(!slices.Contains(validOwners, fact), "owner %q of parameter %q is not subject, email or tenant", fact, param)
	}
	return errors.Join(problems...)
}

// Resolve gives the names that references mean, sorted and once each. A
// reference is `name` or `toolset/*`; no references are no tools. All unknown
// references are reported at once.
func (r *Registry) Resolve(refs []string) ([]string, error) {
	var out []string
	var problems []error
	for _, ref := range refs {
		set, all := strings.CutSuffix(ref, "/*")
		switch {
		case all && len(r.toolsets[set]) > 0:
			out = append(out, r.toolsets[set]...)
		case !all && r.tools[ref] != nil:
			out = append(out, ref)
		case len(r.await([]string{ref})) > 0: // nothing yet
		default:
			problems = append(problems, fmt.Errorf("no tool is meant by %q", ref))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), errors.Join(problems...)
}

// Names lists all tools, sorted. The caller may keep and change the slice.
func (r *Registry) Names() []string { return slices.Clone(r.names) }

// Descriptor gives a tool's descriptor with the schema in force. It is shared
// and must not be changed.
func (r *Registry) Descriptor(name string) (*Descriptor, bool) {
	e, ok := r.tools[name]
	if !ok {
		return nil, false
	}
	return &e.Descriptor, true
}

// Schemas is what the policy engine must know of the tools, sorted by name.
func (r *Registry) Schemas() []policy.ToolSchema {
	out := make([]policy.ToolSchema, 0, len(r.names))
	for _, n := range r.names {
		e := r.tools[n]
		out = append(out, policy.ToolSchema{Name: n, Toolset: e.Toolset, Schema: e.Schema, Result: e.Result})
	}
	return out
}

// Notes tells the operator what of the tools' schemas could not be taken over.
func (r *Registry) Notes() []string { return slices.Clone(r.notes) }
