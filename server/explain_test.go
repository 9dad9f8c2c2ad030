package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	smallRefund = `{"order_id":"O-5002","amount_cents":1900,"reason":"broken"}`
	largeRefund = `{"order_id":"O-5001","amount_cents":74900,"reason":"broken"}`
)

// why asks and must get an answer.
func (c *client) why(t *testing.T, q *behalfv1.ExplainDecisionRequest) *behalfv1.ExplainDecisionResponse {
	t.Helper()
	r, err := c.admin().ExplainDecision(c.ctx(t), q)
	if err != nil {
		t.Fatalf("ExplainDecision: %v", err)
	}
	return r
}

func refundBy(chain []string, args string) *behalfv1.ExplainDecisionRequest {
	return &behalfv1.ExplainDecisionRequest{Action: "call_tool", Resource: `Tool::"refund_order"`, ArgumentsJson: args, DelegationChain: chain}
}

func TestExplainDecisionNamesWhatRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{spies: []tools.Tool{tools.Func("read_own", "Reads what belongs to a person.", readOwn, tools.ReadOnly(), tools.OwnerParam("who", tools.OwnerSubject))}})
	a, b, e := w.as(alice), w.as(bob), w.as(erin)
	run, session := w.hello(a, ""), w.hello(b, "").GetSessionId()
	viaBilling := []string{"triage", "billing"}
	none := &behalfv1.Scopes{}
	own := func(who string) *behalfv1.ExplainDecisionRequest {
		return &behalfv1.ExplainDecisionRequest{Action: "call_tool", Resource: `Tool::"read_own"`, ArgumentsJson: `{"who":"` + who + `"}`}
	}
	rpc := func(action, resource string) *behalfv1.ExplainDecisionRequest {
		return &behalfv1.ExplainDecisionRequest{Action: action, Resource: resource}
	}
	with := func(q *behalfv1.ExplainDecisionRequest, change func(*behalfv1.ExplainDecisionRequest)) *behalfv1.ExplainDecisionRequest {
		change(q)
		return q
	}
	for _, c := range []struct {
		name                     string
		by                       *client
		q                        *behalfv1.ExplainDecisionRequest
		refusedBy, why, policies string
	}{
		{"allowed", a, refundBy(viaBilling, smallRefund), "", "UNSPECIFIED", "refunds-are-rate-limited staff-may-use-desk-tools"},
		{"a forbid", a, refundBy(viaBilling, largeRefund), "policy", "POLICY_DENIED", "large-refunds-need-a-manager"},
		{"nothing permits it", a, rpc("query_audit", `Tenant::"acme"`), "policy", "POLICY_DENIED", ""},
		{"an unknown tool", a, rpc("call_tool", `Tool::"no_such_tool"`), "tool", "TOOL_UNKNOWN", ""},
		{"a tool that the agent is not given", a, refundBy([]string{"triage", "support"}, smallRefund), "tool", "TOOL_UNKNOWN", ""},
		{"arguments", a, refundBy(nil, `{"order_id":1}`), "arguments", "ARGUMENT_INVALID", ""},
		{"no arguments are an empty object", a, refundBy(nil, ""), "arguments", "ARGUMENT_INVALID", ""},
		{"a scope that the person lacks", w.as(dave), refundBy(nil, smallRefund), "scopes", "SCOPE_MISSING", ""},
		{"a narrowing", a, with(refundBy(nil, smallRefund), func(q *behalfv1.ExplainDecisionRequest) { q.Scopes = none }), "scopes", "DELEGATION_SCOPE", ""},
		{"a scope that the question invents", w.as(dave), with(refundBy(nil, smallRefund), func(q *behalfv1.ExplainDecisionRequest) {
			q.Scopes = &behalfv1.Scopes{Values: []string{"orders.refund"}}
		}), "scopes", "SCOPE_MISSING", ""},
		{"too many agents", a, refundBy(slices.Repeat([]string{"triage"}, 20), smallRefund), "scopes", "DELEGATION_SCOPE", ""},
		{"one's own", a, own("alice"), "", "UNSPECIFIED", "staff-may-use-spies"},
		{"another's", a, own("bob"), "owner", "OWNER_MISMATCH", ""},
		{"one's own run", a, rpc("get_run", `Run::"`+run.GetRunId()+`"`), "", "UNSPECIFIED", "own-runs-and-sessions"},
		{"another's session", a, rpc("get_session", `Session::"`+session+`"`), "policy", "POLICY_DENIED", ""},
		{"an agent", a, rpc("run_agent", `Agent::"triage"`), "", "UNSPECIFIED", "staff-may-run-the-desk"},
		{"operators only", e, rpc("reload_config", `Tenant::"globex"`), "operator", "POLICY_DENIED", ""},
		{"operators only, keys", e, rpc("revoke_signing_key", `Tenant::"globex"`), "operator", "POLICY_DENIED", ""},
		{"an operator", b, rpc("reload_config", `Tenant::"acme"`), "", "UNSPECIFIED", "managers-operate"},
		{"for another person", b, with(refundBy(viaBilling, largeRefund), func(q *behalfv1.ExplainDecisionRequest) {
			q.User, q.Roles, q.Scopes = "alice", []string{"support"}, &behalfv1.Scopes{Values: []string{"orders.refund"}}
		}), "policy", "POLICY_DENIED", "large-refunds-need-a-manager"},
		{"for another person without scopes", b, with(refundBy(nil, smallRefund), func(q *behalfv1.ExplainDecisionRequest) {
			q.User, q.Roles = "alice", []string{"support"}
		}), "scopes", "SCOPE_MISSING", ""},
		{"at a time when the token has ended", a, with(refundBy(viaBilling, smallRefund), func(q *behalfv1.ExplainDecisionRequest) {
			q.Time = timestamppb.New(time.Now().Add(1000 * time.Hour))
		}), "", "UNSPECIFIED", "refunds-are-rate-limited staff-may-use-desk-tools"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.by.why(t, c.q)

			if got.GetRefusedBy() != c.refusedBy || got.GetReason().String() != "ERROR_REASON_"+c.why || strings.Join(got.GetPolicyIds(), " ") != c.policies {
				t.Errorf("got %v, want it refused by %q with %s and policies %q", got, c.refusedBy, c.why, c.policies)
			}
			if allowed := got.GetDecision() == behalfv1.Decision_DECISION_ALLOW; allowed != (c.refusedBy == "") || allowed != (got.GetMessage() == "") || got.GetPolicyRevision() == "" && c.name != "too many agents" {
				t.Errorf("got %v, want decision, message and revision to fit", got)
			}
		})
	}
}

