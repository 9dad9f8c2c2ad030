package server_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// denial is how the log has a call that was refused.
type denial struct{ action, resource, reason string }

// denials are the caller's own refused calls, in the order of the actions.
func (c *client) denials(t *testing.T, user string) (out []denial) {
	t.Helper()
	for _, r := range c.records(t, &behalfv1.QueryAuditRequest{User: user, Decision: behalfv1.Decision_DECISION_DENY}) {
		out = append(out, denial{r.GetAction(), r.GetResource(), strings.TrimPrefix(r.GetReason().String(), "ERROR_REASON_")})
	}
	slices.SortFunc(out, func(a, b denial) int {
		return cmp.Or(cmp.Compare(a.action, b.action), cmp.Compare(a.resource, b.resource))
	})
	return out
}

// compare allows denials to be compared.
var compare = gocmp.AllowUnexported(denial{})

func runOf(agent string) *behalfv1.CreateRunRequest {
	return &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: agent}, Input: "hello"}
}

func TestATenantMismatchIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b := w.as(alice), w.as(bob)
	create := runOf("triage")
	create.Tenant = "globex"

	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", Tenant: "globex"})
	wantError(t, err, codes.PermissionDenied, "TENANT_MISMATCH")
	_, err = a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello", Tenant: "globex"})
	wantError(t, err, codes.PermissionDenied, "TENANT_MISMATCH")
	_, err = a.runs().CreateRun(a.ctx(t), create)
	wantError(t, err, codes.PermissionDenied, "TENANT_MISMATCH")
	_, err = a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, Tenant: "globex"})
	wantError(t, err, codes.PermissionDenied, "TENANT_MISMATCH")

	want := []denial{
		{"call_tool", `Tool::"get_customer"`, "TENANT_MISMATCH"},
		{"run_agent", `Agent::"support"`, "TENANT_MISMATCH"},
		{"run_agent", `Agent::"triage"`, "TENANT_MISMATCH"},
		{"run_agent", `Agent::"triage"`, "TENANT_MISMATCH"},
	}
	if diff := gocmp.Diff(want, b.denials(t, "alice"), compare); diff != "" {
		t.Errorf("what the log has of alice (-want +got):\n%s", diff)
	}
	if e := w.as(erin); len(e.denials(t, "alice")) > 0 {
		t.Error("the tenant that she named has the rows")
	}
}

func TestWhatIsNotThereForTheCallerIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	hers := w.hello(w.as(alice), "")
	run, session := hers.GetRunId(), hers.GetSessionId()
	e := w.as(erin)

	_, err := e.runs().GetRun(e.ctx(t), &behalfv1.GetRunRequest{RunId: run})
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	_, err = e.runs().CancelRun(e.ctx(t), &behalfv1.CancelRunRequest{RunId: run})
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	s, err := e.runs().WatchRun(e.ctx(t), &behalfv1.WatchRunRequest{RunId: run})
	if err != nil {
		t.Fatal(err)
	}
	_, err = messages(s)
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	_, err = e.sessions().GetSession(e.ctx(t), &behalfv1.GetSessionRequest{SessionId: session})
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	_, err = e.agents().RunAgent(e.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: session})
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	_, err = e.runs().CreateRun(e.ctx(t), runOf("nobody"))
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	_, err = e.tools().CallTool(e.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, SessionId: session})
	wantError(t, err, codes.NotFound, "NOT_FOUND")

	theRun, theSession := fmt.Sprintf("Run::%q", run), fmt.Sprintf("Session::%q", session)
	want := []denial{
		{"call_tool", theSession, "NOT_FOUND"},
		{"cancel_run", theRun, "NOT_FOUND"},
		{"get_run", theRun, "NOT_FOUND"},
		{"get_session", theSession, "NOT_FOUND"},
		{"run_agent", `Agent::"nobody"`, "NOT_FOUND"},
		{"run_agent", theSession, "NOT_FOUND"},
		{"watch_run", theRun, "NOT_FOUND"},
	}
	if diff := gocmp.Diff(want, e.denials(t, "erin"), compare); diff != "" {
		t.Errorf("what erin's tenant has on record (-want +got):\n%s", diff)
	}
	if n := len(w.as(bob).denials(t, "erin")); n > 0 {
		t.Errorf("got %d rows in the tenant whose objects she named, want none", n)
	}
}

// shape is all of an error that does not change from call to call.
func shape(err error) string {
	s := status.Convert(err)
	out := fmt.Sprintf("%s %q", s.Code(), s.Message())
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			var keys []string
			for k := range i.GetMetadata() {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			out += fmt.Sprintf(" %s %v", i.GetReason(), keys)
			continue
		}
		out += fmt.Sprintf(" %T", d)
	}
	return out
}

