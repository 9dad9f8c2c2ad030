package server_test

import (
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
)

// A call that makes no sense never reaches policy. It was asked for on behalf of a
// person all the same.
func TestACallThatMakesNoSenseIsOnRecord(t *testing.T) {
	m := modeltest.NewServer(t)
	m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{
		{ID: "a", Tool: "get_customer", Arguments: `{"id":"c-1"}`},
		{ID: "a", Tool: "refund_order", Arguments: `{"order_id":"o-1","amount_cents":1}`},
		{ID: "b", Tool: "refund_order", Arguments: `{"x":"` + strings.Repeat("A", 70<<10) + `"}`},
		{ID: "c", Tool: "transfer_to_everything", Arguments: `{}`},
		{ID: "d", Tool: strings.Repeat("x", 90), Arguments: `{}`},
		{ID: "e", Tool: "no_such_tool", Arguments: `{}`},
	}}, modeltest.Reply{Text: "done"})
	w := newWorld(t, setup{model: m})

	events, err := w.as(alice).stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "go"})
	if err != nil {
		t.Fatal(err)
	}
	decided := map[string]behalfv1.ErrorReason{}
	for _, r := range w.as(bob).records(t, &behalfv1.QueryAuditRequest{RunId: events[0].GetRunId()}) {
		if r.GetAction() == "call_tool" && r.GetPhase() == behalfv1.AuditPhase_AUDIT_PHASE_DECISION {
			decided[r.GetCallId()] = r.GetReason()
		}
	}
	finished := 0
	for _, e := range events {
		if f := e.GetToolCallFinished(); f != nil {
			finished++
			if got, ok := decided[e.GetCallId()]; !ok || got != f.GetReason() {
				t.Errorf("the record of a call that ended with %v: %v, %v", f.GetReason(), got, ok)
			}
		}
	}
	if finished != 6 {
		t.Errorf("%d calls ended, want 6", finished)
	}
}