type owned struct {
	Who string `json:"who" jsonschema:"Whose."`
}

func readOwn(context.Context, owned) (any, error) { return "secret", nil }

func TestExplainDecisionShowsThePoliciesAndTheirPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b := w.as(alice), w.as(bob)

	got := a.why(t, refundBy([]string{"triage", "billing"}, largeRefund))

	var lines []string
	for _, p := range got.GetPolicies() {
		if !strings.HasPrefix(p.GetFile(), "desk.cedar") || p.GetLine() < 1 {
			t.Errorf("got %v, want its place inside the policy folder", p)
		}
		line := p.GetId()
		for _, mark := range []struct {
			set  bool
			text string
		}{{p.GetPermit(), "permit"}, {p.GetHolds(), "holds"}, {p.GetDetermines(), "determines"}, {len(p.GetDuties()) > 0, strings.Join(p.GetDuties(), " ")}} {
			if mark.set {
				line += " " + mark.text
			}
		}
		lines = append(lines, line)
	}
	want := "large-refunds-need-a-manager holds determines|refunds-are-rate-limited holds @rate(\"60/1m\")|staff-may-use-desk-tools permit holds|customers-may-look-at-their-own permit"
	if strings.Join(lines, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(lines, "|"), want)
	}

	got = a.why(t, &behalfv1.ExplainDecisionRequest{Action: "call_tool", Resource: `Tool::"get_customer"`, ArgumentsJson: ` { "customer_id": "C-1001" } `})
	if d := strings.Join(got.GetDuties(), " "); d != `@redact("result:$.ssn")` || got.GetSentArgumentsJson() != `{"customer_id":"C-1001"}` {
		t.Errorf("got %v, want the redaction and the bytes that would be sent", got)
	}

	got = b.why(t, &behalfv1.ExplainDecisionRequest{Action: "call_tool", Resource: `Tool::"refund_order"`, ArgumentsJson: smallRefund, User: "alice"})
	if !slices.Equal(got.GetMissingScopes(), []string{"orders.refund"}) {
		t.Errorf("got %v, want the scope named to who may ask about others", got)
	}
	got = w.as(dave).why(t, refundBy(nil, smallRefund))
	if len(got.GetMissingScopes()) > 0 {
		t.Errorf("got %v, want the scope not named to who lacks it", got)
	}
}

