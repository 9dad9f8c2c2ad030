package audit

import (
	"crypto/subtle"
	"fmt"
	"math"
	"time"

	"github.com/behalf-dev/behalf/fault"
)

// Approval is the question whether one exact call may be made, and its answer, in
// plain values. What is asked never changes; a sink keeps it with the row that
// says that the call waits.
type Approval struct {
	ID, Tenant string
	Requester  User   // whose authority the call uses; empty for a workload that calls alone
	Parties    []User // who must be allowed it too, and in whose turn it is another's authority; none of them decides
	Workload   string // SPIFFE ID, empty without a client certificate
	Chain      []string
	Tool       string
	Arguments  string // JSON text as it will be sent: what a policy takes out is not in it
	Digest     string // what the approval is bound to; see policy.Guard
	SentDigest string // arguments_digest of the rows
	Approvers  []string
	PolicyIDs  []string
	Revision   string // of the policies that asked
	RunID      string // the run that waits; empty for a direct call
	SessionID  string
	CallID     string
	Created    int64 // nanoseconds
	Expires    int64
	State      string // as stored; see At
	Answer
	Decided int64
	UsedBy  string // the call that took it
}

// Answer is what a person says to an approval, and by what they said it: if one of
// these is locked later, it may not have been them.
type Answer struct {
	Approver           User   // who decided
	ApproverName       string // to show
	Comment            string
	ApproverToken      string // its `jti`, empty when it has none
	ApproverThumbprint string // of the token
	ApproverWorkload   string // the SPIFFE ID of their client, empty without a certificate
}

// States of an approval.
const (
	Pending  = "pending"
	Approved = "approved"
	Refused  = "denied"
	Lapsed   = "expired" // never stored: time does it
	Used     = "consumed"
)

// At is the approval's state at a time: what nobody decided, or used, in time has
// expired.
func (a *Approval) At(now time.Time) string {
	if (a.State == Pending || a.State == Approved) && now.UnixNano() >= a.Expires {
		return Lapsed
	}
	return a.State
}

// Asker names whose pending approvals are counted together.
func (a *Approval) Asker() string {
	if a.Requester.Subject != "" {
		return a.Requester.Issuer + "\x00" + a.Requester.Subject
	}
	return "\x00" + a.Workload
}

// Ask stores a new approval together with the row that says that its call waits,
// unless its asker has Limit pending ones.
type Ask struct {
	Approval Approval
	Limit    int
}

// Take uses an approval up together with the row that allows its call.
type Take struct{ ID, Digest, Call string }

// Desk keeps approvals. A sink gives one to Claim inside its transaction.
type Desk interface {
	// PendingApprovals counts what the asker waits for, and says when the next of
	// them ends.
	PendingApprovals(tenant, asker string, now int64) (n int, ends int64, err error)
	// AddApproval stores a new one; false: the call has asked before.
	AddApproval(a *Approval) (bool, error)
	// ApprovalToTake finds an approval of the tenant; false: there is none.
	ApprovalToTake(tenant, id string) (Approval, bool, error)
	UseApproval(tenant, id, call string) error
}

// claims is what a sink's transaction offers to an entry.
type claims interface {
	Ledger
	Desk
}

// Claim takes what the entry asks for: reservations, an approval, a place among
// the pending ones. If one of them is not to be had nothing is taken, and the
// record becomes a denial that says why. The caller seals the record either way.
func (e Entry) Claim(c claims, now time.Time) (*Exhausted, error) {
	full, err := e.claim(c, now)
	if full != nil {
		e.exhaust(full)
	}
	return full, err
}

