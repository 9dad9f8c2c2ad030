package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/calltoken"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
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

// A backend that asks for a strong sign-in must get the same answer from a run that goes
// on without its person.
func TestARunThatGoesOnAfterARestartSaysHowItsPersonSignedIn(t *testing.T) {
	t.Parallel()
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{})
	if err != nil {
		t.Fatal(err)
	}
	tokens := &tools.Tokens{Keys: keys, Issuer: tokenIssuer, Client: func() string { return "spiffe://" + acmeDomain + "/behalf" }}
	minted := make(chan identity.Secret, 1)
	m, asked := modeltest.NewServer(t), make(chan struct{}, 1)
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		asked <- struct{}{}
		return modeltest.Reply{Text: "so far", Fault: modeltest.Hang, FaultAfter: 1}
	})
	w := newWorld(t, setup{embedded: true, model: m, spies: []tools.Tool{tools.Func("whose", "Tells who asks.", func(ctx context.Context, _ none) (none, error) {
		token, err := tokens.For(ctx, tools.Backend{Audience: "crm", Type: calltoken.TypeCall}, tools.Sent{Digest: "d"})
		minted <- token
		return none{}, err
	}, tools.ReadOnly())}})
	at := time.Now().Add(-time.Minute).Unix()
	a := &client{w.as(alice).ClientConn, bearer(w.token(w.idp, alice, map[string]any{"auth_time": at, "acr": "mfa", "amr": []string{"pwd", "otp"}}))}
	run, err := a.runs().CreateRun(a.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "whose is it?"})
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "whose", Arguments: "{}"}}})
	m.Always("scripted", modeltest.Reply{Text: "done"})

	w.restart()

	a = w.as(alice) // whose token does not say
	if e := a.finished(t, run.GetRunId()); e.GetRunFinished().GetOutput() != "done" {
		t.Fatalf("got %v, want it to have gone on", e)
	}
	raw, _, err := identity.Unverified(<-minted)
	var got calltoken.Claims
	if err := errors.Join(err, json.Unmarshal(raw, &got)); err != nil {
		t.Fatal(err)
	}
	if got.Subject != "alice" || got.AuthTime != at || got.ACR != "mfa" || !slices.Equal(got.AMR, []string{"pwd", "otp"}) {
		t.Errorf("got %+v, want what her token said when the run began", got)
	}
}
