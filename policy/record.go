package policy

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/policy/engine"
)

// maxRecorded bounds the arguments that are kept in a record.
const maxRecorded = 4 << 10

// recordOf fills what every row of a query has: who, through whom, where, what.
func recordOf(q *Query, now time.Time) *audit.Record {
	g := q.Grant
	p := g.Principal()
	r := &audit.Record{
		Time: now.UnixNano(), Tenant: recordTenant(q),
		Agent: g.Agent(), Chain: g.Chain(), GrantID: g.ID(), Scopes: g.Scopes().Names(), Tier: string(g.Tier()),
		SessionID: q.Session, RunID: q.Run, TraceID: q.Trace, CallID: q.Call, ApprovalID: q.Approval,
		Action: q.Action, Resource: q.Resource.Name(), ResourceJSON: q.Resource.Kin(), Tool: q.Tool, DescriptorHash: q.DescriptorHash,
		Governed: true,
	}
	if q.Resource.Type == string(engine.TypeApproval) {
		r.ApprovalID = q.Resource.ID
	}
	if u := p.User; u != nil {
		r.User = audit.User{Issuer: u.Issuer, Subject: u.Subject, Email: u.Email}
		r.Roles, r.ACR, r.AMR, r.TokenID = slices.Sorted(slices.Values(u.Roles)), u.ACR, u.AMR, u.TokenID
		r.RolesUnknown = u.RolesUnknown
		if !u.AuthTime.IsZero() {
			r.AuthTime = u.AuthTime.UnixNano()
		}
	}
	if w := p.Workload; w != nil {
		r.Workload, r.LeafThumbprint = w.ID, w.Thumbprint
		r.TokenID = cmp.Or(r.TokenID, w.TokenID) // a call has one token
	}
	return r
}

// recordTenant is whose chain the rows of a query are in.
func recordTenant(q *Query) string { return cmp.Or(q.Grant.Tenant(), "system") }

// addDecision makes the row a decision.
func addDecision(r *audit.Record, d Decision) {
	r.Phase, r.Decision, r.Reason = audit.Decision, audit.Deny, d.Reason
	if d.Allow {
		r.Decision = audit.Allow
	}
	r.PolicyIDs, r.PolicyRevision = d.PolicyIDs, d.Revision
	r.Duties = d.DutyTexts()
}

// outcomeOf makes the outcome row that belongs to a decision row. What the
// decision row says about the decision is not repeated.
func outcomeOf(decision *audit.Record, res Result, started, now time.Time) *audit.Record {
	r := *decision
	r.Phase, r.Time = audit.Outcome, now.UnixNano()
	r.Decision, r.Duties, r.PolicyIDs, r.RedactedArguments, r.ResourceJSON = "", nil, nil, "", ""
	r.Sequence, r.PreviousHash, r.Hash = 0, "", ""
	r.Outcome, r.Reason, r.ResultDigest = res.Outcome, res.Reason, res.Digest
	r.Duration = max(0, int64(now.Sub(started)))
	return &r
}

// forRecord is the text of arguments that a record keeps: at most maxRecorded
// bytes of valid JSON. What is left out says so.
func forRecord(args json.RawMessage) string {
	switch {
	case len(args) == 0:
		return ""
	case len(args) > maxRecorded:
		return fmt.Sprintf(`"[left out: %d bytes]"`, len(args))
	case !json.Valid(args):
		return fmt.Sprintf(`"[not JSON: %d bytes]"`, len(args))
	}
	return string(args)
}

// digest is the keyed hash of bytes: a plain hash of "yes" or of a card number
// could be found by trying.
func digest(key, b []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil))
}
