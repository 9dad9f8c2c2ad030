package policy

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/redact"
)

// GuardConfig is what a Guard needs.
type GuardConfig struct {
	Sink audit.Sink // required
	// DigestKey gives a tenant's secret for the digests in its records; required.
	// A tenant without a key cannot be recorded, so nothing happens in it.
	DigestKey func(tenant string) []byte
	// Buckets are those that Sink keeps; nil: what has a token budget is denied.
	Buckets Buckets
	// Approvals are those that Sink keeps; nil: what needs an approval is denied.
	Approvals    Approvals
	ApprovalLife time.Duration    // from the question to the call; default 24 h
	MaxPending   int              // approvals of one person; default 20
	MaxDenials   int              // refused calls of one person a minute; default 120
	Clock        func() time.Time // default time.Now
	Timeout      time.Duration    // for a row to become durable; default 5 s
	Locks        LockStore        // default: locks end with the process
	// Journals says whether rows of a tenant's tool calls that only read may go to the
	// sink's journal when it cannot record; nil: no tenant's, and nothing is done then.
	Journals func(tenant string) bool
	// Operators is the tenant whose people may change every lock; empty: none.
	Operators string
	// Trusts reports why a person or a workload that was verified is not trusted any
	// more; it must not block. nil: what was verified stays so.
	Trusts func(identity.Principal) error
	// OnLock hears that a lock is in force, once it is and has cut what it stops. It must
	// not block.
	OnLock func()
	// OnAlarm hears of what an operator must look at: policy that cannot be
	// evaluated, audit that cannot be written. It must not block.
	OnAlarm func(context.Context, Alarm)
	// OnRedacted hears how many bytes were taken out: of "args" or a "result", by a
	// class of detectors, by "path", or the "whole" to which none could be applied.
	// It must not block.
	OnRedacted func(place, class string, bytes int)
}

// Alarm is a reason with its cause, for the operator only.
type Alarm struct {
	Reason fault.Reason
	Tenant string
	Action string
	Tool   string
	Call   string
	Err    error
}

// Guard is the one enforcement point. It may be used by many goroutines.
type Guard struct {
	config  GuardConfig
	engine  atomic.Pointer[Engine]
	locks   atomic.Pointer[lockSet]
	locking sync.Mutex // held by who changes locks
	open    open       // what goes on
	denials denials
}

