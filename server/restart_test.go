package server_test

import (
	"context"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
)

func TestARestartLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{embedded: true})
	b := w.as(bob)
	one, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: refundIt})
	if err != nil {
		t.Fatal(err)
	}
	session := one[0].GetSessionId()

	w.restart()

	b = w.as(bob)
	two, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: "thank you", SessionId: session})
	if err != nil {
		t.Fatal(err)
	}
	wantGapless(t, two, wantGapless(t, one, 1)+1)
	v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{})
	if err != nil || !v.GetIntact() || v.GetCheckpointSequence() == 0 {
		t.Errorf("got %v, %v, want the log intact and signed", v, err)
	}
	if n := len(b.records(t, &behalfv1.QueryAuditRequest{SessionId: session, Tool: "refund_order"})); n != 2 {
		t.Errorf("got %d rows of the refund before the restart, want decision and outcome", n)
	}
}

func TestARestartCancelsWhatLostItsClientAndResumesTheRest(t *testing.T) {
	t.Parallel()
	w, m := hanging(t, setup{embedded: true})
	a := w.as(alice)
	_, attached, leave := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "attached"})
	defer leave()
	detached, err := a.runs().CreateRun(a.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "detached"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, unwatch := context.WithCancel(a.ctx(t))
	defer unwatch()
	watch, err := a.runs().WatchRun(ctx, &behalfv1.WatchRunRequest{RunId: detached.GetRunId()})
	if err != nil {
		t.Fatal(err)
	}
	for { // until its model call hangs
		e, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e.GetEvent().GetTextDelta() != nil {
			break
		}
	}
	m.Always("scripted", modeltest.Reply{Text: "after the restart"})
	leave()
	unwatch() // the server would wait for it
	if e := a.finished(t, attached.GetRunId()); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v of the attached run, want it cancelled", e)
	}

	w.restart()

	a = w.as(alice)
	if e := a.finished(t, detached.GetRunId()); e.GetRunFinished().GetOutput() != "after the restart" {
		t.Errorf("got %v of the detached run, want it to have gone on", e)
	}
}
