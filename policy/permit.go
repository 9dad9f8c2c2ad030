package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/engine"
	"github.com/behalf-dev/behalf/policy/redact"
)

// Permit is one allowed call: what was decided, what may be sent, and the two
// rows that record it. The effect may happen after Wait, and after Recheck if
// time has passed; then Done must be called.
//
// Wait and Settled may be called from several goroutines; everything else
// belongs to the goroutine that makes the call.
type Permit struct {
	guard    *Guard
	query    *Query
	redact   *redact.Redaction
	sent     json.RawMessage
	claims   bool            // the row takes something that may not be to be had
	take     *audit.Take     // the approval that goes with the decision; nil: none
	agreed   *audit.Approval // nil: nobody had to agree
	approver string
	ends     time.Time           // of the approval
	reserved []audit.Reservation // with the decision
	beside   []*audit.Receipt    // of the others' rows, see together.go

	mu       sync.Mutex         // guards what follows
	under    identity.Principal // the credential that was decided about
	engine   *Engine
	locks    *lockSet
	decision Decision
	row      *audit.Record
	receipt  *audit.Receipt // of the decision
	outcome  *audit.Receipt
	started  time.Time
	waited   bool  // the decision is durable
	lost     error // a wait failed: the effect may never happen
}

// append gives the sink its own copy: sealing writes into the record.
func (p *Permit) append(row *audit.Record, reserve []audit.Reservation, take *audit.Take) *audit.Receipt {
	own := *row
	return p.guard.config.Sink.Append(audit.Entry{Record: &own, Reserve: reserve, Take: take, Journal: p.guard.journals(p.query) && len(reserve) == 0 && take == nil})
}

// Approval is what somebody agreed to, and who; both are empty if nobody had to.
func (p *Permit) Approval() (id, approver string) {
	if p.approver == "" {
		return "", ""
	}
	return p.row.ApprovalID, p.approver
}

// ApprovalEnds is when what somebody agreed to ends; zero if nobody had to.
func (p *Permit) ApprovalEnds() time.Time { return p.ends }

// Decision is what the engine said.
func (p *Permit) Decision() Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decision
}

// Uncertain reports whether the decision may still turn into a denial where it is
// recorded: it reserves something, or uses up an approval.
func (p *Permit) Uncertain() bool { return p.claims }

// Call names the call in both rows.
func (p *Permit) Call() string { return p.query.Call }

// SentArguments are the arguments as they may leave: what the model wrote less
// what a policy takes out. Digests, approvals and tokens are over these bytes.
func (p *Permit) SentArguments() json.RawMessage { return p.sent }

// Wait returns nil once the decision is durable. If it fails the effect must not
// happen, and every later Wait fails too.
func (p *Permit) Wait(ctx context.Context) error {
	p.mu.Lock()
	receipt := p.receipt
	p.mu.Unlock()
	err := p.awaitOthers(ctx)
	if err == nil {
		err = p.guard.await(ctx, receipt)
	}
	if err == nil {
		return p.begin()
	}
	if full, ok := errors.AsType[*audit.Exhausted](err); ok {
		p.guard.denials.count(p.query)
		return p.lose(exhausted(full).With("policy_revision", p.Decision().Revision).With("decision_id", p.query.Call), settled)
	}
	if ctx.Err() != nil {
		return p.lose(ended(ctx), unknown)
	}
	is := settled
	if errors.Is(err, errSinkHangs) {
		is = unknown
	}
	return p.lose(p.guard.cannotRecord(ctx, p.query, err), is)
}

// fate says what is known of a row that was waited for in vain.
type fate uint8

const (
	settled fate = iota // not recorded, or recorded as a denial
	unknown             // it may yet become durable and say allow
)

// begin starts the clock of the effect, unless the permit was lost meanwhile.
func (p *Permit) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil && !p.waited {
		p.waited, p.started = true, p.guard.config.Clock()
	}
	return p.lost
}

// lose ends the permit. Behind a row that may yet say allow it says that nothing
// came of it.
func (p *Permit) lose(err error, is fate) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil || p.waited {
		return err
	}
	p.lost = err
	if is == unknown {
		p.finish(Result{Outcome: Cancelled, Reason: string(fault.From(err).Reason)})
	}
	return err
}

// ended is a context's end as the caller reads it: a lock or an expiry that
// cancelled it is a fault of its own.
func ended(ctx context.Context) error {
	return fault.From(fmt.Errorf("%w: %w", context.Cause(ctx), ctx.Err()))
}

// Recheck decides again if the policy, the locks or the credential changed, or the
// credential or the trust in its workload ended, since.
func (p *Permit) Recheck(ctx context.Context) error {
	grant := p.query.Grant.Current()
	p.mu.Lock()
	same := p.guard.engine.Load() == p.engine && p.guard.locks.Load() == p.locks && grant.Principal() == p.under
	p.mu.Unlock()
	if same && p.guard.config.Clock().Before(grant.Expires()) && p.guard.trusted(grant) && p.agreedStill() {
		return nil
	}
	return p.Redecide(ctx)
}

