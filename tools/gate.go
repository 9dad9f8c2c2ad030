package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
)

// Gate is the one way to a tool. It implements agents.Toolbox for one agent;
// with no agent it is the door for direct calls. It may be used by many
// goroutines.
type Gate struct {
	registry *Registry
	live     Live
	guard    *policy.Guard
	journal  Journal
	agent    string
	allowed  map[string]bool
	awaited  map[string]bool // meant by the references, and not there yet
	names    []string        // of allowed, sorted
	clock    func() time.Time
	limits   Limits
	lanes    *Lanes
	report   func(ctx context.Context, tool string, err error)
	trace    func(context.Context) string
}

var _ agents.Toolbox = (*Gate)(nil)

// Journal answers what the audit log knows of a call: whether a decision on
// record allowed it, and whether an outcome is recorded. Decisions about other
// calls of the same run must not count.
type Journal interface {
	CallDecision(ctx context.Context, tenant, callID string) (decided, finished bool, err error)
}

// Live is how things are configured now. A gate may be older: runs keep the agents
// that they began with, and what those may do can only become less.
type Live interface {
	// Registry is the one in force.
	Registry() *Registry
	// May reports whether the agents of a grant's chain are still there, and the one
	// that acts may still call a tool.
	May(g identity.Grant, tool string) bool
	// Narrowed is a grant less what the agents of its chain may not do any more.
	Narrowed(g identity.Grant) identity.Grant
}

// GateConfig is what a Gate needs.
type GateConfig struct {
	Registry *Registry     // required
	Guard    *policy.Guard // required
	Journal  Journal       // required if Agent is set: direct calls are never resumed
	// Agent is whose calls these are: the gate refuses a grant whose innermost
	// agent is another one. Empty: direct calls.
	Agent string
	// Tools are the references of what may be called here; none means nothing.
	Tools []string
	// Live is how things are configured now. Nil: as in this config.
	Live   Live
	Clock  func() time.Time // nil: time.Now
	Limits Limits
	// Lanes bound the calls of one person. Nil: nothing does.
	Lanes *Lanes
	// Trace is the id that joins the calls of a request in logs and records.
	// Nil: none.
	Trace func(context.Context) string
	// Report tells the operator why a tool failed where the model is not told:
	// panics, causes of faults, calls that do not stop. Nil: nobody is told. It
	// is called from any goroutine.
	Report func(ctx context.Context, tool string, err error)
}

// Limits bound one call. Zero values mean the defaults.
type Limits struct {
	ReadTimeout  time.Duration // of a tool that only reads and has none of its own, default 60 s
	WriteTimeout time.Duration // of any that writes, counted from its start, default 30 s
	MaxResult    int           // bytes, default 256 KiB
}

// NewGate makes a gate.
func NewGate(c GateConfig) (*Gate, error) {
	if c.Registry == nil || c.Guard == nil || c.Agent != "" && c.Journal == nil {
		return nil, errors.New("a gate needs a registry, a guard and, for an agent, a journal")
	}
	names, err := c.Registry.Resolve(c.Tools)
	if err != nil {
		return nil, fmt.Errorf("tools of agent %q: %w", c.Agent, err)
	}
	g := &Gate{
		registry: c.Registry, live: c.Live, guard: c.Guard, journal: c.Journal, agent: c.Agent,
		allowed: map[string]bool{}, awaited: c.Registry.await(c.Tools), names: names, clock: c.Clock, limits: c.Limits.orDefaults(), lanes: c.Lanes, trace: c.Trace, report: c.Report,
	}
	if c.Agent == "" { // an agent needs the transcript of who calls it
		g.names = slices.DeleteFunc(g.names, func(n string) bool { return c.Registry.tools[n].nested })
	}
	for _, n := range g.names {
		g.allowed[n] = true
	}
	if g.trace == nil {
		g.trace = func(context.Context) string { return "" }
	}
	if g.clock == nil {
		g.clock = time.Now
	}
	if g.report == nil {
		g.report = func(context.Context, string, error) {}
	}
	return g, nil
}

