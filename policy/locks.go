package policy

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// LockStore keeps locks across restarts. A call returns when it is durable.
type LockStore interface {
	PutLock(ctx context.Context, l Lock) error // replaces one on the same target
	DeleteLock(ctx context.Context, t LockTarget) error
	Locks(ctx context.Context) ([]Lock, error)
}

const (
	// maxLocks bounds the set, which each lock copies.
	maxLocks = 10_000
	// maxOwnLocks is how many of them one tenant sets, so that none keeps the others
	// from locking. The operators' are bounded by maxLocks alone.
	maxOwnLocks = 1_000
)

// The faults of locking.
var (
	errLocked     = fault.New(codes.PermissionDenied, fault.PrincipalLocked, "access is locked; ask your administrator, giving the decision id")
	errDistrusted = fault.New(codes.Unauthenticated, fault.CredentialInvalid, "the credential was not accepted; present a valid one")
	errNoLock     = fault.New(codes.NotFound, fault.NotFound, "there is no such lock; list the locks and name its target exactly")
	errNotYours   = fault.New(codes.PermissionDenied, fault.PolicyDenied, "the lock was set from another tenant; only people of server.operator_tenant may change it")
	errManyLocks  = fault.New(codes.ResourceExhausted, fault.RateLimited, "there are too many locks; lift some that are not needed any more")
	errLockPassed = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the lock would have ended already; let it end later or not at all")
)

// LoadLocks reads the locks that were set before. Until it has, the guard knows
// of none, so it is called before anything is served.
func (g *Guard) LoadLocks(ctx context.Context) error {
	g.locking.Lock()
	defer g.locking.Unlock()
	all, err := g.config.Locks.Locks(ctx)
	if err != nil {
		return err
	}
	set := lockSet{}
	for _, l := range all {
		set[l.Target] = &l
	}
	g.locks.Store(&set)
	return nil
}

// Lock puts a lock in force. When it returns the lock is durable, and nothing
// that it stops acts any more.
func (g *Guard) Lock(ctx context.Context, l Lock) (Lock, error) {
	g.locking.Lock()
	defer g.locking.Unlock()
	l.Created = g.config.Clock()
	set := g.inForce(l.Created)
	switch old := set[l.Target]; {
	case l.over(l.Created):
		return Lock{}, errLockPassed
	case old != nil && !g.mayChange(old, l.ByTenant):
		return Lock{}, errNotYours
	case old == nil && g.fullFor(set, l.ByTenant):
		return Lock{}, errManyLocks
	}
	ctx, cancel := g.untilStored(ctx)
	defer cancel()
	if err := g.config.Locks.PutLock(ctx, l); err != nil {
		return Lock{}, unlockable(err)
	}
	set[l.Target] = &l
	g.locks.Store(&set) // before what is open is looked at: what begins now finds it
	g.open.each(func(h *holding) { h.locked(lockSet{l.Target: &l}) })
	g.config.OnLock()
	return l, nil
}

// Unlock lifts a lock for somebody of the tenant.
func (g *Guard) Unlock(ctx context.Context, t LockTarget, tenant string) error {
	g.locking.Lock()
	defer g.locking.Unlock()
	set := g.inForce(g.config.Clock())
	switch old := set[t]; {
	case old == nil:
		return errNoLock
	case !g.mayChange(old, tenant):
		return errNotYours
	}
	ctx, cancel := g.untilStored(ctx)
	defer cancel()
	if err := g.config.Locks.DeleteLock(ctx, t); err != nil {
		return unlockable(err)
	}
	delete(set, t)
	g.locks.Store(&set)
	return nil
}

// Locks lists the locks in force, newest first.
func (g *Guard) Locks() []Lock {
	now := g.config.Clock()
	var all []Lock
	for _, l := range *g.locks.Load() {
		if !l.over(now) {
			all = append(all, *l)
		}
	}
	slices.SortFunc(all, func(a, b Lock) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Target.Kind, b.Target.Kind),
			cmp.Compare(a.Target.Tenant, b.Target.Tenant), cmp.Compare(a.Target.ID, b.Target.ID))
	})
	return all
}

// Locked reports why a query is stopped: by a lock, or because the workload behind
// it is not trusted any more. nil if nothing stops it. Begin, Read and Do ask by
// themselves.
func (g *Guard) Locked(q *Query) *fault.Error {
	if g.locks.Load().anybodyLocked(q, g.config.Operators, g.config.Clock()) {
		return errLocked
	}
	if err := g.distrust(q.Grant.Principal()); err != nil {
		return errDistrusted.Because(err)
	}
	return nil
}

// untilStored is for a write whose outcome must be known: a caller who hangs up
// would leave a lock that is stored and not in force.
func (g *Guard) untilStored(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), g.config.Timeout, errSinkHangs)
}

// inForce is a copy of the set, less what has ended.
func (g *Guard) inForce(now time.Time) lockSet {
	set := maps.Clone(*g.locks.Load())
	maps.DeleteFunc(set, func(_ LockTarget, l *Lock) bool { return l.over(now) })
	return set
}

func (g *Guard) mayChange(l *Lock, tenant string) bool {
	return l.ByTenant == tenant || g.config.Operators != "" && g.config.Operators == tenant
}

// fullFor reports whether a tenant may set no more locks.
func (g *Guard) fullFor(set lockSet, tenant string) bool {
	own := 0
	for _, l := range set {
		if l.ByTenant == tenant {
			own++
		}
	}
	if g.config.Operators != "" && g.config.Operators == tenant {
		return own >= maxLocks
	}
	return own >= maxOwnLocks || len(set) >= maxLocks
}

func unlockable(err error) error {
	return fault.New(codes.Unavailable, fault.AuditUnavailable, "the lock could not be stored, so nothing has changed; try again").Because(err)
}

// noStore keeps locks for as long as the process lives.
type noStore struct{}

func (noStore) PutLock(context.Context, Lock) error          { return nil }
func (noStore) DeleteLock(context.Context, LockTarget) error { return nil }
func (noStore) Locks(context.Context) ([]Lock, error)        { return nil, nil }
