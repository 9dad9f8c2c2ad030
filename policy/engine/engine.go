package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/policy/redact"
)

var (
	errTooSlow = errors.New("the evaluation took too long")
	errRoles   = errors.New("the token does not say all roles of its person; let the issuer send fewer groups or a roles claim")
	errAction  = errors.New("the policy set does not know the action")
	// The texts of the validator and of Cedar have argument values in them, so
	// they go nowhere.
	errInvalidRequest = errors.New("the request does not conform to the policy schema")
	errEvaluation     = errors.New("policies failed, by an arithmetic overflow most likely")
)

// Engine decides by one policy set. It is immutable; any number of goroutines
// may ask it.
type Engine struct {
	set     *Set
	index   index
	rules   map[string]*rule
	readers arguments.Readers
	trials  sync.Pool
	rpc     map[string]plan  // by action
	streams map[string]bool  // actions whose policies may filter what models say
	veiled  map[string]bool  // tools whose policies may take something out of arguments
	tools   map[string]plan  // by tool
	named   names            // tools and toolsets, by any policy
	now     func() time.Time // the stopwatch's, for tests
}

// New makes the engine of a loaded set.
func New(s *Set) *Engine {
	e := &Engine{set: s, index: newIndex(s.rules, s.schema.actions), rules: map[string]*rule{}, now: time.Now}
	e.rpc, e.tools = plans(s)
	e.named = namesOfAll(s.rules)
	for _, r := range s.rules {
		e.rules[r.id] = r
	}
	e.streams, e.veiled = streamed(s), veiled(s)
	return e
}

// streamed lists the actions whose policies may filter what models say.
func streamed(s *Set) map[string]bool {
	found := map[string]bool{}
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.paths, func(p redact.Item) bool { return !p.OfCall() }) {
			continue
		}
		for action := range s.schema.actions {
			found[action] = found[action] || matchesAction(r.head().Action, action)
		}
	}
	return found
}

// Revision names the policy set that decides.
func (e *Engine) Revision() string { return e.set.revision }

// Decide answers a query. What it cannot evaluate it denies with POLICY_ERROR,
// and Err says why. It never panics.
//
// First permits and hard forbids must allow; a denial ends it, so no duty is
// even looked at. Then the satisfied soft forbids are the duties. A duty that
// this build cannot meet leaves its forbid standing.
func (e *Engine) Decide(q *Query) Decision {
	d, err := e.decide(q)
	if err != nil {
		d = Decision{Reason: string(fault.PolicyError), PolicyIDs: d.PolicyIDs, Err: err}
	}
	d.Revision = e.set.revision
	return d
}

func (e *Engine) decide(q *Query) (d Decision, err error) {
	defer recoverTo(&err)
	// A token that says it does not hold all groups (SECURITY 1.13): a forbid by
	// role would not see the role that it forbids.
	if u := q.Grant.Principal().User; u != nil && u.RolesUnknown {
		return d, errRoles
	}
	t := e.newTrial()
	defer t.end()
	if err := t.prepare(q); err != nil {
		return Decision{}, err
	}
	hard, err := t.authorize(hardOf)
	if err != nil {
		return Decision{PolicyIDs: hard.ids}, err
	}
	if !hard.allow {
		return Deny(fault.PolicyDenied, hard.ids), nil
	}
	soft, err := t.authorize(softOf)
	if err != nil {
		return Decision{PolicyIDs: soft.ids}, err
	}
	return e.fulfil(q, hard.ids, soft.ids), nil
}

func Deny(reason fault.Reason, ids []string) Decision {
	return Decision{Reason: string(reason), PolicyIDs: ids}
}

// fulfil turns the satisfied soft forbids into duties, or into a denial by those
// that cannot be lifted.
func (e *Engine) fulfil(q *Query, permits, forbids []string) Decision {
	var duties []Duty
	var standing, weak []string
	var missing StepUp
	for _, id := range forbids {
		r := e.rules[id]
		duties = append(duties, r.duties...)
		if len(r.unmet) > 0 {
			standing = append(standing, id)
		}
		if need := r.stepUp(q); !need.IsZero() {
			weak, missing = append(weak, id), missing.and(need)
		}
	}
	switch {
	case len(standing) > 0:
		return Deny(fault.PolicyDenied, standing)
	case len(weak) > 0: // whoever comes back stronger is told of nothing else
		d := Deny(fault.StepUpRequired, weak)
		d.StepUp = missing
		return d
	}
	ids := append(slices.Clip(permits), forbids...)
	slices.Sort(ids)
	return Decision{Allow: true, PolicyIDs: ids, Duties: sortDuties(duties)}
}

