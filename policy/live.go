package policy

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/engine"
)

// This file is live authority: what was allowed once is watched for as long as it
// lasts, and ends when it would not be allowed any more.

// holding is one open stream, run or call. Any goroutine may cut it.
//
// There is no index from names to holdings: a lock or a new policy looks at all
// that is open, which is rare and takes a few milliseconds for thousands, while an
// index would cost each call and could be wrong.
type holding struct {
	guard  *Guard
	cancel context.CancelCauseFunc

	mu           sync.Mutex // guards what follows
	query        Query      // what it was allowed as; its grant changes with a refresh
	session, run string     // where it works, once it does
	acting       []*Query   // whose agents and tools are at work in it
	expiry       *time.Timer
	turn         int // counts refreshes: the timer of an earlier credential says nothing
	why          *fault.Error
	receipt      *audit.Receipt // of the record that it was cut
	over         bool
}

// open are the holdings of a guard.
type open struct {
	mu  sync.Mutex
	all map[*holding]struct{}
}

func (o *open) add(h *holding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[*holding]struct{}{}
	}
	o.all[h] = struct{}{}
}

func (o *open) remove(h *holding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, h)
}

func (o *open) each(f func(*holding)) {
	o.mu.Lock()
	all := make([]*holding, 0, len(o.all))
	for h := range o.all {
		all = append(all, h)
	}
	o.mu.Unlock()
	for _, h := range all {
		f(h)
	}
}

type holdingKey struct{}

// holdingOf is what ctx is held by, if that is for the same grant as the query.
func holdingOf(ctx context.Context, q *Query) *holding {
	h, _ := ctx.Value(holdingKey{}).(*holding)
	if h == nil || q.Grant.ID() == "" || h.id() != q.Grant.ID() {
		return nil
	}
	return h
}

func (h *holding) id() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.query.Grant.ID()
}

// Hold gives a context in which what was allowed may go on. It ends, with a fault
// as its cause and a row on record, when it may not: a lock, the end of the
// credential (or of the certificate that it came with), a policy that now denies.
// What is cut already when Hold is called is its error. The caller releases.
//
// Below a context that is held for the same grant it only adds where the work
// happens: a run is cut with its stream, once.
func (g *Guard) Hold(ctx context.Context, q *Query) (context.Context, func(), error) {
	if h := holdingOf(ctx, q); h != nil {
		return ctx, func() {}, h.join(ctx, q)
	}
	ctx, h := g.begun(ctx, q)
	h.redecide()
	if err := h.cutBy(); err != nil {
		h.release(ctx)
		return ctx, func() {}, err
	}
	return ctx, func() { h.release(ctx) }, nil
}

// begun is a new holding. Only when it is there it can be looked at: what changes
// from then on finds it.
func (g *Guard) begun(ctx context.Context, q *Query) (context.Context, *holding) {
	h := &holding{guard: g, query: *q, session: q.Session, run: q.Run}
	for _, of := range q.Resource.Parents { // what looks on belongs to the agent it looks at
		h.acting = append(h.acting, &Query{Grant: q.Grant, Resource: of})
	}
	ctx, h.cancel = context.WithCancelCause(ctx)
	ctx = context.WithValue(ctx, holdingKey{}, h)
	g.open.add(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watch()
	return ctx, h
}

// join notes where a run works in what is held already.
func (h *holding) join(ctx context.Context, q *Query) error {
	h.mu.Lock()
	h.session, h.run = q.Session, q.Run
	h.mu.Unlock()
	if f := h.guard.Locked(q); f != nil {
		return h.guard.Refuse(ctx, q, f)
	}
	return nil
}

// Act notes, until leave, that the grant's agents, and a tool if the query names
// one, are at work in what ctx is held for: a lock on one of them then ends it.
// What ctx is not held for yet, a direct call, is from now on. It decides nothing:
// the caller asks Locked or Recheck afterwards.
func (g *Guard) Act(ctx context.Context, q *Query) (held context.Context, leave func()) {
	h := holdingOf(ctx, q)
	if h == nil {
		held, h = g.begun(ctx, q)
		return g.actBeside(held, q, func() { h.release(held) })
	}
	h.mu.Lock()
	h.acting = append(h.acting, q)
	h.mu.Unlock()
	return g.actBeside(ctx, q, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if i := slices.Index(h.acting, q); i >= 0 {
			h.acting = slices.Delete(h.acting, i, i+1)
		}
	})
}

