package behalf

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// approvals is what the RPCs see of approvals, and what tells the runs that wait.
type approvals struct {
	s    *Server
	news chan struct{} // holds one token when a run is to be told
}

func newApprovals(s *Server) *approvals { return &approvals{s: s, news: make(chan struct{}, 1)} }

func (a *approvals) Approval(ctx context.Context, tenant, id string) (audit.Approval, error) {
	return a.s.store.Approval(ctx, tenant, id)
}

func (a *approvals) Approvals(ctx context.Context, tenant, after string, limit int) ([]audit.Approval, error) {
	return a.s.store.Approvals(ctx, tenant, after, limit)
}

func (a *approvals) MayDecide(g identity.Grant, ap *audit.Approval) bool {
	return a.s.guard.MayDecide(g, ap)
}

func (a *approvals) State(ap *audit.Approval) string { return ap.At(a.s.opt.now()) }

// DecideApproval takes the answer of the person in ctx. That policy permits it was
// asked before; who it is that answers is looked at here, where the answer is kept.
func (a *approvals) DecideApproval(ctx context.Context, id string, yes bool, comment string) (audit.Approval, error) {
	g, ok := identity.FromContext(ctx)
	if !ok || g.Principal().User == nil {
		return audit.Approval{}, fault.New(codes.Unauthenticated, fault.CredentialRequired, "only a person can decide an approval")
	}
	found, err := a.s.store.Approval(ctx, g.Tenant(), id)
	if err != nil {
		return found, err
	}
	if f := policy.Approver(g, &found); f != nil {
		return found, f
	}
	decided, err := a.s.store.DecideApproval(ctx, g.Tenant(), id, yes, answer(g.Principal(), comment))
	if err == nil {
		a.tellSoon()
	}
	return decided, err
}

// answer is what a person says, by their token and through their client.
func answer(p identity.Principal, comment string) audit.Answer {
	u := p.User
	out := audit.Answer{
		Approver: audit.User{Issuer: u.Issuer, Subject: u.Subject, Email: u.Email}, ApproverName: u.Name, Comment: comment,
		ApproverToken: u.TokenID, ApproverThumbprint: u.Thumbprint,
	}
	if p.Workload != nil {
		out.ApproverWorkload = p.Workload.ID
	}
	return out
}

func (a *approvals) tellSoon() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

const (
	lookEvery   = time.Second // for approvals that time ends, and for those that a crash left
	forgetEvery = time.Hour
	tellAtOnce  = 1024 // runs that are being told
)

// run tells runs how their approvals ended until ctx ends. A run at work takes the
// answer when it rests, so each is told on a goroutine of its own.
func (a *approvals) run(ctx context.Context) error {
	look, forget := time.NewTicker(lookEvery), time.NewTicker(forgetEvery)
	defer look.Stop()
	defer forget.Stop()
	t := &telling{approvals: a, busy: map[string]bool{}}
	defer t.wg.Wait()
	for {
		t.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-a.news:
		case <-look.C:
		case <-forget.C:
			if err := a.s.store.ForgetApprovals(ctx, a.s.opt.now()); err != nil && ctx.Err() == nil {
				a.s.opt.log.ErrorContext(ctx, "forget approvals", slog.Any("error", err))
			}
		}
	}
}

// telling is the runs that are being told.
type telling struct {
	*approvals
	wg sync.WaitGroup

	mu   sync.Mutex
	busy map[string]bool // by approval
}

func (t *telling) round(ctx context.Context) {
	list, err := t.s.store.UntoldApprovals(ctx, t.s.opt.now(), 2*tellAtOnce)
	if err != nil && ctx.Err() == nil {
		t.s.opt.log.ErrorContext(ctx, "read approvals", slog.Any("error", err))
	}
	for i := range list {
		ap := list[i]
		if !t.begin(ap.ID) {
			continue
		}
		t.wg.Go(func() {
			defer t.end(ap.ID)
			if err := t.tell(ctx, &ap); err != nil && ctx.Err() == nil {
				t.s.opt.log.ErrorContext(ctx, "tell a run of its approval", slog.String("run_id", ap.RunID), slog.String("approval_id", ap.ID), slog.Any("error", err))
			}
		})
	}
}

func (t *telling) begin(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[id] || len(t.busy) >= tellAtOnce {
		return false
	}
	t.busy[id] = true
	return true
}

func (t *telling) end(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, id)
}

// tell gives a run the answer. One that does not wait for it yet is told at a
// later look; one that has ended needs to know nothing any more.
func (t *telling) tell(ctx context.Context, ap *audit.Approval) error {
	_, err := t.s.runs.Answer(ctx, ap.Tenant, ap.RunID, answerOf(ap, t.s.opt.now()))
	switch {
	case errors.Is(err, fault.RunNotActive):
		waits, err := t.mayWait(ctx, ap)
		if err != nil || waits {
			return err
		}
	case err != nil && !errors.Is(err, fault.NotFound):
		return err
	}
	return t.s.store.ApprovalTold(ctx, ap.Tenant, ap.ID)
}

// mayWait reports whether the run may yet come to wait for the approval: it is
// stored before the run's log says so.
func (t *telling) mayWait(ctx context.Context, ap *audit.Approval) (bool, error) {
	for ev, err := range t.s.log.Read(ctx, runs.Key{Tenant: ap.Tenant, Session: ap.SessionID}) {
		if err != nil {
			return false, err
		}
		if ev.RunID != ap.RunID {
			continue
		}
		switch b := ev.Body.(type) {
		case agents.ApprovalDecided:
			if b.ApprovalID == ap.ID {
				return false, nil
			}
		case agents.RunFinished:
			if ev.Thread == "" {
				return false, nil
			}
		}
	}
	rec, err := t.s.runs.Find(ctx, ap.Tenant, ap.RunID)
	return err == nil && (rec.State == runs.StateRunning || rec.State == runs.StateWaiting), err
}

// answerOf is an approval's end as the run's log has it.
func answerOf(ap *audit.Approval, now time.Time) agents.ApprovalDecided {
	out := agents.ApprovalDecided{ApprovalID: ap.ID}
	if ap.Decided == 0 {
		out.Expired = ap.At(now) == audit.Lapsed
		return out
	}
	out.Approved, out.Comment = ap.State != audit.Refused, ap.Comment
	out.Approver = agents.Speaker{Tenant: ap.Tenant, Subject: ap.Approver.Subject, Name: ap.ApproverName}
	return out
}
