package tools

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
)

const (
	maxMessage = 4 << 10 // bytes of a tool's error text
	// grace is how long a tool may take to notice that its context has ended.
	// Go cannot stop it, so after that the gate goes on without it.
	grace = 250 * time.Millisecond
)

// perform makes an allowed call: say so, wait until that is durable, look once
// more, act, record how it ended.
func (a *attempt) perform(ctx context.Context) (agents.ToolCallFinished, error) {
	d := a.permit.Decision()
	// A reservation may still fail; what cannot turn into a denial any more is
	// said at once, so that the log and the audit log are written side by side.
	if a.permit.Uncertain() {
		if err := a.permit.Wait(ctx); err != nil {
			return a.denied(ctx, err)
		}
	}
	if !a.decided(agents.ToolCallDecided{Decision: agents.Allowed, PolicyIDs: d.PolicyIDs, Duties: duties(d)}) {
		a.done(ctx, policy.Result{Outcome: policy.Cancelled})
		return agents.ToolCallFinished{}, errGone
	}
	if err := a.permit.Wait(ctx); err != nil {
		return a.denied(ctx, err)
	}
	ctx, leave := a.gate.guard.Act(ctx, &a.query)
	defer leave()
	if err := a.stillAllowed(ctx); err != nil {
		a.done(ctx, policy.Result{Outcome: policy.Cancelled, Reason: string(fault.From(err).Reason)})
		return a.denied(ctx, err)
	}
	start := a.gate.clock()
	act := a.act
	if a.effect != nil {
		act = a.actNested
	}
	out := act(ctx)
	if out.finished.Result != "" {
		out.recorded.Digest = a.gate.guard.Digest(a.grant.Tenant(), []byte(out.finished.Result))
	}
	a.done(ctx, out.recorded)
	if out.err != nil {
		return agents.ToolCallFinished{}, out.err
	}
	if out.paused {
		return agents.ToolCallFinished{}, errPaused
	}
	out.finished.Duration = a.gate.clock().Sub(start)
	return out.finished, nil
}

// stillAllowed looks once more after the wait: authority is live.
func (a *attempt) stillAllowed(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f := a.outdated(); f != nil {
		return a.gate.guard.Refuse(ctx, &a.query, f)
	}
	return a.permit.Recheck(ctx)
}

// done records the outcome even when the caller is gone.
func (a *attempt) done(ctx context.Context, r policy.Result) {
	a.permit.Done(context.WithoutCancel(ctx), r)
}

func duties(d policy.Decision) []string {
	var out []string
	for _, x := range d.Duties {
		out = append(out, fmt.Sprintf("@%s(%q)", x.Kind, x.Text)) // as in the record
	}
	return out
}

// ending is how an effect ended: for the transcript, for the record, or with an
// error that ends the run.
type ending struct {
	finished agents.ToolCallFinished
	recorded policy.Result
	err      error
	paused   bool // of a nested run: it waits for somebody, and there is no result yet
}

// act calls the tool under its own deadline. A read stops with its caller; a
// write that has begun does not.
func (a *attempt) act(ctx context.Context) ending {
	who := callerOf(a.grant, a.tool.Name)
	if a.gate.registry.stuck.full(who) {
		return failed(fault.New(codes.Unavailable, fault.ToolUnavailable, "too many calls do not stop; try again when they have"))
	}
	base, limit := ctx, cmp.Or(a.tool.Timeout, a.gate.limits.ReadTimeout)
	if a.tool.Effect == Write { // its run waits for it, and so does a shutdown
		most := a.gate.limits.WriteTimeout
		base, limit = context.WithoutCancel(ctx), min(cmp.Or(a.tool.Timeout, most), most)
	}
	own, cancel := context.WithTimeout(base, limit)
	defer cancel()
	if a.quit = cancel; a.tool.Effect == Write {
		a.quit = func() {}
	}
	ans := a.invoke(a.withFacts(own, ctx), who)
	switch {
	case ans.err == nil:
		return a.succeeded(ctx, ans.result)
	case own.Err() != nil:
		a.tell(ctx, a.quotable(ans.err))
		return a.interrupted(ctx)
	}
	return a.failed(ctx, ans.err)
}

// answer is what came back from a tool.
type answer struct {
	result json.RawMessage
	err    error
}

// invoke calls the tool and waits for it, or for its deadline and a little more.
// Its goroutine ends with the tool; if it is given up it is counted until then.
func (a *attempt) invoke(ctx context.Context, who caller) answer {
	tool, from, args := a.tool, Origin{a.call.SessionID}, a.permit.SentArguments()
	if tool.Inline {
		return protect(ctx, tool, from, args)
	}
	ctx, told := a.listen(ctx)
	back := make(chan answer, 1)
	var over atomic.Bool // who is first: the tool or the gate
	stuck := a.gate.registry.stuck
	go func() {
		ans := answer{err: &panicError{value: "the tool left its goroutine"}}
		defer func() { // also when the tool calls runtime.Goexit
			back <- ans
			if !over.CompareAndSwap(false, true) {
				stuck.remove(who)
			}
		}()
		ans = protect(ctx, tool, from, args)
	}()
	if ans, ok := a.await(ctx, back, told); ok {
		return ans
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case ans := <-back:
		return ans
	case <-timer.C:
	}
	stuck.add(who)
	if !over.CompareAndSwap(false, true) {
		stuck.remove(who)
		return <-back
	}
	return answer{err: errStuck}
}