// Whoever asks must not learn that there is such a thing somewhere else
// (SECURITY 6).
func TestAForeignObjectReadsLikeAnAbsentOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	hers := w.hello(w.as(alice), "")
	absentRun, absentSession := "run_"+strings.Repeat("a", 26), "ses_"+strings.Repeat("a", 26)
	e, d := w.as(erin), w.as(dave)

	for name, ask := range map[string]func(c *client, run, session string) error{
		"GetRun": func(c *client, run, _ string) error {
			_, err := e.runs().GetRun(c.ctx(t), &behalfv1.GetRunRequest{RunId: run})
			return err
		},
		"GetSession": func(c *client, _, session string) error {
			_, err := e.sessions().GetSession(c.ctx(t), &behalfv1.GetSessionRequest{SessionId: session})
			return err
		},
		"RunAgent": func(c *client, _, session string) error {
			_, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: session})
			return err
		},
		"CallTool": func(c *client, _, session string) error {
			_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, SessionId: session})
			return err
		},
	} {
		foreign, absent := ask(e, hers.GetRunId(), hers.GetSessionId()), ask(e, absentRun, absentSession)
		if shape(foreign) != shape(absent) || status.Code(foreign) != codes.NotFound {
			t.Errorf("%s: got %s of another tenant's and %s of what is not there", name, shape(foreign), shape(absent))
		}
		if name == "GetRun" || name == "GetSession" {
			continue // within a tenant policy says who may read
		}
		foreign, absent = ask(d, hers.GetRunId(), hers.GetSessionId()), ask(d, absentRun, absentSession)
		if shape(foreign) != shape(absent) {
			t.Errorf("%s: got %s of a colleague's and %s of what is not there", name, shape(foreign), shape(absent))
		}
	}
}

func TestAReadThatCannotBeRecordedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.as(bob)
	r := w.hello(b, "")
	mend := w.breakAudit()
	read := func() map[string]error {
		out := map[string]error{}
		_, out["GetRun"] = b.runs().GetRun(b.ctx(t), &behalfv1.GetRunRequest{RunId: r.GetRunId()})
		_, out["GetSession"] = b.sessions().GetSession(b.ctx(t), &behalfv1.GetSessionRequest{SessionId: r.GetSessionId()})
		_, out["GetAgent"] = b.agents().GetAgent(b.ctx(t), &behalfv1.GetAgentRequest{Agent: "triage"})
		_, out["VerifyAudit"] = b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{})
		if s, err := b.audit().QueryAudit(b.ctx(t), &behalfv1.QueryAuditRequest{}); err == nil {
			_, out["QueryAudit"] = messages(s)
		}
		if s, err := b.runs().WatchRun(b.ctx(t), &behalfv1.WatchRunRequest{RunId: r.GetRunId()}); err == nil {
			_, out["WatchRun"] = messages(s)
		}
		return out
	}

	for name, err := range read() {
		if status.Code(err) != codes.Unavailable || reason(err) != "AUDIT_UNAVAILABLE" {
			t.Errorf("%s: got %v, want AUDIT_UNAVAILABLE: nothing is read off the record", name, err)
		}
	}

	mend()
	for name, err := range read() {
		if err != nil {
			t.Errorf("%s: got %v once the log is back", name, err)
		}
	}
}

// What a client may show its person, and an operator look up (SECURITY 6).
func TestADenialSaysWhatItIsAbout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	call := func(c *client, tool, arguments string) func() error {
		return func() error {
			_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: tool, ArgumentsJson: arguments})
			return err
		}
	}
	a, d, c := w.as(alice), w.as(dave), w.as(carol)
	refund := `{"order_id":"O-5001","amount_cents":74900,"reason":"broken"}`
	locked := func() error {
		succeed(t, w.as(bob).lock(t, lockTool("get_customer")))
		return call(a, "get_customer", `{"customer_id":"C-1001"}`)()
	}
	const about = " [decision_id policy_revision request_id"
	for _, row := range []struct {
		name string
		do   func() error
		want string
	}{
		{"a scope that one does not have", call(d, "refund_order", refund), "SCOPE_MISSING" + about + " tool]"},
		{"a scope that one gave up", func() error {
			_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "refund_order", ArgumentsJson: refund, Scopes: &behalfv1.Scopes{}})
			return err
		}, "DELEGATION_SCOPE [decision_id missing_scope policy_revision request_id tool]"},
		{"a policy, of a tool", call(&client{c.ClientConn, bearer(w.token(w.idp, person{"carol", []string{"auditor"}, "crm.read"}, nil))}, "get_customer", `{"customer_id":"C-1001"}`), "POLICY_DENIED" + about + " tool]"},
		{"a policy, of a call", func() error { _, err := a.admin().GetStatus(a.ctx(t), &behalfv1.GetStatusRequest{}); return err }, "POLICY_DENIED" + about + "]"},
		{"a lock", locked, "PRINCIPAL_LOCKED" + about + " tool]"},
		{"a tenant", func() error {
			_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "x", Tenant: "globex"})
			return err
		}, "TENANT_MISMATCH" + about + "]"},
		{"nothing there", func() error {
			_, err := a.runs().GetRun(a.ctx(t), &behalfv1.GetRunRequest{RunId: "run_" + strings.Repeat("a", 26)})
			return err
		}, "NOT_FOUND [decision_id request_id]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := shape(row.do()); !strings.HasSuffix(got, row.want) {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}