func TestExplainDecisionDoesNothingAndIsOnRecordAsAQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, c := w.as(alice), w.as(carol)
	for range 61 { // one more than the rate allows
		a.why(t, refundBy([]string{"triage", "billing"}, smallRefund))
	}

	r, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "refund_order", ArgumentsJson: smallRefund})

	if err != nil || r.GetFailed() {
		t.Errorf("got %v, %v; want the refund to be the first", r, err)
	}
	rows := c.records(t, &behalfv1.QueryAuditRequest{User: "alice"})
	asked := slices.DeleteFunc(slices.Clone(rows), func(r *behalfv1.AuditRecord) bool { return r.GetAction() != "explain_decision" })
	if len(asked) != 61 || len(rows) != 61+2 {
		t.Fatalf("got %d rows, %d of them questions; want 61 and the two of the refund", len(rows), len(asked))
	}
	q := asked[0]
	if q.GetPhase() != behalfv1.AuditPhase_AUDIT_PHASE_DECISION || !strings.HasPrefix(q.GetCallId(), "read_") || q.GetTool() != "" || q.GetResource() != `Tenant::"acme"` {
		t.Errorf("got %v, want a question", q)
	}
	want := `{"action":"call_tool","resource":"Tool::\"refund_order\"","delegation_chain":["triage","billing"],"tier":"interactive"}`
	if q.GetRedactedArgumentsJson() != want {
		t.Errorf("got %s\nwant %s", q.GetRedactedArgumentsJson(), want)
	}
}

func TestExplainDecisionIsAskedByPermissionAndInOnesTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b, e := w.as(alice), w.as(bob), w.as(erin)
	hers := w.hello(e, "")
	for _, c := range []struct {
		name string
		by   *client
		q    *behalfv1.ExplainDecisionRequest
		code codes.Code
		why  string
	}{
		{"no permit to ask", w.as(carol), refundBy(nil, smallRefund), codes.PermissionDenied, "POLICY_DENIED"},
		{"no permit to ask about others", a, &behalfv1.ExplainDecisionRequest{Action: "run_agent", Resource: `Agent::"triage"`, User: "bob"}, codes.PermissionDenied, "POLICY_DENIED"},
		{"oneself with other roles is somebody else", a, &behalfv1.ExplainDecisionRequest{Action: "run_agent", Resource: `Agent::"triage"`, User: "alice", Roles: []string{"manager"}}, codes.PermissionDenied, "POLICY_DENIED"},
		{"another workload is somebody else", a, &behalfv1.ExplainDecisionRequest{Action: "run_agent", Resource: `Agent::"triage"`, Workload: "spiffe://acme.test/batch"}, codes.PermissionDenied, "POLICY_DENIED"},
		{"another tenant's run", b, &behalfv1.ExplainDecisionRequest{Action: "get_run", Resource: `Run::"` + hers.GetRunId() + `"`}, codes.NotFound, "NOT_FOUND"},
		{"another tenant's run, for its person", b, &behalfv1.ExplainDecisionRequest{Action: "get_run", Resource: `Run::"` + hers.GetRunId() + `"`, User: "erin"}, codes.NotFound, "NOT_FOUND"},
		{"another tenant's session", b, &behalfv1.ExplainDecisionRequest{Action: "get_session", Resource: `Session::"` + hers.GetSessionId() + `"`}, codes.NotFound, "NOT_FOUND"},
		{"another tenant", b, &behalfv1.ExplainDecisionRequest{Action: "query_audit", Resource: `Tenant::"globex"`}, codes.NotFound, "NOT_FOUND"},
		{"no such agent", b, &behalfv1.ExplainDecisionRequest{Action: "run_agent", Resource: `Agent::"nobody"`}, codes.NotFound, "NOT_FOUND"},
		{"no such agent in the chain", b, refundBy([]string{"nobody"}, smallRefund), codes.NotFound, "NOT_FOUND"},
		{"no such action", b, &behalfv1.ExplainDecisionRequest{Action: "fly", Resource: `Agent::"triage"`}, codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"an action on something else", b, &behalfv1.ExplainDecisionRequest{Action: "run_agent", Resource: `Tool::"refund_order"`}, codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"no entity", b, &behalfv1.ExplainDecisionRequest{Action: "run_agent", Resource: "triage"}, codes.InvalidArgument, "ARGUMENT_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.by.admin().ExplainDecision(c.by.ctx(t), c.q)

			wantError(t, err, c.code, c.why)
		})
	}
}

