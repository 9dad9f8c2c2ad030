package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
)

// Elsewhere is the gate for calls that another process makes: Check decides one
// and Report takes what came of it, between the two rows that the gate writes for
// its own calls. All methods may be used by many goroutines; Run by one.
//
// From its decision to its report a call is one that its person has in flight: it
// holds a lane, and is cut by what cuts any call. What it reserved stays taken when
// it is never reported, as it may have happened.
//
// What redacts and settles a call is kept in this process only. After a restart
// the call is on record as abandoned, and a report of it is OUTCOME_UNKNOWN: a
// policy that has changed since might not take out what was promised.
type Elsewhere struct {
	past   audit.Querier
	tokens *Tokens
	life   time.Duration
	most   int
	clock  func() time.Time
	report func(ctx context.Context, tool string, err error)

	mu   sync.Mutex
	open map[string]*checked // by call id
	held map[string]int      // by person: open calls, and those being decided
}

// ElsewhereConfig is what an Elsewhere needs.
type ElsewhereConfig struct {
	Past   audit.Querier    // required: what is on record of calls that are not open
	Tokens *Tokens          // nil: nobody gets a token for a backend
	Life   time.Duration    // from the decision to the report; default 15 min
	Most   int              // unreported calls of one person; default 8: half of the lanes, so that the rest can go on
	Clock  func() time.Time // nil: time.Now
	Report func(ctx context.Context, tool string, err error)
}

// NewElsewhere makes one.
func NewElsewhere(c ElsewhereConfig) (*Elsewhere, error) {
	if c.Past == nil {
		return nil, errors.New("calls made elsewhere need the record of past ones")
	}
	e := &Elsewhere{past: c.Past, tokens: c.Tokens, life: c.Life, most: c.Most, clock: c.Clock, report: c.Report, open: map[string]*checked{}, held: map[string]int{}}
	if e.life <= 0 {
		e.life = 15 * time.Minute
	}
	if e.most <= 0 {
		e.most = 8
	}
	if e.clock == nil {
		e.clock = time.Now
	}
	if e.report == nil {
		e.report = func(context.Context, string, error) {}
	}
	return e, nil
}

// checked is a call that was allowed and not yet reported.
type checked struct {
	*attempt
	who   worker
	until time.Time
	held  context.Context // ends when the call may not go on
	leave func()          // what it holds, once
}

// worker is who checked a call, and who alone may report it.
type worker struct{ tenant, issuer, subject, workload string }

func workerOf(g identity.Grant) worker {
	p := g.Principal()
	c := worker{tenant: g.Tenant(), subject: p.Subject()}
	if p.User != nil {
		c.issuer = p.User.Issuer
	}
	if p.Workload != nil {
		c.workload = p.Workload.ID
	}
	return c
}

// person is whose places a call takes: all workloads of a person share them.
func (c worker) person() string { return c.tenant + "\x00" + c.issuer + "\x00" + c.subject }

// Checked is the answer to a call that may be made.
type Checked struct {
	PolicyIDs []string
	Duties    []string
	Sent      json.RawMessage // the arguments to send, byte for byte
	Ticket
}

// Check decides a call at a gate for direct calls. What is refused is an error,
// as of Gate.Direct. When Check returns, the decision is durable.
func (e *Elsewhere) Check(ctx context.Context, g *Gate, c agents.ToolCall) (Checked, error) {
	a := &attempt{gate: g, call: c, emit: func(agents.Body) bool { return true }}
	if err := a.open(ctx); err != nil {
		return Checked{}, err
	}
	k := &checked{attempt: a, who: workerOf(a.grant), until: e.clock().Add(e.life)}
	if err := e.decide(ctx, k); err != nil {
		return Checked{}, err
	}
	e.keep(c.ID, k)
	d := a.permit.Decision()
	return Checked{PolicyIDs: d.PolicyIDs, Duties: duties(d), Sent: a.permit.SentArguments(), Ticket: e.ticket(ctx, a)}, nil
}

