package server_test

import (
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/policy"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestReloadedPoliciesDecideTheNextCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b := w.as(alice), w.as(bob)
	status := func() *behalfv1.GetStatusResponse {
		r, err := b.admin().GetStatus(b.ctx(t), &behalfv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := status().GetPolicyRevision()
	w.policy("closed.cedar", `@id("desk-is-closed") forbid (principal in Role::"support", action == Action::"run_agent", resource);`)
	w.hello(a, "") // a file alone changes nothing

	r, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	if err != nil {
		t.Fatal(err)
	}

	_, err = a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello"})
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	if got := status().GetPolicyRevision(); got == before || got != r.GetPolicyRevision() {
		t.Errorf("got revision %q, want that of the answer, %q, and not the old %q", got, r.GetPolicyRevision(), before)
	}
	rows := a.deniedRows(t, b)
	if len(rows) != 1 || rows[0].GetPolicyRevision() != r.GetPolicyRevision() || !slices.Contains(rows[0].GetPolicyIds(), "desk-is-closed") {
		t.Errorf("got %v, want the denial under the new revision", rows)
	}
}

// deniedRows are what the log has denied to alice, as b reads it.
func (c *client) deniedRows(t *testing.T, b *client) []*behalfv1.AuditRecord {
	t.Helper()
	return b.records(t, &behalfv1.QueryAuditRequest{User: "alice", Decision: behalfv1.Decision_DECISION_DENY})
}

func TestPoliciesThatAreRefusedLeaveTheOldOnesInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b := w.as(alice), w.as(bob)
	w.policy("closed.cedar", `@id("desk-is-closed") forbid (principal, action == Action::"run_agnet", resource);`)

	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.FailedPrecondition, "POLICY_ERROR")
	if strings.Contains(err.Error(), w.dir) {
		t.Errorf("got %v, want no path in it", err)
	}
	w.hello(a, "")
}

func TestPoliciesWhoseTestsFailLeaveTheOldOnesInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{tested: true})
	a, b := w.as(alice), w.as(bob)
	w.policy("closed.cedar", `@id("desk-is-closed") forbid (principal in Role::"support", action == Action::"run_agent", resource);`)

	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.FailedPrecondition, "POLICY_ERROR")
	var fields []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, f := range bad.GetFieldViolations() {
				fields = append(fields, f.GetField()+": "+f.GetDescription())
			}
		}
	}
	want := `desk.policytest.yaml:4: case "a support agent runs the desk": decision: got deny, want allow (POLICY_DENIED by desk-is-closed); policies: got desk-is-closed, want staff-may-run-the-desk`
	if !slices.Equal(fields, []string{want}) {
		t.Errorf("got %q\nwant %q", fields, want)
	}
	w.hello(a, "")
}

func TestAServerDoesNotStartWithPoliciesWhoseTestsFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{tested: true})
	w.policy("closed.cedar", `@id("desk-is-closed") forbid (principal in Role::"support", action == Action::"run_agent", resource);`)
	desk, err := supportdesk.New()
	if err != nil {
		t.Fatal(err)
	}

	_, err = behalf.New(t.Context(), w.config(), behalf.WithTools("supportdesk", desk.Tools()...))

	if p, ok := errors.AsType[*policy.Problem](err); !ok || p.Inside != "desk.policytest.yaml" || p.Line != 4 {
		t.Errorf("got %v, want the case that fails", err)
	}
}

func TestOnlyOperatorsReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	e := w.as(erin) // a manager, so policy permits it, in another tenant

	_, err := e.admin().ReloadConfig(e.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
}

func TestWithoutAnOperatorTenantNobodyReloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.OperatorTenant = "" }})
	b := w.as(bob)

	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
}

func TestWhoAmISaysWhatWasVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	svid := w.workload(w.acme, "/app")
	exp, at := time.Now().Add(10*time.Minute).Truncate(time.Second), time.Now().Add(-time.Minute).Truncate(time.Second)
	app := &behalfv1.Workload{SpiffeId: svid.ID, TrustDomain: acmeDomain, LeafThumbprint: svid.Thumbprint, NotAfter: timestamppb.New(svid.NotAfter)}
	token := w.token(w.idp, dave, map[string]any{"exp": exp.Unix(), "auth_time": at.Unix(), "acr": "mfa", "amr": []string{"pwd", "otp"}})

	for _, c := range []struct {
		name string
		*client
		want *behalfv1.WhoAmIResponse
	}{
		{"a person through an application", &client{w.dial(svid), bearer(token)}, &behalfv1.WhoAmIResponse{
			User:     &behalfv1.User{Issuer: acmeIssuer, Subject: "dave", Tenant: "acme", Email: "dave@example.test", Name: "DAVE"},
			Workload: app, Tenant: "acme", Scopes: &behalfv1.Scopes{Values: []string{"crm.read"}}, Roles: []string{"support"},
			ExpiresAt: timestamppb.New(exp), ServerVersion: "test", Auth: &behalfv1.Auth{Acr: "mfa", Amr: []string{"pwd", "otp"}, Time: timestamppb.New(at)},
		}},
		{"an application alone", &client{w.dial(svid), nil}, &behalfv1.WhoAmIResponse{
			Workload: app, Tenant: "acme", Scopes: &behalfv1.Scopes{Values: []string{"crm.read"}}, ExpiresAt: timestamppb.New(svid.NotAfter), ServerVersion: "test",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})
			if err != nil {
				t.Fatal(err)
			}

			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQueryAuditShowsTheCallersTenantAndNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.hello(w.as(alice), "")
	w.hello(w.as(erin), "")

	for _, p := range []person{carol, erin} {
		tenant := map[string]string{"carol": "acme", "erin": "globex"}[p.subject]
		c := w.as(p)
		all := c.records(t, &behalfv1.QueryAuditRequest{})
		if len(all) == 0 || slices.ContainsFunc(all, func(r *behalfv1.AuditRecord) bool { return r.GetTenant() != tenant }) {
			t.Errorf("%s got %d rows, want those of %s", p.subject, len(all), tenant)
		}
		for i, r := range all {
			if r.GetSequence() != int64(i)+1 {
				t.Errorf("%s got sequence %d, want %d", p.subject, r.GetSequence(), i+1)
			}
		}
	}
	if rows := w.as(carol).records(t, &behalfv1.QueryAuditRequest{User: "erin"}); len(rows) > 0 {
		t.Errorf("carol got %v of a person of another tenant", rows)
	}
}

func TestQueryAuditFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b, c := w.as(alice), w.as(bob), w.as(carol)
	hers, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: refundIt})
	if err != nil {
		t.Fatal(err)
	}
	w.hello(b, "")
	all := c.records(t, &behalfv1.QueryAuditRequest{})
	middle := all[len(all)/2].GetTime()

	for _, f := range []struct {
		name  string
		query *behalfv1.QueryAuditRequest
		match func(*behalfv1.AuditRecord) bool
	}{
		{"user", &behalfv1.QueryAuditRequest{User: "alice"}, func(r *behalfv1.AuditRecord) bool { return r.GetUser().GetSubject() == "alice" }},
		{"tool", &behalfv1.QueryAuditRequest{Tool: "refund_order"}, func(r *behalfv1.AuditRecord) bool { return r.GetTool() == "refund_order" }},
		{"agent", &behalfv1.QueryAuditRequest{Agent: "billing"}, func(r *behalfv1.AuditRecord) bool { return r.GetAgent() == "billing" }},
		{"decision", &behalfv1.QueryAuditRequest{Decision: behalfv1.Decision_DECISION_DENY}, func(r *behalfv1.AuditRecord) bool {
			return r.GetDecision() == behalfv1.Decision_DECISION_DENY
		}},
		{"run", &behalfv1.QueryAuditRequest{RunId: hers.GetRunId()}, func(r *behalfv1.AuditRecord) bool { return r.GetRunId() == hers.GetRunId() }},
		{"session", &behalfv1.QueryAuditRequest{SessionId: hers.GetSessionId()}, func(r *behalfv1.AuditRecord) bool { return r.GetSessionId() == hers.GetSessionId() }},
		{"since", &behalfv1.QueryAuditRequest{Since: middle}, func(r *behalfv1.AuditRecord) bool { return !r.GetTime().AsTime().Before(middle.AsTime()) }},
		{"until", &behalfv1.QueryAuditRequest{Until: middle}, func(r *behalfv1.AuditRecord) bool { return r.GetTime().AsTime().Before(middle.AsTime()) }},
		{"two at once", &behalfv1.QueryAuditRequest{User: "alice", Tool: "get_customer"}, func(r *behalfv1.AuditRecord) bool {
			return r.GetUser().GetSubject() == "alice" && r.GetTool() == "get_customer"
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			want := slices.DeleteFunc(slices.Clone(all), func(r *behalfv1.AuditRecord) bool { return !f.match(r) })
			got := c.records(t, f.query)
			// Each query is a row itself; those came after `all`.
			got = slices.DeleteFunc(got, func(r *behalfv1.AuditRecord) bool { return r.GetSequence() > all[len(all)-1].GetSequence() })

			if len(want) == 0 {
				t.Fatal("nothing matches, so the test proves nothing")
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := c.records(t, &behalfv1.QueryAuditRequest{Limit: 3, Until: timestamppb.New(time.Now().Add(time.Hour))}); len(got) != 3 {
		t.Errorf("got %d rows with a limit of 3", len(got))
	}
}

// TestTheAuditLogTellsTheWholeCall shows what an auditor reads about one denied call.
func TestTheAuditLogTellsTheWholeCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, c := w.as(alice), w.as(carol)
	run, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: refundIt})
	if err != nil {
		t.Fatal(err)
	}

	rows := c.records(t, &behalfv1.QueryAuditRequest{Tool: "refund_order"})

	if len(rows) != 1 {
		t.Fatalf("got %d rows, want the one denial", len(rows))
	}
	got := rows[0]
	for _, f := range []struct {
		name string
		ok   bool
	}{
		{"user", got.GetUser().GetIssuer() == acmeIssuer && got.GetUser().GetSubject() == "alice"},
		{"workload", got.GetWorkload() == "spiffe://acme.test/app" && got.GetLeafThumbprint() != ""},
		{"chain", got.GetAgent() == "billing" && slices.Equal(got.GetDelegationChain(), []string{"triage", "billing"})},
		{"call", got.GetRunId() == run.GetRunId() && got.GetSessionId() == run.GetSessionId() && strings.HasPrefix(got.GetCallId(), run.GetRunId()+"/")},
		{"decision", got.GetDecision() == behalfv1.Decision_DECISION_DENY && got.GetReason() == behalfv1.ErrorReason_ERROR_REASON_POLICY_DENIED},
		{"policies", slices.Contains(got.GetPolicyIds(), "large-refunds-need-a-manager") && got.GetPolicyRevision() != ""},
		{"arguments", strings.Contains(got.GetRedactedArgumentsJson(), "74900") && got.GetArgumentsDigest() != ""},
		{"tier", got.GetTier() == behalfv1.Tier_TIER_SUBAGENT},
		{"ids", got.GetTokenId() != "" && got.GetTraceId() != "" && got.GetGrantId() != "" && got.GetDescriptorHash() != ""},
		{"chain of hashes", got.GetHash() != "" && got.GetPreviousHash() != ""},
	} {
		if !f.ok {
			t.Errorf("%s is wrong in %v", f.name, got)
		}
	}
}

