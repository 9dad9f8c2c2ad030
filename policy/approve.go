package policy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/engine"
	"google.golang.org/grpc/codes"
)

// Approvals reads the approvals that the sink keeps. What is not there is a fault
// NOT_FOUND.
type Approvals interface {
	Approval(ctx context.Context, tenant, id string) (audit.Approval, error)
	ApprovalOfCall(ctx context.Context, tenant, callID string) (audit.Approval, error)
}

// Awaiting is the cause of an APPROVAL_REQUIRED: the approval that the call waits
// for.
type Awaiting struct{ Approval audit.Approval }

func (a *Awaiting) Error() string { return "waits for " + a.Approval.ID }

// approvers are whom the duties name, sorted: all of them must be the approver.
func approvers(duties []Duty) (who []string) {
	for _, d := range duties {
		if d.Kind == engine.KindApprove {
			who = append(who, d.Text)
		}
	}
	slices.Sort(who)
	return slices.Compact(who)
}

// consent finds the approval that the permit needs, if it needs one, and readies
// it to be taken with the decision's row. An error is the answer to the caller:
// that the call waits, or why it may not happen; it is on record.
func (g *Guard) consent(ctx context.Context, p *Permit) error {
	who := approvers(p.decision.Duties)
	if len(who) == 0 && p.query.Approval == "" {
		return nil
	}
	if g.config.Approvals == nil || p.query.Action != ActionCallTool {
		return g.denyApproval(ctx, p, fault.PolicyDenied)
	}
	a, err := g.findApproval(ctx, p.query)
	switch {
	case err != nil && !errors.Is(err, fault.NotFound):
		return g.cannotRecord(ctx, p.query, err)
	case err != nil && p.query.Approval != "":
		return g.denyApproval(ctx, p, fault.NotFound)
	case err != nil:
		return g.ask(ctx, p, who)
	}
	p.query.Approval = a.ID
	return g.weigh(ctx, p, &a, who)
}

func (g *Guard) findApproval(ctx context.Context, q *Query) (audit.Approval, error) {
	if q.Approval != "" {
		return g.config.Approvals.Approval(ctx, q.Grant.Tenant(), q.Approval)
	}
	return g.config.Approvals.ApprovalOfCall(ctx, q.Grant.Tenant(), q.Call)
}

// weigh holds an approval against the call. What it finds is found again where the
// approval is taken: here it only decides whom to tell what.
func (g *Guard) weigh(ctx context.Context, p *Permit, a *audit.Approval, who []string) error {
	digest := g.binding(p.query, p.sent, a.Expires)
	reason := a.Refusal(digest, p.query.Time)
	again := reason == fault.ApprovalConsumed && p.query.Again && a.UsedBy == p.query.Call
	switch {
	case reason == fault.ApprovalRequired:
		return g.wait(ctx, p, a, nil)
	case reason != "" && !again:
		return g.denyApproval(ctx, p, reason)
	case !covers(a.Approvers, who):
		return g.denyApproval(ctx, p, fault.PolicyDenied) // a policy asks for somebody else by now
	case g.disowned(a):
		return g.denyApproval(ctx, p, fault.ApprovalExpired)
	}
	p.agreed = a
	p.approver, p.ends = personKey(a.Tenant, a.Approver.Subject), time.Unix(0, a.Expires)
	if !again {
		p.take = &audit.Take{ID: a.ID, Digest: digest, Call: p.query.Call}
	}
	return nil
}

// disowned reports whether whoever gave an approval, or what they gave it by, is locked
// by now, or not vouched for any more: what was agreed in their name may not have been
// agreed by them.
func (g *Guard) disowned(a *audit.Approval) bool {
	who := identity.User{
		Tenant: a.Tenant, Issuer: a.Approver.Issuer, Subject: a.Approver.Subject, TokenID: a.ApproverToken, Thumbprint: a.ApproverThumbprint,
	}
	by := identity.Principal{User: &who, Workload: &identity.Workload{ID: a.ApproverWorkload}}
	return g.locks.Load().findPerson(by, g.config.Clock()) != nil || g.distrust(identity.Principal{User: &who}) != nil
}

// agreedStill reports whether the approval that the call has needed still holds.
func (p *Permit) agreedStill() bool { return p.agreed == nil || !p.guard.disowned(p.agreed) }

