package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/policy/engine"
	"github.com/behalf-dev/behalf/policy/redact"
)

// Simulation is what another policy set would have decided about recorded calls.
type Simulation struct {
	Decisions int // rows that policy decided
	Same      int
	Changed   int
	Unknown   int      // it depends on what the record does not hold
	Others    int      // decisions that were not policy's, such as a missing scope
	Changes   []Change // and what is unknown; by person, then by what was called
	More      int      // changes of which there was no room for a line
}

// Change is one kind of decision that would be another one.
type Change struct {
	Tenant  string
	Who     string // subject, or SPIFFE ID of a workload that called alone
	What    string // the tool, or action and type of resource
	Was     Verdict
	Would   Verdict
	Rows    int
	Example string // call id of the first
}

// Verdict is a decision as records have it.
type Verdict struct {
	Decision string // allow, deny, wait, unknown
	Reason   string // ErrorReason name; why it is unknown
	Policies []string
	Duties   []string
}

// unknownVerdict is the Decision of what cannot be told.
const unknownVerdict = "unknown"

// maxChanges bounds the lines of a simulation.
const maxChanges = 10_000

// Simulate decides recorded calls again, by an engine that did not decide them.
// Nothing is guessed: where the answer depends on a value that was redacted or
// left out of the record it is unknown. The rows may be of several tenants; an
// error among them ends it.
func Simulate(e *engine.Engine, rows iter.Seq2[audit.Record, error]) (Simulation, error) {
	var s Simulation
	changes := map[string]*Change{}
	for r, err := range rows {
		switch {
		case err != nil:
			return s, err
		case r.Phase != audit.Decision:
			continue
		case !policyDecided(&r):
			s.Others++
			continue
		}
		s.Decisions++
		was, would := wasOf(&r), again(e, &r)
		switch {
		case was.same(would):
			s.Same++
			continue
		case would.Decision == unknownVerdict:
			s.Unknown++
		default:
			s.Changed++
		}
		s.add(changes, &r, was, would)
	}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		s.Changes = append(s.Changes, *changes[key])
	}
	return s, nil
}

func (s *Simulation) add(changes map[string]*Change, r *audit.Record, was, would Verdict) {
	c := Change{Tenant: r.Tenant, Who: cmp.Or(r.User.Subject, r.Workload), What: r.Tool, Was: was, Would: would, Rows: 1, Example: r.CallID}
	if c.What == "" {
		kind, _, _ := strings.Cut(r.Resource, "::")
		c.What = r.Action + " " + kind
	}
	key := fmt.Sprintf("%q", []any{c.Tenant, c.Who, c.What, was, would})
	switch known := changes[key]; {
	case known != nil:
		known.Rows++
	case len(changes) < maxChanges:
		changes[key] = &c
	default:
		s.More++
	}
}

// policyDecided reports whether a row's decision was policy's. What the gate
// refuses before it asks, no policy set changes.
func policyDecided(r *audit.Record) bool {
	switch fault.Reason(r.Reason) {
	case "", fault.PolicyDenied, fault.PolicyError, fault.StepUpRequired, fault.RateLimited, fault.BudgetExhausted, fault.ApprovalRequired:
		return r.Tenant != "system" && r.Action != audit.ActionRemove && (r.Reason != string(fault.RateLimited) || len(r.PolicyIDs) > 0)
	}
	return false
}

func wasOf(r *audit.Record) Verdict {
	return Verdict{Decision: r.Decision, Reason: r.Reason, Policies: r.PolicyIDs, Duties: r.Duties}
}

// same compares outcomes. That other policies lead to the same is no change.
func (v Verdict) same(o Verdict) bool {
	return v.Decision == o.Decision && v.Reason == o.Reason && slices.Equal(v.Duties, o.Duties)
}

func untold(err error) Verdict { return Verdict{Decision: unknownVerdict, Reason: err.Error()} }

// again decides a row anew.
func again(e *engine.Engine, r *audit.Record) Verdict {
	q, hidden, err := queryOf(r)
	if err != nil {
		return untold(err)
	}
	if err := e.Knows(q); err != nil {
		return untold(err)
	}
	if len(hidden) == 0 {
		return verdictOf(r, e.Decide(q))
	}
	d, err := e.DecideAround(q, hidden)
	if err != nil {
		return untold(plain(err))
	}
	return verdictOf(r, d)
}

var (
	errFilled   = errors.New("the rate or budget was used up, and how much there would have been left is not on record")
	errUnfit    = errors.New("the arguments no longer fit the tool's schema")
	errLeftOut  = errors.New("the arguments were too large for the record")
	errNotAgain = errors.New("the row's chain of agents cannot be made again")
)