// NewGuard makes a guard that denies everything until Swap gives it an engine.
func NewGuard(c GuardConfig) (*Guard, error) {
	if c.Sink == nil || c.DigestKey == nil {
		return nil, errors.New("policy: a guard needs a sink and digest keys")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.ApprovalLife <= 0 {
		c.ApprovalLife = 24 * time.Hour
	}
	if c.MaxPending <= 0 {
		c.MaxPending = 20
	}
	if c.MaxDenials <= 0 {
		c.MaxDenials = 120
	}
	if c.Trusts == nil {
		c.Trusts = func(identity.Principal) error { return nil }
	}
	if c.OnLock == nil {
		c.OnLock = func() {}
	}
	if c.OnAlarm == nil {
		c.OnAlarm = func(context.Context, Alarm) {}
	}
	if c.OnRedacted == nil {
		c.OnRedacted = func(string, string, int) {}
	}
	if c.Locks == nil {
		c.Locks = noStore{}
	}
	if c.Journals == nil {
		c.Journals = func(string) bool { return false }
	}
	g := &Guard{config: c, denials: denials{most: c.MaxDenials, of: map[personOf]*denied{}}}
	g.locks.Store(&lockSet{})
	return g, nil
}

// Swap makes e decide from now on. Permits already given are decided again by
// Recheck; what is held is decided again here, and cut where e denies it.
func (g *Guard) Swap(e *Engine) {
	g.engine.Store(e)
	g.open.each((*holding).redecide)
}

// Engine is the engine that decides now, nil before the first Swap.
func (g *Guard) Engine() *Engine { return g.engine.Load() }

// Revision names the policy set that decides now, "" before the first Swap.
func (g *Guard) Revision() string {
	if e := g.engine.Load(); e != nil {
		return e.Revision()
	}
	return ""
}

// Digest is the keyed digest of bytes as the tenant's records have it; empty for
// a tenant without a key.
func (g *Guard) Digest(tenant string, b []byte) string {
	if key := g.config.DigestKey(tenant); len(key) > 0 {
		return digest(key, b)
	}
	return ""
}

// Begin decides and queues the decision's row. The permit is not yet leave to
// act: that is Permit.Wait. A denial is durable when Begin returns it.
func (g *Guard) Begin(ctx context.Context, q *Query) (*Permit, error) {
	return g.begin(ctx, g.stamp(q, "call_"), canRedact)
}

// ability says which duties the caller is able to meet.
type ability uint8

const (
	cannotRedact ability = iota // nobody looks at what the effect returns
	canRedact
)

func (g *Guard) begin(ctx context.Context, q *Query, can ability) (*Permit, error) {
	e, locks := g.engine.Load(), g.locks.Load() // before the decision: Recheck compares
	d, ballots := g.poll(e, q)
	p := &Permit{guard: g, engine: e, locks: locks, query: q, under: q.Grant.Principal(), decision: d, started: q.Time}
	if err := p.arm(can, ballots); err != nil {
		p.decision = failed(p.decision, err)
	}
	if !p.decision.Allow {
		if err := g.bound(ctx, e, q); err != nil {
			return nil, err
		}
		if err := g.recordRefused(ctx, e, ballots); err != nil {
			return nil, err
		}
		return nil, g.denied(ctx, e, q, p.decision)
	}
	if err := g.spare(ctx, p); err != nil {
		return nil, err
	}
	if err := g.consent(ctx, p); err != nil {
		return nil, err
	}
	p.row = recordOf(q, q.Time)
	addDecision(p.row, p.decision)
	p.row.Approver = p.approver
	shown := p.sent
	if q.Action != ActionCallTool {
		shown = viewOf(e, q) // duties to redact belong to the call itself
	}
	if err := g.addArguments(p.row, p.sent, shown); err != nil {
		return nil, g.cannotRecord(ctx, q, err)
	}
	if err := p.recordOthers(ballots); err != nil {
		return nil, g.cannotRecord(ctx, q, err)
	}
	p.claims = len(p.reserved) > 0 || p.take != nil
	p.receipt = p.append(p.row, p.reserved, p.take)
	return p, nil
}

// arm prepares the local duties: what is redacted, what is reserved.
func (p *Permit) arm(can ability, ballots []ballot) (err error) {
	p.redact = p.engine.Redaction(p.decision.Duties)
	if can == cannotRedact && !p.redact.Empty() {
		return errUnmet
	}
	if !p.decision.Allow {
		return nil
	}
	if p.sent, _, err = p.guard.counted(p.redact, "args").Args(p.query.Arguments); err != nil {
		return err
	}
	p.reserved, err = p.reserving(ballots)
	return err
}

// counted is a redaction of which the guard's owner hears.
func (g *Guard) counted(r *redact.Redaction, place string) *redact.Redaction {
	return r.Counted(func(class string, bytes int) { g.config.OnRedacted(place, class, bytes) })
}

var errUnmet = errors.New("a redaction is due where nobody can apply it")

// stamp completes a query: its time is now and its row has a name, by which the
// outcome finds the decision.
func (g *Guard) stamp(query *Query, prefix string) *Query {
	q := *query
	q.Time = g.config.Clock()
	if q.Call == "" {
		q.Call = prefix + rand.Text()
	}
	return &q
}

// decide is the answer for everybody in whose name the query is.
func (g *Guard) decide(e *Engine, q *Query) Decision {
	d, _ := g.poll(e, q)
	return d
}

func (g *Guard) decideOne(e *Engine, q *Query) Decision {
	if e == nil {
		return Decision{Reason: string(fault.PolicyError), Err: errNoPolicy}
	}
	if g.locks.Load().find(q, g.config.Operators, q.Time) != nil {
		return Decision{Reason: string(fault.PrincipalLocked), Revision: e.Revision()}
	}
	if err := g.distrust(q.Grant.Principal()); err != nil {
		return Decision{Reason: string(fault.CredentialInvalid), Revision: e.Revision(), Err: err}
	}
	if !q.Time.Before(q.Grant.Expires()) {
		return Decision{Reason: string(fault.CredentialExpired), Revision: e.Revision()}
	}
	return e.Decide(q)
}

var errNoPolicy = errors.New("no policy is loaded")

func (g *Guard) addArguments(row *audit.Record, digested, shown []byte) error {
	key := g.config.DigestKey(row.Tenant)
	if len(key) == 0 {
		return errNoKey
	}
	if len(digested) > 0 {
		row.ArgumentsDigest = digest(key, digested)
	}
	row.RedactedArguments = forRecord(shown)
	return nil
}

var (
	errNoKey     = errors.New("the tenant has no digest key")
	errNoReceipt = errors.New("the sink gave no receipt")
)

// journals says whether a row of the query may be journaled: of a tool that only
// reads, in a tenant that wants it.
func (g *Guard) journals(q *Query) bool { return q.Reads && g.config.Journals(recordTenant(q)) }

// await waits until a row is durable, at most for the configured time: a sink
// that hangs counts as one that failed, unless it has a journal for the row.
func (g *Guard) await(ctx context.Context, r *audit.Receipt) error {
	if r == nil {
		return errNoReceipt
	}
	if r.Settled() { // which takes no timer
		return r.Wait(ctx)
	}
	err := g.within(ctx, r.Wait)
	if !errors.Is(err, errSinkHangs) {
		return err
	}
	return g.within(ctx, func(ctx context.Context) error {
		if r.Divert(ctx) {
			return nil
		}
		return err
	})
}

func (g *Guard) within(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, g.config.Timeout, errSinkHangs)
	defer cancel()
	return wait(ctx)
}

