package tools

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
)

// attempt is one call on its way through the gate. It lives on one goroutine.
type attempt struct {
	gate *Gate
	call agents.ToolCall
	emit func(agents.Body) bool // false: the consumer is gone
	// effect stands for the tool's own Call where an agent is the tool, and pass
	// yields what it does. Both are nil for other tools.
	effect agents.Stream
	pass   func(agents.Event) bool

	grant  identity.Grant
	tool   *entry       // nil: not to be called
	absent *fault.Error // why there is no tool; nil: it is unknown
	args   arguments
	fields []fault.Field // what is wrong with the arguments
	query  policy.Query
	permit *policy.Permit

	dry bool // only asked about, see Explain

	gone bool   // the consumer is: nothing more may be yielded
	quit func() // stops a tool that only reads; a write goes on

	begun   bool         // an earlier process may have called the tool
	refused *fault.Error // why it was not called
}

// run is the body behind both doors. It gives the call's last event, or an error
// that ends the run.
func (a *attempt) run(ctx context.Context) (agents.ToolCallFinished, error) {
	if err := a.open(ctx); err != nil {
		return agents.ToolCallFinished{}, err
	}
	if f := a.call.Refused; f != nil {
		a.begun = false // it never was: what is on record is the same refusal
		return a.refuse(ctx, f)
	}
	if a.begun && !a.repeatable() {
		return a.outcomeUnknown(ctx)
	}
	if f := a.check(ctx); f != nil {
		return a.refuse(ctx, f)
	}
	leave, err := a.lane(ctx)
	if errors.Is(err, errLanes) {
		return a.refuse(ctx, errLanes)
	}
	if err != nil {
		return agents.ToolCallFinished{}, err
	}
	defer leave()
	if a.permit, err = a.gate.guard.Begin(ctx, &a.query); err != nil {
		if w, ok := errors.AsType[*policy.Awaiting](err); ok {
			return a.wait(w, err)
		}
		return a.denied(ctx, err)
	}
	return a.perform(ctx)
}

// lane waits until the person may have one more call in flight. A direct call does
// not wait: its caller can. One of an agent needs none.
func (a *attempt) lane(ctx context.Context) (leave func(), err error) {
	if a.gate.lanes == nil || a.effect != nil {
		return func() {}, nil
	}
	who := a.grant.Tenant() + "/" + a.grant.Principal().Subject()
	if a.gate.agent != "" {
		return a.gate.lanes.enter(ctx, who)
	}
	leave, ok := a.gate.lanes.try(who)
	if !ok {
		return nil, errLanes
	}
	return leave, nil
}