func TestExplainDecisionKnowsLocksApprovalsAndStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: map[string]string{"duties.cedar": `
@id("boss-agrees") @approve("Role::\"manager\"") forbid (principal in Role::"support", action == Action::"call_tool", resource == Tool::"refund_order");
@id("lists") permit (principal, action == Action::"list_approvals", resource);
@id("strongly") @stepup("acr:mfa") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`}})
	a, b := w.as(alice), w.as(bob)
	look := &behalfv1.ExplainDecisionRequest{Action: "call_tool", Resource: `Tool::"get_customer"`, ArgumentsJson: `{"customer_id":"C-1001"}`}
	as := func(acr string) *behalfv1.ExplainDecisionRequest {
		return &behalfv1.ExplainDecisionRequest{
			Action: look.Action, Resource: look.Resource, ArgumentsJson: look.ArgumentsJson, User: "alice", Roles: []string{"support"},
			Scopes: &behalfv1.Scopes{Values: []string{"crm.read"}}, Auth: &behalfv1.Auth{Acr: acr},
		}
	}

	waits := a.why(t, refundBy([]string{"triage", "billing"}, smallRefund))
	weak, strong := b.why(t, as("pwd")), b.why(t, as("mfa"))
	if _, err := b.admin().Lock(b.ctx(t), &behalfv1.LockRequest{Target: &behalfv1.LockTarget{Target: &behalfv1.LockTarget_User{User: "acme/alice"}}, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	locked := b.why(t, as("mfa"))

	for _, c := range []struct {
		name      string
		got       *behalfv1.ExplainDecisionResponse
		decision  behalfv1.Decision
		refusedBy string
		reason    behalfv1.ErrorReason
	}{
		{"an approval", waits, behalfv1.Decision_DECISION_WAIT, "", behalfv1.ErrorReason_ERROR_REASON_APPROVAL_REQUIRED},
		{"a proof that is too weak", weak, behalfv1.Decision_DECISION_DENY, "duty", behalfv1.ErrorReason_ERROR_REASON_STEP_UP_REQUIRED},
		{"one that is strong enough", strong, behalfv1.Decision_DECISION_ALLOW, "", behalfv1.ErrorReason_ERROR_REASON_UNSPECIFIED},
		{"a lock", locked, behalfv1.Decision_DECISION_DENY, "lock", behalfv1.ErrorReason_ERROR_REASON_PRINCIPAL_LOCKED},
	} {
		if c.got.GetDecision() != c.decision || c.got.GetRefusedBy() != c.refusedBy || c.got.GetReason() != c.reason {
			t.Errorf("%s: got %v", c.name, c.got)
		}
	}
	list, err := b.approvals().ListApprovals(b.ctx(t), &behalfv1.ListApprovalsRequest{})
	if err != nil || len(list.GetApprovals()) > 0 {
		t.Errorf("got %v, %v; want nobody asked to agree", list, err)
	}
}