var errSinkHangs = errors.New("the sink did not answer in time")

func (g *Guard) cannotRecord(ctx context.Context, q *Query, err error) error {
	g.alarm(ctx, q, fault.AuditUnavailable, err)
	return unrecorded(err)
}

func (g *Guard) alarm(ctx context.Context, q *Query, reason fault.Reason, err error) {
	g.config.OnAlarm(ctx, Alarm{Reason: reason, Tenant: q.Grant.Tenant(), Action: q.Action, Tool: q.Tool, Call: q.Call, Err: err})
}

// Do lets effect happen between a durable decision and a recorded outcome. It is
// for effects that return nothing which a policy could redact; a redaction duty
// denies.
func (g *Guard) Do(ctx context.Context, q *Query, effect func(context.Context) (Result, error)) error {
	p, err := g.begin(ctx, g.stamp(q, "call_"), cannotRedact)
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	if err := p.Recheck(ctx); err != nil {
		return err
	}
	defer p.Done(ctx, Result{Outcome: Failed, Reason: string(fault.Internal)}) // on a panic; else it is done already
	res, err := effect(ctx)
	if err != nil {
		res = failure(err, res.Digest)
	}
	p.Done(ctx, res)
	return err
}

// failure is the outcome of an effect that returned an error.
func failure(err error, digest string) Result {
	f := fault.From(err)
	if f.Reason == fault.Canceled {
		return Result{Outcome: Cancelled, Reason: string(f.Reason), Digest: digest}
	}
	return Result{Outcome: Failed, Reason: string(f.Reason), Digest: digest}
}

// Read decides a call that only reads, and lets it happen once its one row is
// durable: a reader who is not on record must not have read. To wait here, before
// the read, costs the caller one commit that it shares with whatever else is
// being recorded; to read meanwhile and to hold back the answer would save little
// more than nothing, since reads are short, and would have to be got right in each
// kind of call. A store that cannot write, or a full queue, is AUDIT_UNAVAILABLE.
//
// The row has no outcome, unless the caller left before it was durable; a call id
// that begins with "read_" tells it from an effect that was abandoned.
func (g *Guard) Read(ctx context.Context, query *Query) error {
	p, err := g.begin(ctx, g.stamp(query, "read_"), cannotRedact)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}
