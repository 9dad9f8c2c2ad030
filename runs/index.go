package runs

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Owner is whose run or session it is: a person, or a workload alone (its SPIFFE
// ID as Subject, no Issuer).
type Owner struct{ Issuer, Subject string }

// RunRecord is a run in the index. The log has the run itself.
type RunRecord struct {
	Tenant        string
	RunID         string
	SessionID     string
	Owner         Owner
	Target        string
	Kind          string // agent, group_chat
	State         string // running, waiting, finished, failed, cancelled
	StopReason    string
	Created       int64 // nanoseconds
	Updated       int64
	RequestID     string // unique per tenant, owner and method for 24 h; empty: none
	Method        string
	RequestDigest string
	Detached      bool
}

// SessionRecord is a session in the index.
type SessionRecord struct {
	Tenant    string
	SessionID string
	Owner     Owner
	Target    string // the first target; a session is bound to it
	Created   int64  // nanoseconds
	Updated   int64
	LastRun   string
	Deleted   bool
	// Authority says whose rights tool calls use: one of the constants; empty:
	// AuthoritySpeaker. It is fixed when the session is made.
	Authority string
}

// GrantRecord is what is kept of a grant: public facts, never a token.
type GrantRecord struct {
	ID       string
	Tenant   string
	Issuer   string
	Subject  string
	Workload string
	// TokenID and Thumbprint name the credential, so that a lock on it also holds
	// for a run that goes on without its caller.
	TokenID    string
	Thumbprint string
	Scopes     []string
	Roles      []string // only unknownRoles when the issuer left them out
	Tier       string
	Chain      []string
	Configured []string // agents of Chain that were the configuration's when it was made
	Email      string
	Name       string
	ACR        string
	AMR        []string
	AuthTime   int64 // nanoseconds
	Expires    int64
	CreatedAt  int64
}

// Kinds of a RunRecord.
const (
	KindAgent     = "agent"
	KindGroupChat = "group_chat"
)

// States of a RunRecord.
const (
	StateRunning   = "running"
	StateWaiting   = "waiting"
	StateFinished  = "finished"
	StateFailed    = "failed"
	StateCancelled = "cancelled"
)

// Index finds runs and sessions without reading logs. What it says about a
// run's state may lag behind the log, which is the truth. What is not there is
// a fault NOT_FOUND. All methods may be called by many goroutines.
//
// It is as wide as what the engine asks of one table each; a store has it
// anyway.
type Index interface {
	// Begin stores what a new run needs, all or nothing: its session (an existing
	// one has its LastRun replaced), the run as PutRun does, and its grant unless
	// that is nil. Where the owner has no room for it nothing is stored, however many
	// begin at once: TooManySessions or TooManyRuns says so.
	Begin(ctx context.Context, s SessionRecord, r RunRecord, g *GrantRecord, room Room) error
	// PutRun stores a run and claims its request id, both or neither; it fails
	// when another run of the same owner and method has claimed it. A run that
	// exists has its State, StopReason, Updated and Detached replaced.
	PutRun(ctx context.Context, r RunRecord) error
	// UpdateRunState moves a run on. It need not wait for the disk, but this
	// process sees the new state from then on.
	UpdateRunState(ctx context.Context, tenant, runID, state, stopReason string) error
	RunByID(ctx context.Context, tenant, runID string) (RunRecord, error)
	// RequestID finds the run that claimed a request id in the last 24 hours.
	RequestID(ctx context.Context, tenant string, o Owner, method, requestID string) (runID, digest string, ok bool, err error)
	// ListRuns gives the owner's runs, newest first, those behind the run after.
	ListRuns(ctx context.Context, tenant string, o Owner, after string, limit int) ([]RunRecord, error)
	// OpenRuns gives the runs of all tenants that are running or waiting.
	OpenRuns(ctx context.Context) ([]RunRecord, error)

	PutSession(ctx context.Context, s SessionRecord) error
	SessionByID(ctx context.Context, tenant, sessionID string) (SessionRecord, error)
	DeleteSession(ctx context.Context, tenant, sessionID string) error
	ListSessions(ctx context.Context, tenant string, o Owner, after string, limit int) ([]SessionRecord, error)
}

// Room is what one owner may have; 0 is not counted.
type Room struct {
	Sessions int // that are kept, a new one among them
	Detached int // detached runs at work or in the queue, a new one among them
}

// TooManySessions is the answer to who keeps as many sessions as they may.
func TooManySessions(most int, oldest string) error {
	return fault.New(codes.ResourceExhausted, fault.StreamLimit, "you keep as many sessions as you may; delete some that you need no more with DeleteSession, or go on in one that you have").
		With("limit", strconv.Itoa(most)).With("oldest_session_id", oldest)
}

// TooManyRuns is the answer to who has as many runs in the queue as they may.
func TooManyRuns(most int) error {
	return fault.New(codes.ResourceExhausted, fault.StreamLimit, "as many of your detached runs as you may have are at work or wait for their turn; wait until one has ended, or cancel one").
		With("limit", strconv.Itoa(most))
}

// Grants keeps what runs act with, so that they can go on without their caller.
type Grants interface {
	// PutGrant stores a grant or refreshes it. A grant stays its person's.
	PutGrant(ctx context.Context, g GrantRecord) error
	Grant(ctx context.Context, id string) (GrantRecord, error)
}

// OwnerOf names who a grant belongs to.
func OwnerOf(g identity.Grant) Owner {
	p := g.Principal()
	o := Owner{Subject: p.Subject()}
	if p.User != nil {
		o.Issuer = p.User.Issuer
	}
	return o
}

// unknownRoles stands in a GrantRecord for identity.User.RolesUnknown: a person
// whose roles nobody knows must not come back as one without roles. No role has
// this name, because a verified role is printable.
const unknownRoles = "\troles-unknown"

// RecordOf is what is kept of a grant.
func RecordOf(g identity.Grant, now time.Time) GrantRecord {
	p := g.Principal()
	r := GrantRecord{
		ID: g.ID(), Tenant: g.Tenant(), Scopes: g.Scopes().Names(), Tier: string(g.Tier()), Chain: g.Chain(),
		Expires: unixNano(g.Expires()), CreatedAt: unixNano(now),
	}
	if u := p.User; u != nil {
		r.Issuer, r.Subject, r.Email, r.Name = u.Issuer, u.Subject, u.Email, u.Name
		r.TokenID, r.Thumbprint = u.TokenID, u.Thumbprint
		r.Roles, r.ACR, r.AMR, r.AuthTime = slices.Clone(u.Roles), u.ACR, slices.Clone(u.AMR), unixNano(u.AuthTime)
		if u.RolesUnknown {
			r.Roles = []string{unknownRoles}
		}
	}
	if p.Workload != nil {
		r.Workload = p.Workload.ID
		if p.User == nil {
			r.TokenID, r.Thumbprint = p.Workload.TokenID, p.Workload.TokenThumbprint
		}
	}
	return r
}

// Restore makes the grant again, as narrow as it was kept. The workload's leaf is
// not kept: its end bounds the connection, not the run.
func (r GrantRecord) Restore() identity.Grant {
	expires, scopes := fromNano(r.Expires), identity.NewScopes(r.Scopes...)
	var p identity.Principal
	if r.Subject != "" {
		p.User = &identity.User{
			Issuer: r.Issuer, Subject: r.Subject, Tenant: r.Tenant, Email: r.Email, Name: r.Name,
			Roles: slices.Clone(r.Roles), Scopes: scopes, ACR: r.ACR, AMR: slices.Clone(r.AMR), AuthTime: fromNano(r.AuthTime), Expires: expires,
			TokenID: r.TokenID, Thumbprint: r.Thumbprint,
		}
		if slices.Contains(r.Roles, unknownRoles) {
			p.User.Roles, p.User.RolesUnknown = nil, true
		}
	}
	if r.Workload != "" {
		p.Workload = &identity.Workload{ID: r.Workload, TrustDomain: identity.DomainOf(r.Workload)}
		if p.User == nil {
			p.Workload.Tenant, p.Workload.Scopes, p.Workload.NotAfter = r.Tenant, scopes, expires
			p.Workload.TokenID, p.Workload.TokenThumbprint = r.TokenID, r.Thumbprint
		}
	}
	g := identity.Root(r.ID, p, nil, identity.Tier(r.Tier))
	for _, agent := range r.Chain {
		if child, err := g.Child(agent, nil, identity.MaxChain); err == nil {
			g = child
		}
	}
	return g
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