// Meet makes a gate for what may be called at both. The rest is as at the first.
func (g *Gate) Meet(other *Gate) *Gate {
	both := *g
	both.names, both.allowed, both.awaited = nil, map[string]bool{}, map[string]bool{}
	for _, n := range g.names {
		if other.allowed[n] {
			both.names, both.allowed[n] = append(both.names, n), true
		}
	}
	for n := range g.awaited {
		both.awaited[n] = other.awaited[n]
	}
	return &both
}

func (l Limits) orDefaults() Limits {
	if l.ReadTimeout <= 0 {
		l.ReadTimeout = time.Minute
	}
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = 30 * time.Second
	}
	if l.MaxResult <= 0 {
		l.MaxResult = 256 << 10
	}
	return l
}

// Specs implements agents.Toolbox: the tools of this gate whose scopes the grant
// in ctx has, sorted by name. Policy is asked at the call.
func (g *Gate) Specs(ctx context.Context) iter.Seq2[agents.Spec, error] {
	return func(yield func(agents.Spec, error) bool) {
		grant, err := g.authority(ctx)
		if err != nil {
			yield(agents.Spec{}, err)
			return
		}
		scopes := grant.Scopes()
		for _, n := range g.names {
			t := g.registry.tools[n]
			if _, missing := scopes.Missing(t.Scopes); missing {
				continue
			}
			if now, ok := g.current(grant, t); !ok || now.hash != t.hash {
				continue // it could not be called
			}
			if !yield(agents.Spec{Name: n, Description: t.Description, Schema: t.Schema}, nil) {
				return
			}
		}
	}
}

// Listed is a tool in a list, with the hash of its descriptor, which takes longer to
// compute than all the rest of a list.
type Listed struct {
	*Descriptor
	Version string
}

// Callable lists the tools that the grant in ctx may call directly, by scopes and by
// policy: not those that are denied whatever the arguments are. Nothing is recorded;
// whoever then calls is.
func (g *Gate) Callable(ctx context.Context) ([]Listed, error) {
	a := &attempt{gate: g}
	var err error
	if a.grant, err = g.authority(ctx); err != nil {
		return nil, err
	}
	e, scopes := g.guard.Engine(), a.grant.Scopes()
	if e == nil {
		return nil, nil
	}
	var all []Listed
	var resources []policy.Entity
	for _, n := range g.names {
		t := g.registry.tools[n]
		if _, missing := scopes.Missing(t.Scopes); !missing {
			all, resources = append(all, Listed{&t.Descriptor, t.hash}), append(resources, t.resource)
		}
	}
	q := a.ask(ctx, policy.ActionCallTool)
	may := e.MayEach(&q, resources)
	n := 0
	for i, d := range all {
		if may[i] {
			all[n] = d
			n++
		}
	}
	return all[:n], nil
}

// Shown implements agents.Toolbox. Where no policy takes anything out of the tool's
// arguments they stay as they are.
func (g *Gate) Shown(ctx context.Context, c agents.CallRequest) string {
	a := &attempt{gate: g, call: agents.ToolCall{Name: c.Tool, Arguments: c.Arguments}}
	if a.tool = g.registry.tools[c.Tool]; a.tool == nil || !g.guard.Veils(c.Tool) {
		return c.Arguments
	}
	var err error
	if a.grant, err = g.authority(ctx); err != nil {
		return hidden
	}
	q := a.ask(ctx, policy.ActionCallTool)
	q.Arguments = json.RawMessage(c.Arguments)
	if args, bad := a.tool.schema.parse(c.Arguments); len(bad) == 0 {
		q.Arguments = args.raw
	}
	shown := g.guard.Shown(&q)
	if bytes.Equal(shown, q.Arguments) {
		return c.Arguments
	}
	return string(shown)
}

// hidden stands for arguments of which nothing may be shown.
const hidden = `"` + policy.Redacted + `"`

