package server_test

import (
	"slices"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// customerOf is a call that support sees without the number.
var customerOf = &behalfv1.CheckToolCallRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`}

func (c *client) check(t *testing.T, r *behalfv1.CheckToolCallRequest) *behalfv1.CheckToolCallResponse {
	t.Helper()
	got, err := c.tools().CheckToolCall(c.ctx(t), r)
	if err != nil {
		t.Fatalf("CheckToolCall: %v", err)
	}
	return got
}

func (c *client) report(t *testing.T, id string, failed bool, result string) (string, error) {
	got, err := c.tools().ReportToolCall(c.ctx(t), &behalfv1.ReportToolCallRequest{CallId: id, Failed: failed, ResultJson: result})
	return got.GetResultJson(), err
}

// phases are the rows of one call, in order.
func (c *client) phases(t *testing.T, id string) (all []string) {
	run, _, _ := strings.Cut(id, "/")
	for _, r := range c.records(t, &behalfv1.QueryAuditRequest{RunId: run}) {
		all = append(all, strings.TrimPrefix(r.GetPhase().String(), "AUDIT_PHASE_")+" "+r.GetUser().GetSubject()+" "+strings.TrimPrefix(r.GetOutcome().String(), "AUDIT_"))
	}
	return all
}

func TestAToolThatRunsElsewhereIsGovernedHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, b := w.as(alice), w.as(bob)

	got := a.check(t, customerOf)
	if got.GetDecision() != behalfv1.Decision_DECISION_ALLOW || got.GetSentArgumentsJson() != customerOf.GetArgumentsJson() || len(got.GetPolicyIds()) == 0 ||
		!slices.Equal(got.GetDuties(), []string{`@redact("result:$.ssn")`}) || got.GetCallToken() != "" {
		t.Errorf("got %v", got)
	}
	for name, c := range map[string]*client{"bob": b, "erin": w.as(erin)} {
		_, err := c.report(t, got.GetCallId(), false, "{}")
		if reason(err) != "NOT_FOUND" {
			t.Errorf("%s reported alice's call: %v", name, err)
		}
	}
	shown, err := a.report(t, got.GetCallId(), false, `{"customer_id":"C-1001","ssn":"078-05-1120"}`)
	if err != nil || strings.Contains(shown, "078") || !strings.Contains(shown, "C-1001") {
		t.Errorf("got %s, %v, want the result without the number", shown, err)
	}

	if diff := cmp.Diff([]string{"DECISION alice OUTCOME_UNSPECIFIED", "OUTCOME alice OUTCOME_SUCCEEDED"}, b.phases(t, got.GetCallId())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	_, err = a.report(t, got.GetCallId(), false, "{}")
	wantError(t, err, codes.FailedPrecondition, "RUN_NOT_ACTIVE")
}

func TestACallThatPolicyDeniesIsDeniedElsewhereToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)

	_, err := a.tools().CheckToolCall(a.ctx(t), &behalfv1.CheckToolCallRequest{
		Tool: "refund_order", ArgumentsJson: `{"order_id":"O-5001","amount_cents":74900,"reason":"broken"}`,
	})
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	_, err = a.tools().CheckToolCall(a.ctx(t), &behalfv1.CheckToolCallRequest{
		Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, Scopes: &behalfv1.Scopes{},
	})
	wantError(t, err, codes.PermissionDenied, "DELEGATION_SCOPE")
}

func TestARepeatedCheckIsTheSameCallUntilItIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	ask := &behalfv1.CheckToolCallRequest{Tool: customerOf.GetTool(), ArgumentsJson: customerOf.GetArgumentsJson(), RequestId: "one"}
	got := a.check(t, ask)
	if again := a.check(t, ask); !proto.Equal(again, got) {
		t.Errorf("got %v, want %v again", again, got)
	}
	if _, err := a.report(t, got.GetCallId(), false, "{}"); err != nil {
		t.Fatal(err)
	}
	_, err := a.checks(t, ask)
	wantError(t, err, codes.FailedPrecondition, "RUN_NOT_ACTIVE")

	ask.RequestId = "two"
	a.check(t, ask)
	w.restart()
	_, err = w.as(alice).checks(t, ask)
	wantError(t, err, codes.Aborted, "OUTCOME_UNKNOWN")
}

func TestACallOfARestartedServerIsAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	got := a.check(t, customerOf)

	w.restart()

	a, b := w.as(alice), w.as(bob)
	shown, err := a.report(t, got.GetCallId(), false, `{"ssn":"078-05-1120"}`)
	wantError(t, err, codes.Aborted, "OUTCOME_UNKNOWN")
	if shown != "" {
		t.Errorf("got %s, want nothing to show", shown)
	}
	w.eventually(func() bool { return len(b.phases(t, got.GetCallId())) > 1 }) // a start looks for such calls in its own time
	if diff := cmp.Diff([]string{"DECISION alice OUTCOME_UNSPECIFIED", "ABANDONED alice OUTCOME_UNKNOWN"}, b.phases(t, got.GetCallId())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}