// decide is an attempt that ends where the tool would be called. What it holds
// then is left by the report, or when the call is given up.
func (e *Elsewhere) decide(ctx context.Context, c *checked) (err error) {
	f := c.check(ctx)
	if f == nil {
		f = e.enter(ctx, c)
	}
	if f != nil {
		_, err := c.refuse(ctx, f)
		return c.refusal(err)
	}
	defer func() {
		if err != nil {
			c.leave()
		}
	}()
	if c.permit, err = c.gate.guard.Begin(ctx, &c.query); err == nil {
		err = c.permit.Wait(ctx)
	}
	if err != nil {
		_, err = c.denied(ctx, err)
		return c.refusal(err)
	}
	e.hold(ctx, c)
	if err := c.stillAllowed(ctx); err != nil {
		c.done(ctx, policy.Result{Outcome: policy.Cancelled, Reason: string(fault.From(err).Reason)})
		_, err = c.denied(ctx, err)
		return c.refusal(err)
	}
	return nil
}

// enter takes a place and a lane for the call.
func (e *Elsewhere) enter(ctx context.Context, c *checked) *fault.Error {
	if full := e.claim(c.who); full != nil {
		return full
	}
	leave, err := c.lane(ctx)
	if err != nil {
		e.release(c.who)
		return fault.From(err)
	}
	c.leave = sync.OnceFunc(func() { leave(); e.release(c.who) })
	return nil
}

// hold watches the call after its check has been answered.
func (e *Elsewhere) hold(ctx context.Context, c *checked) {
	held, release := c.gate.guard.Act(context.WithoutCancel(ctx), &c.query)
	before := c.leave
	c.held, c.leave = held, sync.OnceFunc(func() { release(); before() })
}

// refusal is why nothing more may act, or else why this call may not.
func (a *attempt) refusal(err error) error {
	if err != nil {
		return err
	}
	return a.refused
}

// claim takes a place for a call of the person. A caller that never reports must
// not fill the memory.
func (e *Elsewhere) claim(who worker) *fault.Error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held[who.person()] < e.most {
		e.held[who.person()]++
		return nil
	}
	first := e.life
	for _, c := range e.open {
		if c.who.person() == who.person() {
			first = min(first, c.until.Sub(e.clock()))
		}
	}
	return errUnreported.RetryIn(max(first, time.Second))
}

func (e *Elsewhere) release(who worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held[who.person()]--; e.held[who.person()] <= 0 {
		delete(e.held, who.person())
	}
}

// keep puts an allowed call in the place that was claimed for it.
func (e *Elsewhere) keep(id string, c *checked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open[id] = c
}

// take removes an open call of the caller, unless it is too late.
func (e *Elsewhere) take(id string, who worker) (*checked, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.open[id]
	if c == nil || c.who != who || !e.clock().Before(c.until) {
		return nil, false
	}
	delete(e.open, id)
	return c, true
}

// Report takes the outcome of a checked call, once, from who checked it, and
// gives the result less what the decision said to take out. What it gives is safe
// to show only without an error; the outcome is durable then.
//
// Faults: NOT_FOUND (not checked, or by somebody else), RUN_NOT_ACTIVE (reported
// before), OUTCOME_UNKNOWN (too late, or the process was restarted),
// ARGUMENT_INVALID (the result cannot be read; the call can still be reported), and
// what cut the call meanwhile (PRINCIPAL_LOCKED, POLICY_DENIED): its outcome is on
// record, and its result is for nobody.
func (e *Elsewhere) Report(ctx context.Context, id string, failed bool, result json.RawMessage) (json.RawMessage, error) {
	g, ok := identity.FromContext(ctx)
	if !ok {
		return nil, errNoIdentity
	}
	if len(result) == 0 {
		result = json.RawMessage("null")
	}
	who := workerOf(g)
	if problem := e.unfit(id, who, result); problem != "" {
		return nil, errArguments.WithFields(fault.Field{Path: "result_json", Problem: problem})
	}
	c, ok := e.take(id, who)
	if !ok {
		return nil, e.missing(ctx, g, id)
	}
	return c.reported(ctx, g, failed, result)
}