// Redecide decides again in any case, as is due when the call has waited for a
// person. Another answer than before (a denial, other duties) takes the permit
// away and gives back what was reserved; the same answer is recorded anew. Nothing
// is reserved twice.
func (p *Permit) Redecide(ctx context.Context) error {
	e, locks, q, old := p.guard.engine.Load(), p.guard.locks.Load(), *p.query, p.Decision()
	q.Grant, q.Time = q.Grant.Current(), p.guard.config.Clock()
	d := p.guard.decide(e, &q)
	switch {
	case d.Allow && !slices.Equal(d.Duties, old.Duties):
		d = turned(d, fault.PolicyDenied)
	case d.Allow && !p.agreedStill():
		d = turned(d, fault.ApprovalExpired)
	}
	if d.Allow {
		p.mu.Lock()
		p.locks, p.under = locks, q.Grant.Principal()
		p.mu.Unlock()
		return p.renew(ctx, e, d, &q)
	}
	p.Done(ctx, Result{Outcome: Cancelled, Reason: d.Reason})
	err := p.guard.denied(ctx, e, &q, d, given(p.reserved)...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = err
	return err
}

// turned is a decision that something besides policy turns into a denial.
func turned(d Decision, why fault.Reason) Decision {
	out := engine.Deny(why, d.PolicyIDs)
	out.Revision = d.Revision
	return out
}

// renew records that the call is allowed again.
func (p *Permit) renew(ctx context.Context, e *Engine, d Decision, q *Query) error {
	row := recordOf(q, q.Time)
	addDecision(row, d)
	p.mu.Lock()
	row.ArgumentsDigest, row.RedactedArguments, row.ApprovalID, row.Approver = p.row.ArgumentsDigest, p.row.RedactedArguments, p.row.ApprovalID, p.row.Approver
	p.row, p.engine, p.decision = row, e, d
	p.receipt, p.waited = p.append(row, nil, nil), false
	p.mu.Unlock()
	return p.Wait(ctx)
}

// Redact gives a result without what must not be seen. The bytes may be passed
// on even with an error, which tells the operator that all of it was taken out.
func (p *Permit) Redact(result json.RawMessage) (json.RawMessage, error) {
	return p.guard.counted(p.redact, "result").Result(result)
}

// HidesResults reports whether parts of the result are to be taken out by their
// place. What a tool says beside its result cannot be searched for them.
func (p *Permit) HidesResults() bool { return p.redact.HidesResults() }

// Quoted is what a tool says beside its result without what the detectors take out of
// one. Where HidesResults it may hold more.
func (p *Permit) Quoted(text string) string { return p.redact.Quoted(text) }

// RedactsResults reports whether the result may be less than what the tool gives. Who
// gets it from the tool itself sees all of it.
func (p *Permit) RedactsResults() bool { return p.redact.OfResult() }

// MayQuote reports whether what a tool says beside its result may be shown as it is:
// nothing is taken out of its results, nor of what models say after it.
func (p *Permit) MayQuote() bool { return !p.redact.Hides() }

// Done queues the outcome's row and returns at once. Only the first call counts.
func (p *Permit) Done(_ context.Context, res Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(res)
}

// Abandon records that nobody brought the outcome, and that there will be none:
// the effect may have happened. It counts like Done.
func (p *Permit) Abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outcome != nil {
		return
	}
	row := *p.row
	row.Phase, row.Time, row.Outcome = audit.Abandoned, p.guard.config.Clock().UnixNano(), Unknown
	p.close(&row)
}

// finish is Done with the lock held.
func (p *Permit) finish(res Result) {
	if p.outcome != nil {
		return
	}
	p.close(outcomeOf(p.row, res, p.started, p.guard.config.Clock()))
}

// close queues the last row, with the lock held.
func (p *Permit) close(row *audit.Record) {
	p.outcome = p.append(row, nil, nil)
	if p.outcome == nil {
		p.outcome = audit.NewReceipt()
		p.outcome.Settle(errNoReceipt)
	}
}

var errNotDone = errors.New("the call has no outcome yet")

// Settled returns nil once the outcome is durable. It is waited for before the
// run's next effect and before the run ends.
func (p *Permit) Settled(ctx context.Context) error {
	p.mu.Lock()
	outcome := p.outcome
	p.mu.Unlock()
	err := errNotDone
	if outcome != nil {
		err = p.guard.await(ctx, outcome)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ended(ctx)
	}
	p.guard.alarm(ctx, p.query, fault.AuditUnavailable, err)
	return unsettled(err)
}