// panicError is a tool that panicked, or left its goroutine.
type panicError struct {
	value any
	stack []byte
}

// Error shows no value: it may hold anything that the tool knew.
func (p *panicError) Error() string { return fmt.Sprintf("panic of type %T\n%s", p.value, p.stack) }

func protect(ctx context.Context, t *entry, o Origin, args json.RawMessage) (ans answer) {
	defer func() {
		if r := recover(); r != nil {
			ans = answer{err: &panicError{r, debug.Stack()}}
		}
	}()
	result, err := t.from(ctx, o, args)
	return answer{result, err}
}

// succeeded is a call that came back without an error. Its result is hostile.
func (a *attempt) succeeded(ctx context.Context, result json.RawMessage) ending {
	if len(result) == 0 {
		result = json.RawMessage("null")
	}
	if problem := a.gate.unfit(result); problem != "" {
		out := ending{recorded: policy.Result{Outcome: policy.Failed}}
		if a.tool.Effect == Write {
			// It happened; only its answer is lost.
			out.recorded.Outcome = policy.Succeeded
			problem += "; the call was made, do not repeat it"
		}
		out.finished = agents.ToolCallFinished{Failed: true, Result: string(failure{Message: problem}.json())}
		return out
	}
	return ending{
		finished: agents.ToolCallFinished{Result: a.redact(ctx, result)},
		recorded: policy.Result{Outcome: policy.Succeeded},
	}
}

// redact is the result as the model reads it.
func (a *attempt) redact(ctx context.Context, result json.RawMessage) string {
	out, err := a.permit.Redact(result)
	if err != nil {
		a.tell(ctx, fmt.Errorf("redact the result: %w", err))
	}
	return string(out)
}

// unfit says why a result cannot be shown.
func (g *Gate) unfit(result json.RawMessage) string {
	if len(result) > g.limits.MaxResult {
		return fmt.Sprintf("the result is too large: more than %d bytes; ask for less", g.limits.MaxResult)
	}
	if _, _, bad := parseJSON(string(result), foreign); bad != nil {
		return "the result cannot be read: it " + bad.Problem
	}
	return ""
}

// interrupted is a call whose context ended before it did.
func (a *attempt) interrupted(ctx context.Context) ending {
	switch {
	case a.tool.Effect == Write:
		out := failed(errOutcome)
		out.recorded.Outcome = policy.Unknown
		return out
	case ctx.Err() != nil:
		return ending{recorded: policy.Result{Outcome: policy.Cancelled}, err: context.Cause(ctx)}
	case a.gone:
		return ending{recorded: policy.Result{Outcome: policy.Cancelled}, err: errGone}
	}
	return failed(fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded, "the tool did not answer in time"))
}

// failed is a call that the tool answered with an error. A fault shows what it
// has for the caller; any other text is the tool's own: hostile, and redacted
// like a result. A panic shows nothing.
func (a *attempt) failed(ctx context.Context, err error) ending {
	if _, ok := errors.AsType[*panicError](err); ok {
		a.tell(ctx, err)
		return ending{
			finished: agents.ToolCallFinished{Failed: true, Result: string(failure{Message: "the tool failed"}.json())},
			recorded: policy.Result{Outcome: policy.Failed},
		}
	}
	f, known := errors.AsType[*fault.Error](err)
	hides := a.permit.HidesResults()
	if known || hides {
		a.tell(ctx, a.quotable(err))
	}
	said := clean(err.Error(), maxMessage)
	if hides {
		said = withheld
	}
	text := failure{Message: said}.json()
	out := ending{recorded: policy.Result{Outcome: policy.Failed}}
	if known {
		out = failed(f)
		text = json.RawMessage(out.finished.Result)
	}
	out.finished = agents.ToolCallFinished{Failed: true, Reason: out.finished.Reason, Result: a.redact(ctx, text)}
	return out
}

// failed is a failed result that a fault explains.
func failed(f *fault.Error) ending {
	out := ending{
		finished: agents.ToolCallFinished{Failed: true, Reason: string(f.Reason), Result: string(explain(f, nil))},
		recorded: policy.Result{Outcome: policy.Failed, Reason: string(f.Reason)},
	}
	if f.Reason == fault.OutcomeUnknown {
		out.recorded.Outcome = policy.Unknown
	}
	return out
}