var (
	errGone   = errors.New("the consumer is gone") // it broke its loop
	errPaused = errors.New("a nested run waits for somebody")
)

// Call implements agents.Toolbox. See the package comment for what ends with a
// failed result and what with an error.
func (g *Gate) Call(ctx context.Context, c agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		g.serve(ctx, &attempt{gate: g, call: c}, yield)
	}
}

// serve makes an agent's call and yields its events.
func (g *Gate) serve(ctx context.Context, a *attempt, yield func(agents.Event, error) bool) {
	a.pass = func(ev agents.Event) bool {
		a.gone = a.gone || !yield(ev, nil)
		return !a.gone
	}
	a.emit = func(b agents.Body) bool { return a.pass(a.event(b)) }
	fin, err := a.run(ctx)
	switch {
	case a.gone, errors.Is(err, errGone), errors.Is(err, errPaused):
	case err != nil:
		yield(agents.Event{}, err)
	default:
		a.emit(fin)
	}
}

// CallResult is the answer to a direct call that was allowed.
type CallResult struct {
	Decision  agents.Decision
	PolicyIDs []string
	Duties    []string
	Failed    bool
	Reason    string          // ErrorReason name when it failed with one
	Result    json.RawMessage // redacted
	Duration  time.Duration
}

// Direct governs and performs one call without an agent, as CallTool does. What
// is refused is an error; a tool that fails is a result. When Direct returns the
// outcome is durable.
func (g *Gate) Direct(ctx context.Context, c agents.ToolCall) (CallResult, error) {
	var out CallResult
	a := &attempt{gate: g, call: c}
	a.emit = func(b agents.Body) bool {
		if d, ok := b.(agents.ToolCallDecided); ok {
			out.Decision, out.PolicyIDs, out.Duties = d.Decision, d.PolicyIDs, d.Duties
		}
		return true
	}
	fin, err := a.run(ctx)
	switch {
	case err != nil:
		return CallResult{}, err
	case a.refused != nil:
		return CallResult{}, a.refused
	}
	if err := a.permit.Settled(context.WithoutCancel(ctx)); err != nil {
		return CallResult{}, err
	}
	out.Failed, out.Reason, out.Result, out.Duration = fin.Failed, fin.Reason, json.RawMessage(fin.Result), fin.Duration
	return out, nil
}

// Again says whether the answer to an earlier direct call, which had these duties,
// may be given again: whatever would refuse the call refuses that, on record.
func (g *Gate) Again(ctx context.Context, c agents.ToolCall, duties []string) error {
	c.ID = "read_" + c.ID // the call's own rows say that it was made
	a := &attempt{gate: g, call: c, emit: func(agents.Body) bool { return true }}
	if err := a.open(ctx); err != nil {
		return err
	}
	if f := a.check(ctx); f != nil {
		_, err := a.refuse(ctx, f)
		return a.refusal(err)
	}
	return g.guard.Repeat(ctx, &a.query, duties)
}

// authority is the grant that the call acts with. A grant that is not this
// agent's is a fault of the program, not of the caller.
func (g *Gate) authority(ctx context.Context) (identity.Grant, error) {
	grant, ok := identity.FromContext(ctx)
	if !ok {
		return identity.Grant{}, errNoIdentity
	}
	if g.agent != "" && grant.Agent() != g.agent {
		return identity.Grant{}, errOtherAgent
	}
	if g.live != nil {
		grant = g.live.Narrowed(grant)
	}
	return grant, nil
}

// current is a tool of this gate as it is configured now; false if it is gone, or not
// the agent's any more.
func (g *Gate) current(grant identity.Grant, t *entry) (now *entry, ok bool) {
	if g.live == nil {
		return t, true
	}
	r := g.live.Registry()
	if r == g.registry {
		return t, true
	}
	now = r.tools[t.Name]
	return now, now != nil && g.live.May(grant, t.Name)
}