// open finds out whose call it is, of what, and whether it was begun before.
func (a *attempt) open(ctx context.Context) (err error) {
	if a.grant, err = a.gate.authority(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.find()
	a.query = a.ask(ctx, policy.ActionCallTool)
	a.query.Approval, a.query.Direct = a.call.ApprovalID, a.gate.agent == ""
	if !a.call.Resumed {
		return nil
	}
	if a.gate.journal == nil {
		a.begun = true
		return nil
	}
	a.begun, _, err = a.gate.journal.CallDecision(ctx, a.grant.Tenant(), a.call.ID)
	if err != nil {
		return fault.New(codes.Unavailable, fault.AuditUnavailable, "it is not known whether this call was made before").Because(err)
	}
	a.query.Again = a.begun
	return nil
}

// find is the tool as it is now. One that has changed since the agent was told of it
// is another one: its arguments, and whose they must be, were described otherwise.
func (a *attempt) find() {
	name := a.call.Name
	known := a.gate.registry.tools[name]
	switch {
	case a.gate.awaited[name]:
		a.absent = errAway.RetryIn(awayFor)
	case !a.gate.allowed[name] || known.nested != (a.effect != nil) && !a.dry: // what is not in the list, or of another kind, might as well not exist
	default:
		if now, ok := a.gate.current(a.grant, known); ok && now.hash == known.hash {
			a.tool = now
		} else {
			a.absent = errMoved
		}
	}
}

// outdated is why the call may not be made as things are configured now.
func (a *attempt) outdated() *fault.Error {
	if a.gate.live == nil {
		return nil
	}
	if now, ok := a.gate.current(a.grant, a.tool); !ok || now.hash != a.tool.hash {
		return errMoved
	}
	if _, missing := a.gate.live.Narrowed(a.grant).Scopes().Missing(a.tool.Scopes); missing {
		return errDelegation
	}
	return nil
}

// ask is the question to the guard, without arguments.
func (a *attempt) ask(ctx context.Context, action string) policy.Query {
	q := policy.Query{
		Grant: a.grant, Action: action, Time: a.gate.clock(),
		Session: a.call.SessionID, Run: a.call.RunID, Call: a.call.ID, Trace: a.gate.trace(ctx),
	}
	if a.tool != nil {
		q.Tool, q.Resource, q.DescriptorHash = a.tool.Name, a.tool.resource, a.tool.hash
		q.Reads = a.tool.Effect == Read && !a.tool.nested
		return q
	}
	q.Tool = clean(a.call.Name, 64) // hostile, but the record must say something
	if q.Tool == "" {
		q.Tool = "unknown"
	}
	q.Resource = policy.Entity{Type: "Tool", ID: q.Tool}
	return q
}

// repeatable reports whether a call that may have happened may be made again.
func (a *attempt) repeatable() bool {
	return a.tool != nil && (a.tool.Effect == Read || a.tool.Idempotent)
}

// check is what comes before policy, in the order of DESIGN 3. The first
// problem decides. Explain goes the same way, so a step does nothing but look.
func (a *attempt) check(ctx context.Context) *fault.Error {
	for _, step := range []func(context.Context) *fault.Error{a.checkTool, a.checkArguments, a.checkLive, a.checkScopes, a.checkOwner, a.checkOthers} {
		if f := step(ctx); f != nil {
			return f
		}
	}
	return nil
}

func (a *attempt) checkTool(context.Context) *fault.Error {
	switch {
	case a.tool != nil:
		return nil
	case a.absent != nil:
		return a.absent
	}
	return errUnknown
}

func (a *attempt) checkArguments(context.Context) *fault.Error {
	a.args, a.fields = a.tool.schema.parse(a.call.Arguments)
	if len(a.fields) > 0 {
		return errArguments.WithFields(a.fields...)
	}
	a.query.Arguments = a.args.raw
	return nil
}

// checkLive fails closed: a grant without an end has ended.
func (a *attempt) checkLive(context.Context) *fault.Error {
	if f := a.gate.guard.Locked(&a.query); f != nil {
		return f
	}
	if !a.query.Time.Before(a.grant.Expires()) {
		return errExpired
	}
	return nil
}

// checkScopes names the missing scope only to a person who has it: for anybody
// else the name is no help and says what there is (SECURITY 6).
func (a *attempt) checkScopes(context.Context) *fault.Error {
	name, missing := a.grant.Scopes().Missing(a.tool.Scopes)
	switch {
	case !missing:
		return nil
	case a.grant.Principal().Scopes().Has(name):
		return errDelegation.With("missing_scope", name)
	}
	return errScope
}

// checkOwner compares the owner parameters with the caller. One that is left out
// is not the caller's: a backend may take it for everybody's.
func (a *attempt) checkOwner(ctx context.Context) *fault.Error {
	for _, param := range a.tool.owners {
		if got, ok := a.args.values[param].(string); ok && got != "" && got == a.fact(a.tool.Owners[param]) {
			continue
		}
		if f := a.forOther(ctx); f != nil {
			return f.With("parameter", param)
		}
		return nil
	}
	return nil
}

// checkOthers compares the owner parameters with each of the others in whose name
// the call is too. What else must hold for them the grant and the guard see to.
func (a *attempt) checkOthers(ctx context.Context) *fault.Error {
	if len(a.tool.owners) == 0 {
		return nil
	}
	for _, g := range a.grant.Others() {
		o := *a
		o.grant = g
		if f := o.checkOwner(ctx); f != nil {
			return f
		}
	}
	return nil
}

func (a *attempt) fact(o Owner) string {
	p := a.grant.Principal()
	switch {
	case o == OwnerSubject:
		return p.Subject()
	case o == OwnerTenant:
		return p.Tenant()
	case o == OwnerEmail && p.User != nil:
		return p.User.Email
	}
	return ""
}

// forOther asks policy for act_for_other on this very call. It is a question and
// no effect, so it is on record as a read, under a name of its own: the call's
// own rows must still tell whether the call was made. A duty to redact denies:
// the answer has nothing to redact.
func (a *attempt) forOther(ctx context.Context) *fault.Error {
	q := a.ask(ctx, policy.ActionActForOther)
	q.Arguments, q.Time = a.args.raw, a.query.Time
	q.Call = "read_" + a.call.ID
	var err error
	if a.dry {
		err = a.gate.guard.Would(&q)
	} else {
		err = a.gate.guard.Read(ctx, &q)
	}
	if err == nil {
		return nil
	}
	if f := fault.From(err); f.Reason != fault.PolicyDenied {
		return f // another reason than "no": say which
	}
	return errOwner.Because(err)
}

// refuse records a denial that is not policy's.
func (a *attempt) refuse(ctx context.Context, f *fault.Error) (agents.ToolCallFinished, error) {
	if fatal(f) {
		return a.denied(ctx, f)
	}
	return a.denied(ctx, a.gate.guard.Refuse(ctx, &a.query, f))
}

// wait pauses an agent's call until somebody has decided its approval. A direct
// call is told to come back.
func (a *attempt) wait(w *policy.Awaiting, err error) (agents.ToolCallFinished, error) {
	if a.gate.agent == "" {
		return agents.ToolCallFinished{}, err
	}
	q := &w.Approval
	waits := agents.ToolCallDecided{Decision: agents.Waiting, Reason: string(fault.ApprovalRequired), PolicyIDs: q.PolicyIDs}
	if !a.waited() && !a.emit(waits) {
		return agents.ToolCallFinished{}, errGone
	}
	a.emit(agents.ApprovalRequested{ApprovalID: q.ID, Tool: q.Tool, Digest: q.SentDigest, Approvers: q.Approvers, Expires: time.Unix(0, q.Expires).UTC()})
	return agents.ToolCallFinished{}, errPaused
}

// denied ends a call that is not made. Err is the guard's: a denial that is on
// record, or the reason why nothing may act any more.
func (a *attempt) denied(ctx context.Context, err error) (agents.ToolCallFinished, error) {
	if ctx.Err() != nil {
		return agents.ToolCallFinished{}, context.Cause(ctx)
	}
	f := fault.From(err)
	if fatal(f) {
		return agents.ToolCallFinished{}, f
	}
	if f.Reason == fault.ArgumentInvalid {
		f = f.WithFields(a.fields...)
	}
	a.refused = f
	if a.begun && a.tool != nil && a.tool.Effect == Write && !a.tool.nested {
		// Not repeated; but what the earlier process did stays unknown, and
		// "denied" would say that it did not happen.
		f = errOutcome.Because(err)
	}
	if !a.decided(agents.ToolCallDecided{Decision: agents.Denied, Reason: string(f.Reason), PolicyIDs: policyIDs(f)}) {
		return agents.ToolCallFinished{}, errGone
	}
	return agents.ToolCallFinished{Failed: true, Reason: string(f.Reason), Result: string(explain(f, a.fields))}, nil
}

// outcomeUnknown ends a call that an earlier process may have made and that must
// not be repeated. The refusal to repeat it is recorded.
func (a *attempt) outcomeUnknown(ctx context.Context) (agents.ToolCallFinished, error) {
	err := a.gate.guard.Refuse(ctx, &a.query, errOutcome)
	if f := fault.From(err); fatal(f) {
		return agents.ToolCallFinished{}, f
	}
	a.refused = errOutcome
	return agents.ToolCallFinished{Failed: true, Reason: string(fault.OutcomeUnknown), Result: string(explain(errOutcome, nil))}, nil
}

// decided yields the decision. A resumed call has one in the transcript already:
// saying the same again would make the rest of a run depend on where it was cut.
// One that waited has only that.
func (a *attempt) decided(d agents.ToolCallDecided) bool {
	if a.call.Resumed && !a.waited() && (d.Decision == agents.Allowed || !a.begun) {
		return true
	}
	return a.emit(d)
}

// waited reports whether the newest decision in the transcript is to wait.
func (a *attempt) waited() bool {
	if a.call.Transcript == nil {
		return false
	}
	events := a.call.Transcript.Since(0)
	for i := len(events) - 1; i >= 0; i-- {
		if d, ok := events[i].Body.(agents.ToolCallDecided); ok && events[i].CallID == a.call.ID {
			return d.Decision == agents.Waiting
		}
	}
	return false
}

// event is a body in its place: of this call, by the agent that acts.
func (a *attempt) event(b agents.Body) agents.Event {
	return agents.Event{Source: a.grant.Agent(), Chain: a.grant.Chain(), Thread: a.call.Thread, CallID: a.call.ID, Body: b}
}

var errStuck = errors.New("does not stop")

func (a *attempt) tell(ctx context.Context, err error) {
	a.gate.report(ctx, a.tool.Name, fmt.Errorf("call %s: %w", a.call.ID, err))
}

// policyIDs are the policies behind a denial. A denial further down the chain of
// causes is the answer to another question.
func policyIDs(f *fault.Error) []string {
	if d, ok := f.Err.(*policy.Denied); ok { //nolint:errorlint // see above
		return d.PolicyIDs
	}
	return nil
}