// trial is one query on its way through an engine, in one piece of memory that
// is used again: what a decision allocates costs more than what it computes.
type trial struct {
	engine     *Engine
	world      world
	request    cedar.Request
	candidates candidates
	room       [8][]*rule // for the candidates' lists
}

func (e *Engine) newTrial() *trial {
	t, ok := e.trials.Get().(*trial)
	if !ok {
		t = &trial{}
	}
	t.engine = e
	return t
}

// end forgets all about the query before another one gets the memory. Nothing
// that a decision consists of lies in it.
func (t *trial) end() {
	e, scratch := t.engine, t.world.scratch
	scratch.Forget()
	*t = trial{}
	t.world.scratch = scratch
	e.trials.Put(t)
}

// prepare types the arguments, builds the entities and validates the request.
func (t *trial) prepare(q *Query) error {
	plan, tool, err := t.place(q)
	if err != nil {
		return err
	}
	var args cedar.Record
	if tool != nil && OnTool(q.Action) {
		if args, err = arguments.Read(&t.engine.readers, tool.args, q.Arguments, plan.fields.purpose()); err != nil {
			return err
		}
	}
	t.request = t.world.request(args, plan.fields)
	if err := plan.check.request(t.request); err != nil {
		return errInvalidRequest
	}
	return nil
}

// place fills the world with what a query is about, but for its arguments.
func (t *trial) place(q *Query) (p plan, tool *toolSchema, err error) {
	e := t.engine
	if q.Time.IsZero() {
		return p, nil, errNoTime
	}
	p, ok := e.rpc[q.Action]
	if !ok {
		return p, nil, fmt.Errorf("%w %q", errAction, q.Action)
	}
	if tool, err = e.set.schema.toolFor(q); err != nil {
		return p, nil, err
	}
	if OnTool(q.Action) {
		p = e.tools[tool.name]
	}
	return p, tool, t.world.fill(q, tool)
}

// toolFor gives the schema of the query's tool, nil where it is about no tool.
func (s *schema) toolFor(q *Query) (*toolSchema, error) {
	if q.Resource.Type != string(TypeTool) && !OnTool(q.Action) {
		return nil, nil
	}
	if q.Resource.Type != string(TypeTool) || q.Tool != "" && q.Tool != q.Resource.ID {
		return nil, errToolNames
	}
	tool := s.tools[q.Resource.ID]
	if tool == nil {
		return nil, errNoTool
	}
	return tool, nil
}

// verdict is what one phase says.
type verdict struct {
	allow bool
	ids   []string // that determined it, sorted
}

// authorize evaluates one pile of the shelves for everybody and for the tenant,
// together, so that a tenant's policies can add to the global ones but not lift
// a forbid.
func (t *trial) authorize(of func(*shelf) *pile) (verdict, error) {
	c := t.find(of)
	if len(c.lists) == 0 {
		return verdict{}, nil
	}
	decision, diag := cedar.Authorize(c, &t.world, t.request)
	if c.late { // a second try tells a slow policy from a busy machine
		c.late = false
		decision, diag = cedar.Authorize(c, &t.world, t.request)
	}
	if c.late {
		return verdict{}, errTooSlow
	}
	if len(diag.Errors) > 0 {
		return verdict{ids: errorIDs(diag)}, fmt.Errorf("%w: %s", errEvaluation, strings.Join(errorIDs(diag), ", "))
	}
	return verdict{allow: decision == cedar.Allow, ids: reasonIDs(diag)}, nil
}

func (t *trial) find(of func(*shelf) *pile) *candidates {
	t.candidates = candidates{now: t.engine.now, lists: t.room[:0]}
	for _, tenant := range [...]string{"", t.world.tenant} {
		if s := t.engine.index[tenant][t.world.q.Action]; s != nil {
			t.candidates.find(of(s), &t.world)
		}
	}
	return &t.candidates
}

func reasonIDs(diag cedar.Diagnostic) []string {
	if len(diag.Reasons) == 0 {
		return nil
	}
	ids := make([]string, len(diag.Reasons))
	for i, r := range diag.Reasons {
		ids[i] = string(r.PolicyID)
	}
	slices.Sort(ids)
	return ids
}

func errorIDs(diag cedar.Diagnostic) []string {
	var ids []string
	for _, e := range diag.Errors {
		ids = append(ids, string(e.PolicyID))
	}
	slices.Sort(ids)
	return ids
}