func (e Entry) claim(c claims, now time.Time) (*Exhausted, error) {
	switch {
	case e.Ask != nil:
		return e.ask(c, now)
	case e.Take == nil && len(e.Reserve) == 0:
		return nil, nil
	case e.Take == nil:
		return Reserve(c, now, e.Reserve)
	}
	if full, err := e.Take.check(c, e.Record.Tenant, now); full != nil || err != nil {
		return full, err
	}
	if full, err := Reserve(c, now, e.Reserve); full != nil || err != nil {
		return full, err
	}
	return nil, c.UseApproval(e.Record.Tenant, e.Take.ID, e.Take.Call)
}

// ask bothers nobody for a call that could not be made now: its reservations are
// tried, and made when the approval is used.
func (e Entry) ask(c claims, now time.Time) (*Exhausted, error) {
	if full, err := Reserve(trial{c}, now, e.Reserve); full != nil || err != nil {
		return full, err
	}
	a := &e.Ask.Approval
	n, ends, err := c.PendingApprovals(a.Tenant, a.Asker(), now.UnixNano())
	if err != nil {
		return nil, fmt.Errorf("count approvals: %w", err)
	}
	if n >= e.Ask.Limit {
		return &Exhausted{Bucket: "pending approvals", Reason: string(fault.StreamLimit), RetryAfter: time.Duration(ends - now.UnixNano())}, nil
	}
	if added, err := c.AddApproval(a); err != nil || added {
		return nil, err
	}
	return &Exhausted{Bucket: "approval of the call", Reason: string(fault.SessionBusy)}, nil // somebody else makes the same call
}

func (t *Take) check(c claims, tenant string, now time.Time) (*Exhausted, error) {
	a, found, err := c.ApprovalToTake(tenant, t.ID)
	if err != nil {
		return nil, fmt.Errorf("find approval: %w", err)
	}
	if !found {
		return &Exhausted{Bucket: "approval", Reason: string(fault.NotFound)}, nil
	}
	if reason := a.Refusal(t.Digest, now); reason != "" {
		return &Exhausted{Bucket: "approval", Reason: string(reason)}, nil
	}
	return nil, nil
}

// Refusal says why the approval does not let a call with this digest happen now;
// empty: it does.
func (a *Approval) Refusal(digest string, now time.Time) fault.Reason {
	if subtle.ConstantTimeCompare([]byte(a.Digest), []byte(digest)) != 1 {
		return fault.ApprovalDigestMismatch
	}
	switch a.At(now) {
	case Approved:
		return ""
	case Pending:
		return fault.ApprovalRequired
	case Refused:
		return fault.ApprovalDenied
	case Lapsed:
		return fault.ApprovalExpired
	}
	return fault.ApprovalConsumed
}

// trial is a ledger in which nothing is written.
type trial struct{ Ledger }

func (trial) Put(string, Spend, int64) error { return nil }

// check refuses what cannot be stored or taken.
func (e Entry) checkApproval() error {
	switch a := e.Ask; {
	case e.Ask != nil && e.Take != nil:
		return fmt.Errorf("%w: it asks for an approval and takes one", ErrEntry)
	case a != nil && (a.Approval.ID == "" || a.Approval.Tenant != e.Record.Tenant || a.Approval.Expires <= a.Approval.Created || a.Approval.State != Pending || a.Approval.Expires == math.MaxInt64):
		return fmt.Errorf("%w: approval %q", ErrEntry, a.Approval.ID)
	case e.Take != nil && (e.Take.ID == "" || e.Take.Digest == ""):
		return fmt.Errorf("%w: nothing is said of the approval to take", ErrEntry)
	}
	return nil
}

// Decide gives the approval as a person's answer leaves it, or why the
// answer comes too late. A sink calls it inside its transaction.
func (a Approval) Decide(yes bool, by Answer, now time.Time) (Approval, fault.Reason) {
	switch a.At(now) {
	case Pending:
	case Lapsed:
		return a, fault.ApprovalExpired
	default:
		return a, fault.ApprovalConsumed
	}
	a.State = Refused
	if yes {
		a.State = Approved
	}
	a.Answer, a.Decided = by, now.UnixNano()
	return a, ""
}