// One id joins what a call left behind: its rows, those of what it called, and what
// its caller was told.
func TestOneTraceIDJoinsACallItsRowsAndItsAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	run, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: refundIt})
	if err != nil {
		t.Fatal(err)
	}
	_, denied := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "no_such_tool", ArgumentsJson: "{}"})

	ids := map[string][]string{}
	for _, r := range w.as(carol).records(t, &behalfv1.QueryAuditRequest{User: "alice"}) {
		ids[r.GetTraceId()] = append(ids[r.GetTraceId()], r.GetAction()+" "+r.GetTool())
	}

	if len(ids) != 2 {
		t.Fatalf("got the ids %v, want one of each call", ids)
	}
	told := ""
	for _, d := range status.Convert(denied).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			told = i.GetMetadata()["request_id"]
		}
	}
	if rows := ids[told]; len(told) != 32 || !slices.Equal(rows, []string{"call_tool no_such_tool"}) {
		t.Errorf("the caller was told %q, whose rows are %q", told, rows)
	}
	delete(ids, told)
	for id, rows := range ids {
		if !slices.Contains(rows, "run_agent ") || !slices.Contains(rows, "call_tool refund_order") {
			t.Errorf("%s has the rows %q, want those of run %s and of its tools", id, rows, run.GetRunId())
		}
	}
}

func TestVerifyAuditFindsAChangedByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.hello(w.as(alice), "")
	c, e := w.as(carol), w.as(erin)
	w.hello(e, "")
	verify := func(c *client) *behalfv1.VerifyAuditResponse {
		r, err := c.audit().VerifyAudit(c.ctx(t), &behalfv1.VerifyAuditRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := verify(c); !r.GetIntact() || r.GetRecords() < 2 || r.GetHeadSequence() != r.GetRecords() || r.GetHeadHash() == "" || len(r.GetProblems()) > 0 {
		t.Errorf("got %v, want the log intact", r)
	}

	db, err := sql.Open("sqlite", w.db()) // the driver came with the server
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, trigger := range triggers(t, db) { // they stop mistakes, not somebody with the disk
		if _, err := db.Exec("DROP TRIGGER " + trigger); err != nil {
			t.Fatal(err)
		}
	}
	res, err := db.Exec(`UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), '"allow"', '"ALLOW"') AS BLOB) WHERE tenant = 'acme' AND sequence = 1`)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		t.Fatal("nothing was changed, so the test proves nothing")
	}

	if r := verify(c); r.GetIntact() || len(r.GetProblems()) == 0 {
		t.Errorf("got %v, want the change found", r)
	}
	if r := verify(e); strings.Contains(r.String(), "acme") {
		t.Errorf("got %v, want nothing of the other tenant", r)
	}
}

func triggers(t *testing.T, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.Query("SELECT name FROM sqlite_master WHERE type = 'trigger'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}