// plain is an error without what differs from row to row.
func plain(err error) error {
	if errors.Is(err, arguments.ErrInvalid) {
		return errUnfit
	}
	return err
}

// verdictOf is a decision in the words of the row that it would have made.
func verdictOf(r *audit.Record, d engine.Decision) Verdict {
	v := Verdict{Decision: audit.Deny, Reason: d.Reason, Policies: d.PolicyIDs}
	due := d.DutyTexts()
	used := r.Reason == string(fault.RateLimited) || r.Reason == string(fault.BudgetExhausted)
	switch {
	case errors.Is(d.Err, arguments.ErrInvalid):
		return untold(errUnfit)
	case !d.Allow:
		return v
	case used && !slices.Equal(limits(due), limits(r.Duties)):
		return untold(errFilled)
	case used:
		return Verdict{Decision: r.Decision, Reason: r.Reason, Policies: d.PolicyIDs, Duties: r.Duties}
	}
	v.Decision, v.Duties = audit.Allow, due
	agreed := r.Decision == audit.Allow && r.ApprovalID != "" && slices.Equal(due, r.Duties)
	if !agreed && slices.ContainsFunc(d.Duties, engine.Duty.Waits) {
		v.Decision, v.Reason = audit.Wait, string(fault.ApprovalRequired)
	}
	return v
}

// limits are the duties that something is taken from.
func limits(duties []string) []string {
	return slices.DeleteFunc(slices.Clone(duties), func(d string) bool {
		return !strings.HasPrefix(d, "@"+engine.KindRate+"(") && !strings.HasPrefix(d, "@"+engine.KindBudget+"(")
	})
}

// queryOf makes the question of a row again, and lists what of its arguments was
// taken out. Everything that a decision depends on is in the row (SECURITY 10.2).
func queryOf(r *audit.Record) (q *engine.Query, hidden [][]string, err error) {
	q = &engine.Query{
		Action: r.Action, Time: time.Unix(0, r.Time).UTC(), Tool: r.Tool, DescriptorHash: r.DescriptorHash,
		Session: r.SessionID, Run: r.RunID, Call: r.CallID,
	}
	if q.Resource, err = engine.ParseEntity(r.Resource, r.ResourceJSON); err != nil {
		return nil, nil, err
	}
	if q.Grant, err = grantOfRow(r, q.Time); err != nil {
		return nil, nil, err
	}
	if !engine.OnTool(r.Action) || r.RedactedArguments == "" {
		return q, nil, nil
	}
	doc, err := arguments.Decode([]byte(r.RedactedArguments))
	if err != nil {
		return nil, nil, errLeftOut
	}
	if _, ok := doc.(map[string]any); !ok {
		return nil, nil, errLeftOut
	}
	q.Arguments = json.RawMessage(r.RedactedArguments)
	return q, hiddenIn(doc), nil
}

func grantOfRow(r *audit.Record, now time.Time) (identity.Grant, error) {
	var p identity.Principal
	until, scopes := now.Add(time.Hour), identity.NewScopes(r.Scopes...)
	if r.User.Subject != "" {
		p.User = &identity.User{
			Issuer: r.User.Issuer, Subject: r.User.Subject, Tenant: r.Tenant, Email: r.User.Email, Roles: r.Roles, RolesUnknown: r.RolesUnknown,
			Scopes: scopes, ACR: r.ACR, Expires: until, TokenID: r.TokenID,
		}
		if r.AuthTime != 0 {
			p.User.AuthTime = time.Unix(0, r.AuthTime)
		}
	}
	if r.Workload != "" {
		p.Workload = &identity.Workload{ID: r.Workload, Tenant: r.Tenant, Thumbprint: r.LeafThumbprint, Scopes: scopes, NotAfter: until}
	}
	g := identity.Root(r.GrantID, p, nil, identity.Tier(r.Tier))
	for _, agent := range r.Chain {
		var err error
		if g, err = g.Child(agent, nil, identity.MaxChain); err != nil {
			return g, errNotAgain
		}
	}
	if string(g.Tier()) != r.Tier {
		return g, errNotAgain
	}
	return g, nil
}

// hiddenIn lists the places in recorded arguments where something was taken out.
// Places inside of a list are the list's: its elements have no names.
func hiddenIn(doc any) (paths [][]string) {
	switch doc := doc.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(doc)) {
			for _, below := range hiddenIn(doc[name]) {
				paths = append(paths, append([]string{name}, below...))
			}
		}
	case []any:
		if slices.ContainsFunc(doc, func(v any) bool { return len(hiddenIn(v)) > 0 }) {
			return [][]string{nil}
		}
	case string:
		if strings.Contains(doc, redact.Mark) {
			return [][]string{nil}
		}
	}
	return paths
}
