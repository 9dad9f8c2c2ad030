package policy

import (
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
)

// LockKind says what kind of thing a lock stops.
type LockKind string

// The kinds of DESIGN 4.
const (
	LockUser       LockKind = "user"
	LockWorkload   LockKind = "workload"
	LockAgent      LockKind = "agent" // also a group chat: the two share their names
	LockTool       LockKind = "tool"
	LockSession    LockKind = "session"
	LockTenant     LockKind = "tenant"
	LockToken      LockKind = "token" // by its jti or its thumbprint
	LockEverything LockKind = "everything"
)

// LockTarget names what is stopped, and where. Two locks on the same target are
// one: targets compare with ==.
type LockTarget struct {
	Kind LockKind
	// Tenant is where the lock holds: a user's own, the tenant that is locked, or
	// for the other kinds the only one whose calls are stopped. Empty: all.
	Tenant string
	ID     string // empty for a tenant and for everything
}

// Lock is something that is stopped.
type Lock struct {
	Target  LockTarget
	Reason  string
	Created time.Time
	Expires time.Time // zero: until it is lifted
	By      audit.User
	// ByTenant is the tenant of who locked. Nobody of another one may lift the
	// lock or put a weaker one in its place, but the operators.
	ByTenant string
}

// over reports whether a lock has ended by itself.
func (l *Lock) over(now time.Time) bool { return !l.Expires.IsZero() && !now.Before(l.Expires) }

// lockSet is what is locked at one moment. It never changes.
type lockSet map[LockTarget]*Lock

// find gives a lock that stops the query, nil if there is none. Agents are those
// of the chain, and what the query is about.
func (s lockSet) find(q *Query, operators string, now time.Time) *Lock {
	if len(s) == 0 {
		return nil
	}
	f := finder{s, q.Grant.Tenant(), now, nil}
	if !unlocks(q, operators) {
		f.exactly(LockEverything, "", "")
		f.exactly(LockTenant, f.tenant, "")
	}
	f.principal(q.Grant.Principal())
	f.anywhere(LockSession, q.Session)
	f.deed(q)
	return f.found
}

// findDeed is find for what a query does, no matter for whom and where.
func (s lockSet) findDeed(q *Query, now time.Time) *Lock {
	f := finder{s, q.Grant.Tenant(), now, nil}
	f.deed(q)
	return f.found
}

// findPerson is find for who somebody is, no matter what they do.
func (s lockSet) findPerson(p identity.Principal, now time.Time) *Lock {
	f := finder{s, p.Tenant(), now, nil}
	f.principal(p)
	return f.found
}

// unlocks reports whether the query is an operator's way out of a lock on
// everything: without it nobody could ever lift one.
func unlocks(q *Query, operators string) bool {
	switch q.Action {
	case "lock", "unlock", "list_locks":
		return operators != "" && q.Grant.Tenant() == operators && q.Grant.Principal().User != nil
	}
	return false
}

// finder looks the facts of one query up.
type finder struct {
	set    lockSet
	tenant string
	now    time.Time
	found  *Lock
}

func (f *finder) principal(p identity.Principal) {
	if u := p.User; u != nil {
		f.exactly(LockUser, f.tenant, u.Subject)
		f.anywhere(LockToken, u.TokenID)
		f.anywhere(LockToken, u.Thumbprint)
	}
	if w := p.Workload; w != nil {
		f.anywhere(LockWorkload, w.ID)
		f.anywhere(LockToken, w.TokenID)
		f.anywhere(LockToken, w.TokenThumbprint)
	}
}

func (f *finder) deed(q *Query) {
	for agent := range q.Grant.Agents() {
		f.anywhere(LockAgent, agent)
	}
	switch q.Resource.Type {
	case "Agent", "GroupChat":
		f.anywhere(LockAgent, q.Resource.ID)
	case "Session":
		f.anywhere(LockSession, q.Resource.ID)
	case "Tool":
		f.anywhere(LockTool, q.Resource.ID)
	}
}

// anywhere looks for a lock on a name in the query's tenant, and in all.
func (f *finder) anywhere(kind LockKind, id string) {
	if id == "" {
		return
	}
	f.exactly(kind, f.tenant, id)
	f.exactly(kind, "", id)
}

func (f *finder) exactly(kind LockKind, tenant, id string) {
	if f.found != nil {
		return
	}
	if l := f.set[LockTarget{kind, tenant, id}]; l != nil && !l.over(f.now) {
		f.found = l
	}
}