func covers(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}

func personKey(tenant, subject string) string { return tenant + "/" + subject }

// binding is what an approval is given for: who, with whom, through whom, which tool in which
// version, what is sent, and until when. A tenant without a key has none, and then
// nothing is recorded or approved in it.
func (g *Guard) binding(q *Query, sent []byte, expires int64) string {
	key := g.config.DigestKey(q.Grant.Tenant())
	if len(key) == 0 {
		return ""
	}
	m := hmac.New(sha256.New, key)
	issuer := ""
	p := q.Grant.Principal()
	if p.User != nil {
		issuer = p.User.Issuer
	}
	chain := q.Grant.Chain()
	for _, s := range []string{"approval", q.Grant.Tenant(), issuer, p.Subject(), strconv.Itoa(len(chain))} {
		field(m, s)
	}
	for _, agent := range chain {
		field(m, agent)
	}
	others := parties(q.Grant)
	field(m, strconv.Itoa(len(others)))
	for _, u := range others {
		field(m, u.Issuer)
		field(m, u.Subject)
	}
	for _, s := range []string{q.Resource.ID, q.DescriptorHash, string(sent), strconv.FormatInt(expires, 10)} {
		field(m, s)
	}
	return hex.EncodeToString(m.Sum(nil))
}

// field keeps what follows from being read as part of it.
func field(w io.Writer, s string) { fmt.Fprintf(w, "%d:%s,", len(s), s) }

// ask puts the question to whoever may answer it.
func (g *Guard) ask(ctx context.Context, p *Permit, who []string) error {
	a := g.question(p, who)
	return g.wait(ctx, p, &a, &audit.Ask{Approval: a, Limit: g.config.MaxPending})
}

// wait records that the call waits, together with the question if it is new. It is
// there for the approver when wait returns.
func (g *Guard) wait(ctx context.Context, p *Permit, a *audit.Approval, ask *audit.Ask) error {
	row := recordOf(p.query, p.query.Time)
	addDecision(row, p.decision)
	row.Decision, row.Reason, row.ApprovalID = audit.Wait, string(fault.ApprovalRequired), a.ID
	if err := g.addArguments(row, p.sent, p.sent); err != nil {
		return g.cannotRecord(ctx, p.query, err)
	}
	entry := audit.Entry{Record: row, Ask: ask}
	if ask != nil {
		entry.Reserve = p.reserved
	}
	err := g.await(context.WithoutCancel(ctx), g.config.Sink.Append(entry))
	if full, ok := errors.AsType[*audit.Exhausted](err); ok {
		return exhausted(full).With("decision_id", p.query.Call)
	}
	if err != nil {
		return g.cannotRecord(ctx, p.query, err)
	}
	return awaiting(p.query, a)
}

func (g *Guard) question(p *Permit, who []string) audit.Approval {
	q := p.query
	expires := q.Time.Add(g.config.ApprovalLife).UnixNano()
	a := audit.Approval{
		ID: newApprovalID(), Tenant: q.Grant.Tenant(), Chain: q.Grant.Chain(), Tool: q.Resource.ID, Arguments: string(p.sent),
		Digest: g.binding(q, p.sent, expires), SentDigest: g.Digest(q.Grant.Tenant(), p.sent), Approvers: who,
		PolicyIDs: askedBy(p.decision.Duties), Revision: p.decision.Revision, SessionID: q.Session, CallID: q.Call,
		Created: q.Time.UnixNano(), Expires: expires, State: audit.Pending, Parties: parties(q.Grant),
	}
	if len(a.Chain) > 0 && !q.Direct { // a direct call has no run that waits
		a.RunID = q.Run
	}
	asker := q.Grant.Principal()
	if u := asker.User; u != nil {
		a.Requester = audit.User{Issuer: u.Issuer, Subject: u.Subject, Email: u.Email}
	}
	if w := asker.Workload; w != nil {
		a.Workload = w.ID
	}
	return a
}