// Think is Act for an agent that asks its model: an agent that is locked does not.
func (g *Guard) Think(ctx context.Context) (leave func(), err error) {
	grant, ok := identity.FromContext(ctx)
	if !ok {
		return nil, engine.ErrNobody
	}
	q := &Query{Grant: grant, Action: "run_agent", Resource: Entity{Type: "Agent", ID: grant.Agent()}}
	leave = func() {}
	if h := holdingOf(ctx, q); h != nil {
		q.Session, q.Run = h.place()
		_, leave = g.Act(ctx, q)
	}
	// What is thought is not yet done in anybody's name: the others' locks wait.
	if g.locks.Load().find(q, g.config.Operators, g.config.Clock()) != nil {
		leave()
		return nil, g.Refuse(ctx, q, errLocked)
	}
	return leave, nil
}

func (h *holding) place() (session, run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session, h.run
}

// Refresh puts a fresh credential of the same person under what ctx is held for,
// which then ends with it. A credential that is locked is refused, and the old one
// stays.
func (g *Guard) Refresh(ctx context.Context, p identity.Principal) (identity.Grant, error) {
	h, _ := ctx.Value(holdingKey{}).(*holding)
	if h == nil {
		return identity.Grant{}, engine.ErrNobody
	}
	h.mu.Lock()
	q := h.query
	h.mu.Unlock()
	fresh, err := q.Grant.Refresh(p)
	if err != nil {
		return q.Grant, g.Refuse(ctx, &q, fault.From(err))
	}
	q.Grant = fresh
	if f := g.Locked(&q); f != nil {
		return q.Grant, g.Refuse(ctx, &q, f)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why != nil {
		return fresh, h.why
	}
	if h.query.Grant, err = h.query.Grant.Renew(p); err != nil {
		return fresh, err
	}
	h.watch()
	return h.query.Grant, nil
}

// watch counts to the end of the credential, with the lock held.
func (h *holding) watch() {
	if h.expiry != nil {
		h.expiry.Stop()
	}
	h.turn++
	turn, end := h.turn, ends(h.query.Grant.Principal())
	if end.IsZero() {
		return
	}
	h.expiry = time.AfterFunc(end.Sub(h.guard.config.Clock()), func() { h.expire(turn) })
}

// ends is the earliest end of a credential. A stored grant has no certificate:
// its end bounds the connection, not the run.
func ends(p identity.Principal) time.Time {
	end := p.Expires()
	if w := p.Workload; w != nil && !w.NotAfter.IsZero() && (end.IsZero() || w.NotAfter.Before(end)) {
		return w.NotAfter
	}
	return end
}

func (h *holding) expire(turn int) {
	h.mu.Lock()
	stale := h.turn != turn
	h.mu.Unlock()
	if !stale {
		h.cut(&h.query, Decision{Reason: string(fault.CredentialExpired), Revision: h.guard.Revision()})
	}
}

// decide asks again whether it is allowed. What no policy was asked about is only
// held against locks and the clock.
func (h *holding) decide() Decision {
	g := h.guard
	h.mu.Lock()
	q, session, acting := h.query, h.session, slices.Clone(h.acting)
	h.mu.Unlock()
	q.Time = g.config.Clock()
	now := q
	now.Session = session // else as it was decided: a run that began a session was allowed outside of it
	switch {
	case h.lockedBy(*g.locks.Load(), &now, acting) != nil:
		return Decision{Reason: string(fault.PrincipalLocked), Revision: g.Revision()}
	case g.distrust(q.Grant.Principal()) != nil:
		return Decision{Reason: string(fault.CredentialInvalid), Revision: g.Revision()}
	case q.Resource.Type == "":
		return Decision{Allow: true}
	}
	return g.decide(g.engine.Load(), &q)
}

// lockedBy gives the query that a set of locks stops, nil if none.
func (h *holding) lockedBy(set lockSet, q *Query, acting []*Query) *Query {
	operators, now := h.guard.config.Operators, h.guard.config.Clock()
	if set.find(q, operators, now) != nil {
		return q
	}
	for _, a := range acting {
		if set.findDeed(a, now) != nil {
			return a
		}
	}
	return nil
}

// redecide cuts what would not be allowed any more.
func (h *holding) redecide() {
	if d := h.decide(); !d.Allow {
		h.cut(&h.query, d)
	}
}

// Distrust cuts what is open for persons and workloads that are not trusted any more. It is
// called when trust has changed; what begins from then on asks by itself.
func (g *Guard) Distrust() {
	g.open.each(func(h *holding) {
		h.mu.Lock()
		p := h.query.Grant.Principal()
		h.mu.Unlock()
		if g.distrust(p) != nil {
			h.cut(&h.query, Decision{Reason: string(fault.CredentialInvalid), Revision: g.Revision()})
		}
	})
}

// trusted reports whether all in whose name a grant is are trusted still.
func (g *Guard) trusted(grant identity.Grant) bool {
	for _, o := range grant.Others() {
		if g.distrust(o.Principal()) != nil {
			return false
		}
	}
	return g.distrust(grant.Principal()) == nil
}

// distrust reports why a principal is not trusted any more.
func (g *Guard) distrust(p identity.Principal) error { return g.config.Trusts(p) }

// Look cuts what ctx is held for if a lock stops it that has not come to it yet.
// A lock cuts one after the other: what ends because of the first, such as the
// watching of its run, must not end as if nothing had happened.
func Look(ctx context.Context) {
	if h, _ := ctx.Value(holdingKey{}).(*holding); h != nil {
		h.locked(*h.guard.locks.Load())
	}
}

// locked cuts what locks stop.
func (h *holding) locked(set lockSet) {
	h.mu.Lock()
	q, acting := h.query, slices.Clone(h.acting)
	q.Session, q.Run = h.session, h.run
	h.mu.Unlock()
	if stopped := h.lockedBy(set, &q, acting); stopped != nil {
		h.cut(stopped, Decision{Reason: string(fault.PrincipalLocked), Revision: h.guard.Revision()})
	}
}

// cut ends it, once, with a row that says as what and why.
func (h *holding) cut(as *Query, d Decision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why != nil || h.over {
		return
	}
	q := h.query
	q.Grant, q.Session, q.Run, q.Time = as.Grant, h.session, h.run, h.guard.config.Clock()
	q.Call = "cut_" + rand.Text()
	if as.Tool != "" {
		q.Tool, q.Resource = as.Tool, as.Resource
	}
	row := recordOf(&q, q.Time)
	addDecision(row, d)
	h.receipt = h.guard.config.Sink.Append(audit.Entry{Record: row})
	h.why = refusal(&q, d)
	h.cancel(h.why)
}

func (h *holding) cutBy() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why == nil {
		return nil
	}
	return h.why
}

// release ends the watch. What was cut is on record when it returns.
func (h *holding) release(ctx context.Context) {
	h.guard.open.remove(h)
	h.mu.Lock()
	if h.expiry != nil {
		h.expiry.Stop()
	}
	again := h.over
	h.over = true
	why, receipt, q := h.why, h.receipt, h.query
	h.mu.Unlock()
	h.cancel(nil)
	if why == nil || again {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := h.guard.await(ctx, receipt); err != nil {
		h.guard.alarm(ctx, &q, fault.AuditUnavailable, err)
	}
}
