package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/policy/redact"
	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// rule is one policy with what its annotations say.
type rule struct {
	id     string
	n      int    // its place in the set
	tenant string // empty: for everybody
	at     position
	policy *cedar.Policy
	// bare is what is evaluated where the index has found the rule.
	bare   *cedar.Policy
	duties []Duty   // of a soft forbid; empty for permits and hard forbids
	unmet  []string // kinds of duties that this build cannot meet
	paths  []redact.Item
	needs  needs
	names  names
	// resting rules name a tool that is not known yet.
	resting bool
}

func (r *rule) soft() bool { return len(r.duties) > 0 }

func (r *rule) permit() bool { return r.policy.Effect() == cedar.Permit }

// head is the policy's tree as the validator reads it. The cast between the two
// AST packages is cedar-go's own way.
func (r *rule) head() *ast.Policy { return (*ast.Policy)(r.policy.AST()) }

// validID keeps ids printable and free of what separates them elsewhere.
func validID(id string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	return len(id) > 0 && len(id) <= 128 && strings.Contains(letters, id[:1]) && only(id, letters+"_.:/-")
}

// newRule checks what is written above a policy. It gives nil when the policy
// cannot be named.
func (l *loader) newRule(p *cedar.Policy, at position, tenant string) *rule {
	notes := p.Annotations()
	r := &rule{id: string(notes["id"]), tenant: tenant, at: at, policy: p}
	r.needs, r.names = needsOf(r), l.schema.namesOf(r)
	r.bare = bare(p)
	p.SetFilename(at.file)
	named := l.checkID(r, notes)
	for _, key := range slices.Sorted(maps.Keys(notes)) {
		l.annotate(r, string(key), string(notes[key]))
	}
	if !named {
		return nil
	}
	return r
}

func (l *loader) checkID(r *rule, notes cedar.Annotations) bool {
	if _, ok := notes["id"]; !ok {
		l.add(r.at, `the policy has no @id("…")`)
		return false
	}
	if !validID(r.id) {
		l.add(r.at, fmt.Sprintf("@id(%q) must be 1 to 128 letters, digits and _.:/- and begin with a letter or digit", r.id))
		return false
	}
	if first, ok := l.ids[r.id]; ok {
		l.add(r.at, fmt.Sprintf("@id(%q) is already used at %s", r.id, first))
		return false
	}
	l.ids[r.id] = r.at
	return true
}

func (l *loader) annotate(r *rule, key, value string) {
	if key == "id" || key == "description" {
		return
	}
	err := checkDuty(key, value)
	if errors.Is(err, errUnknownDuty) {
		l.add(r.at, fmt.Sprintf("unknown annotation @%s; known are id, description, approve, budget, rate, redact, stepup", key))
		return
	}
	if r.permit() {
		l.add(r.at, fmt.Sprintf("@%s stands on a permit; a duty belongs on a forbid, which it lifts", key))
		return
	}
	if err != nil {
		l.add(r.at, fmt.Sprintf("@%s(%q): %v", key, value, err))
		return
	}
	duty := Duty{Kind: key, Text: value, PolicyID: r.id}
	r.duties = append(r.duties, duty)
	if !duty.fulfillable() {
		r.unmet = append(r.unmet, key)
	}
	if key == KindRedact {
		r.paths, _ = redact.Parse(value)
	}
}

// unconditional reports whether the policy asks for nothing but what it is about:
// then there is no call like those it hits that it does not hit.
func (r *rule) unconditional() bool {
	p := r.head()
	_, anybody := p.Principal.(ast.ScopeTypeAll)
	return anybody && len(p.Conditions) == 0 && r.tenant == ""
}

// revisionOf hashes the canonical set: ids, tenants and Cedar's own printing of
// each policy, then the schema. Files, comments and order do not matter.
func revisionOf(rules []*rule, s *schema) string {
	h := sha256.New()
	for _, r := range rules {
		field(h, r.id)
		field(h, r.tenant)
		field(h, string(r.policy.MarshalCedar()))
	}
	field(h, s.canonical)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func field(w io.Writer, s string) { fmt.Fprintf(w, "%d:%s,", len(s), s) }

// literals calls found for each entity that the policy names.
func (r *rule) literals(found func(types.EntityUID)) {
	p := r.head()
	for _, scope := range []ast.IsScopeNode{p.Principal, p.Action, p.Resource} {
		for _, uid := range scopeEntities(scope) {
			found(uid)
		}
	}
	r.inspect(func(n ast.IsNode) {
		if v, ok := n.(ast.NodeValue); ok {
			if uid, ok := v.Value.(types.EntityUID); ok {
				found(uid)
			}
		}
	})
}

// inspect visits each node of the policy's conditions.
func (r *rule) inspect(visit func(ast.IsNode)) {
	for _, c := range r.head().Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			visit(n)
			return true
		})
	}
}

func scopeEntities(scope ast.IsScopeNode) []types.EntityUID {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeIn:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeIsIn:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeInSet:
		return s.Entities
	}
	return nil
}