func askedBy(duties []Duty) (ids []string) {
	for _, d := range duties {
		if d.Kind == engine.KindApprove {
			ids = append(ids, d.PolicyID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// newApprovalID is apr_ and 128 random bits, as all ids of DESIGN 9 are.
func newApprovalID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails, or the process ends
	return "apr_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

func (g *Guard) denyApproval(ctx context.Context, p *Permit, reason fault.Reason) error {
	return g.deny(ctx, p.engine, p.query, turned(p.decision, reason))
}

func awaiting(q *Query, a *audit.Approval) error {
	f := fault.New(codes.FailedPrecondition, fault.ApprovalRequired, "somebody else must approve this call; repeat it with the approval's id when they have").
		With("approval_id", a.ID).With("expires_at", time.Unix(0, a.Expires).UTC().Format(time.RFC3339)).With("decision_id", q.Call)
	if a.RunID != "" {
		f = f.With("run_id", a.RunID)
	}
	return f.With("tool", a.Tool).Because(&Awaiting{*a})
}

// Why somebody may not decide an approval.
var (
	errOwnApproval = fault.New(codes.PermissionDenied, fault.PolicyDenied, "nobody approves their own call; ask somebody else")
	errNotApprover = fault.New(codes.PermissionDenied, fault.PolicyDenied, "you are not among those who may decide this")
)

// Approver says whether the grant's person is one who may decide: a person of the
// tenant, another than the requester, and all that the policies ask for. That
// policy permits decide_approval is asked apart (MayDecide, or the RPC's rule).
func Approver(g identity.Grant, a *audit.Approval) *fault.Error {
	u := g.Principal().User
	switch {
	case u == nil || u.RolesUnknown || u.Tenant != a.Tenant:
		return errNotApprover
	case Requested(g, a) || alike(u, a):
		return errOwnApproval
	}
	for _, who := range a.Approvers {
		if !isApprover(u, who) {
			return errNotApprover
		}
	}
	return nil
}

// Requested says whether the grant is of one in whose name the call is, or in
// whose turn.
func Requested(g identity.Grant, a *audit.Approval) bool {
	p := g.Principal()
	switch {
	case g.Tenant() != a.Tenant:
		return false
	case p.User != nil:
		me := func(u audit.User) bool { return p.User.Issuer == u.Issuer && p.User.Subject == u.Subject }
		return me(a.Requester) || slices.ContainsFunc(a.Parties, me)
	}
	return a.Requester.Subject == "" && p.Workload != nil && p.Workload.ID == a.Workload
}

// alike is wider than Requested: whoever has two accounts must not agree with
// themselves. The same name in the tenant, or the same address, is taken for the same
// person, whoever issued the token.
func alike(u *identity.User, a *audit.Approval) bool {
	same := func(o audit.User) bool {
		return u.Subject == o.Subject || u.Email != "" && strings.EqualFold(u.Email, o.Email)
	}
	return same(a.Requester) || slices.ContainsFunc(a.Parties, same)
}

func isApprover(u *identity.User, who string) bool {
	kind, quoted, _ := strings.Cut(who, "::")
	name, err := strconv.Unquote(quoted)
	switch {
	case err != nil:
		return false
	case kind == string(engine.TypeRole):
		return slices.Contains(u.Roles, name)
	}
	return kind == string(engine.TypeUser) && name == personKey(u.Tenant, u.Subject)
}

// ApprovalEntity is an approval as policies see it.
func ApprovalEntity(a *audit.Approval) Entity {
	subject := a.Requester.Subject
	if subject == "" {
		subject = a.Workload
	}
	e := Entity{Type: string(engine.TypeApproval), ID: a.ID, Owner: personKey(a.Tenant, subject), Parents: []Entity{{Type: string(engine.TypeTool), ID: a.Tool}}}
	if a.RunID != "" {
		e.Parents = append(e.Parents, Entity{Type: string(engine.TypeRun), ID: a.RunID})
	}
	if a.SessionID != "" {
		e.Parents = append(e.Parents, Entity{Type: string(engine.TypeSession), ID: a.SessionID})
	}
	return e
}

// MayDecide says, without a record, whether the grant's person could decide the
// approval, if need be after a step-up. It is for what is shown; the decision itself is asked and recorded.
func (g *Guard) MayDecide(grant identity.Grant, a *audit.Approval) bool {
	e := g.engine.Load()
	if e == nil || Approver(grant, a) != nil {
		return false
	}
	q := &Query{Grant: grant, Action: ActionDecideApproval, Resource: ApprovalEntity(a), Time: g.config.Clock()}
	d := g.decide(e, q)
	return d.Allow || d.Reason == string(fault.StepUpRequired)
}
