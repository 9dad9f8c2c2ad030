package server_test

import (
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
)

func TestWhoReadsTheAuditLogIsInIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.as(carol)
	b.records(t, &behalfv1.QueryAuditRequest{User: "alice"})
	if _, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, r := range b.records(t, &behalfv1.QueryAuditRequest{User: "carol"}) {
		got = append(got, r.GetAction()+" "+r.GetDecision().String())
	}

	for _, want := range []string{"query_audit DECISION_ALLOW", "verify_audit DECISION_ALLOW"} {
		if !slices.Contains(got, want) {
			t.Errorf("got rows %q, want %q", got, want)
		}
	}
	a := w.as(alice)
	stream, err := a.audit().QueryAudit(a.ctx(t), &behalfv1.QueryAuditRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	if rows := a.deniedRows(t, b); len(rows) != 1 || rows[0].GetAction() != "query_audit" {
		t.Errorf("got %v, want the refused reader on record", rows)
	}
}

func TestRefusalsOfAPersonAreBoundedOverAllRPCs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.DenialsPerMinute = 3 }})
	a, b := w.as(alice), w.as(bob)
	audit := func() error {
		stream, err := a.audit().QueryAudit(a.ctx(t), &behalfv1.QueryAuditRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	session := func() error {
		_, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa"})
		return err
	}
	wantError(t, audit(), codes.PermissionDenied, "POLICY_DENIED")
	wantError(t, session(), codes.NotFound, "NOT_FOUND")
	wantError(t, audit(), codes.PermissionDenied, "POLICY_DENIED")

	for range 20 {
		wantError(t, audit(), codes.ResourceExhausted, "RATE_LIMITED")
		wantError(t, session(), codes.ResourceExhausted, "RATE_LIMITED")
	}

	w.hello(a, "") // what she may do goes on
	if rows := a.deniedRows(t, b); len(rows) != 4 {
		t.Errorf("got %d rows, want three refusals and the first beyond", len(rows))
	}
}

func TestVerifyTellsOfTheCallersTenantAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	both := map[string]*client{"acme": w.as(carol), "globex": w.as(erin)}
	for _, c := range both {
		c.records(t, &behalfv1.QueryAuditRequest{}) // which is on record
	}
	for tenant, c := range both {
		got, err := c.audit().VerifyAudit(c.ctx(t), &behalfv1.VerifyAuditRequest{})
		if err != nil {
			t.Fatal(err)
		}
		own := slices.ContainsFunc(c.records(t, &behalfv1.QueryAuditRequest{}), func(r *behalfv1.AuditRecord) bool {
			return r.GetTenant() == tenant && r.GetSequence() == got.GetHeadSequence() && r.GetHash() == got.GetHeadHash()
		})
		if !own {
			t.Errorf("%s: got %v, want the head of its own chain", tenant, got)
		}
	}
}