// Unreported gives nil for an open call of the caller that may go on: its check can
// be answered again.
func (e *Elsewhere) Unreported(ctx context.Context, id string) error {
	g, ok := identity.FromContext(ctx)
	if !ok {
		return errNoIdentity
	}
	e.mu.Lock()
	c := e.open[id]
	e.mu.Unlock()
	if c == nil || c.who != workerOf(g) || !e.clock().Before(c.until) {
		return e.missing(ctx, g, id)
	}
	return c.cut(ctx, g)
}

// unfit says why the result of an open call cannot be taken.
func (e *Elsewhere) unfit(id string, who worker, result json.RawMessage) string {
	e.mu.Lock()
	c := e.open[id]
	e.mu.Unlock()
	if c == nil || c.who != who {
		return "" // that is another problem
	}
	return c.gate.unfit(result)
}

// reported records the outcome.
func (c *checked) reported(ctx context.Context, by identity.Grant, failed bool, result json.RawMessage) (json.RawMessage, error) {
	defer c.leave()
	out := policy.Result{Outcome: policy.Succeeded}
	if failed {
		out.Outcome = policy.Failed
	}
	if failed && c.permit.HidesResults() {
		// What a tool says beside its result cannot be searched for what is hidden.
		c.tell(ctx, errWithheld)
		result = failure{Message: withheld}.json()
	}
	shown := json.RawMessage(c.redact(ctx, result))
	out.Digest = c.gate.guard.Digest(c.grant.Tenant(), shown)
	c.done(ctx, out)
	if err := c.permit.Settled(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	if why := c.cut(ctx, by); why != nil {
		return nil, why
	}
	return shown, nil
}

// cut is why the result must not be shown any more. That the credential of the
// check has ended is no reason by itself: who reports has a fresh one. But what has
// ended is not looked at any more, so that one is asked for.
func (c *checked) cut(ctx context.Context, by identity.Grant) error {
	why := context.Cause(c.held)
	switch {
	case why == nil:
		return nil
	case !errors.Is(why, fault.CredentialExpired):
		return fault.From(why)
	}
	q := c.query
	var err error
	if q.Grant, err = c.grant.Refresh(by.Principal()); err != nil {
		return err
	}
	return c.gate.guard.Still(context.WithoutCancel(ctx), &q)
}

// missing says why there is nothing to report. Whose call it was is on record,
// also from before a restart; to anybody else there was none.
func (e *Elsewhere) missing(ctx context.Context, g identity.Grant, id string) error {
	was := errNoCheck
	for r, err := range e.past.Query(ctx, audit.Filter{Tenant: g.Tenant(), RunID: audit.CallRun(id), Limit: maxRows}) {
		if err != nil {
			return fault.New(codes.Unavailable, fault.AuditUnavailable, "it is not known whether this call was checked; report it again").Because(err)
		}
		mine := worker{r.Tenant, r.User.Issuer, r.User.Subject, r.Workload}
		if mine.issuer == "" { // a workload alone
			mine.subject = r.Workload
		}
		if r.CallID != id || r.Action != policy.ActionCallTool || mine != workerOf(g) {
			continue
		}
		switch {
		case r.Phase == audit.Outcome:
			was = errReported
		case r.Phase == audit.Abandoned, r.Phase == audit.Decision && r.Decision == audit.Allow && was == errNoCheck:
			was = errTooLate
		}
	}
	return was
}

// maxRows bounds what is read of one call: its decision may be repeated.
const maxRows = 64

// Run records calls that were not reported in time as abandoned, until ctx ends.
// What is open then is found by the next start.
func (e *Elsewhere) Run(ctx context.Context) error {
	tick := time.NewTicker(min(e.life, time.Minute) / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.Sweep(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// Sweep gives up the calls whose time is over.
func (e *Elsewhere) Sweep(ctx context.Context) {
	for _, c := range e.late() {
		c.permit.Abandon()
		c.leave()
		if err := c.permit.Settled(ctx); err != nil {
			e.report(ctx, c.tool.Name, fmt.Errorf("record call %s as abandoned: %w", c.call.ID, err))
		}
	}
}

func (e *Elsewhere) late() (all []*checked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, c := range e.open {
		if !e.clock().Before(c.until) {
			all = append(all, c)
			delete(e.open, id)
		}
	}
	return all
}
