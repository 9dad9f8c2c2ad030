package server_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

func TestAConversationHasManyTurnsEachDecided(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("Good morning.", "It rains.")...)
	k := r.as(alice).converse(t).open("", "")

	k.say("Good morning")
	first := k.until(finished)
	k.say("What is the weather?")
	second := k.until(finished)
	succeed(t, k.CloseSend())
	succeed(t, k.end())

	want := []string{"user: Good morning", "ada: Good morning.", "user: What is the weather?", "ada: It rains."}
	if diff := cmp.Diff(want, lines(k.all)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if first.GetSessionId() != second.GetSessionId() || first.GetRunId() == second.GetRunId() {
		t.Errorf("got %v and then %v, want two runs of one session", first, second)
	}
	gapless(t, k.all)
	rows := r.rows("run_agent")
	want = []string{"decision allow", "decision allow", "outcome succeeded", "decision allow", "outcome succeeded", "outcome succeeded"}
	if !slices.Equal(rows, want) {
		t.Errorf("got rows %q, want the opening around two turns", rows)
	}
}

func TestATurnThatPolicyNoLongerAllowsEndsTheConversation(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("Good morning.")...)
	k := r.as(alice).converse(t).open("", "")
	k.say("Good morning")
	k.until(finished)

	r.rule(`@id("nothing") forbid (principal, action, resource);`)
	k.say("And now?")

	wantError(t, k.end(), codes.PermissionDenied, "POLICY_DENIED")
	if r.model.Count() != 1 {
		t.Errorf("the model was asked %d times, want once", r.model.Count())
	}
}

func TestAHangingTurnIsCancelledAndTheNextOneWorks(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", modeltest.Reply{Text: "Let me think about that", Fault: modeltest.Hang, FaultAfter: 2}, modeltest.Reply{Text: "Yes."})
	k := r.as(alice).converse(t).open("", "")
	k.cancel() // nothing to cancel, and that is no error
	k.say("What is the answer?")
	k.until(somewhat)

	k.cancel()
	k.say("Is there one?") // at once: it belongs to the next turn

	if e := k.until(finished); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v, want a cancelled turn", e)
	}
	if e := k.until(finished); e.GetRunFinished().GetOutput() != "Yes." {
		t.Errorf("got %v, want an answer", e)
	}
	gapless(t, k.all)
}

func TestATurnIsCancelledBeforeItHasSaidAnything(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", modeltest.Reply{Fault: modeltest.Hang}, modeltest.Reply{Fault: modeltest.Hang})
	k := r.as(alice).converse(t).open("", "")

	for range 2 {
		k.say("What is the answer?")
		k.cancel()
		if e := k.until(finished); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
			t.Errorf("got %v, want a cancelled turn", e)
		}
	}
}

func TestOnlyTheSamePersonRefreshesAConversation(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("Good morning.", "Still here.")...)
	k := r.as(alice).converse(t).open("", "")
	k.say("Good morning")
	k.until(finished)
	r.clock.Advance(30 * time.Hour)

	k.refresh(r.tokenNow(alice))
	k.say("Are you there?")
	k.until(finished)

	k.refresh(r.tokenNow(bob))
	k.refresh("not.a.token")
	for _, want := range []behalfv1.ErrorReason{behalfv1.ErrorReason_ERROR_REASON_OWNER_MISMATCH, behalfv1.ErrorReason_ERROR_REASON_CREDENTIAL_INVALID} {
		m, err := k.Recv()
		if err != nil || m.GetRefused().GetReason() != want || m.GetRefused().GetMessage() == "" {
			t.Errorf("got %v, %v, want %v", m, err, want)
		}
	}
	r.model.Queue("m-ada", says("Always.")...)
	k.say("Still?")
	k.until(finished)
}

func TestAConversationWithoutRefreshEndsWithItsCredential(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("Good morning.")...)
	k := r.as(alice).converse(t).open("", "")
	k.say("Good morning")
	k.until(finished)
	r.clock.Advance(30 * time.Hour)
	k.say("Are you there?")
	wantError(t, k.end(), codes.Unauthenticated, "CREDENTIAL_EXPIRED")
}

// TestAConversationOutlivesOnlyACredentialThatWasRefreshed waits for the end of a
// token by the machine's clock, as the server does.
func TestAConversationOutlivesOnlyACredentialThatWasRefreshed(t *testing.T) {
	r := newRoom(t, plan{})
	soon := func() *client {
		return &client{r.dial(r.workload(r.acme, "/app")), bearer(r.token(r.idp, alice, map[string]any{"exp": time.Now().Add(5 * time.Second).Unix()}))}
	}
	r.model.Queue("m-ada", modeltest.Reply{Text: "Let me think", Fault: modeltest.Hang, FaultAfter: 2}, modeltest.Reply{Text: "Yes."}, modeltest.Reply{Text: "I am."})
	kept, lost := soon().converse(t).open("", ""), soon().converse(t).open("", "")
	kept.refresh(r.token(r.idp, alice, nil))
	lost.say("What is the answer?")
	at := lost.until(somewhat)

	wantError(t, lost.end(), codes.Unauthenticated, "CREDENTIAL_EXPIRED")

	back := r.as(alice).converse(t).open("", at.GetSessionId())
	if e := back.until(finished); e.GetRunId() != at.GetRunId() || e.GetRunFinished().GetOutput() != "Yes." {
		t.Errorf("got %v, want the run to go on with the fresh credential", e)
	}
	kept.say("Are you there?")
	kept.until(finished)
}

func TestAnInputRequestIsAnsweredInTheConversation(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("How do you feel?")...)
	k := r.as(alice).converse(t).open("clinic", "")
	k.say("Hello")
	asked := k.until(asks)

	k.answer(asked.GetInputRequested().GetInputRequestId(), "Better.")

	k.until(finished)
	want := []string{"user: Hello", "ada: How do you feel?", "guest: Better."}
	if diff := cmp.Diff(want, lines(k.all)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	gapless(t, k.all)
	r.eventually(func() bool {
		return slices.Equal(r.rows("send_input"), []string{"decision allow", "outcome succeeded"})
	})
}

// SendInput and an answer in a conversation are two doors to the same thing.
func TestAnAnswerInAConversationIsDecidedAsSendInputIs(t *testing.T) {
	r := newRoom(t, plan{})
	r.rule(roomPolicies + `
@id("no-answers-in-the-clinic") forbid (principal, action == Action::"send_input", resource in GroupChat::"clinic");`)
	r.model.Always("m-ada", modeltest.Reply{Text: "well"})
	c := r.as(alice)
	k := c.converse(t).open("clinic", "")
	k.say("help")
	asked := k.until(asks)

	_, byRPC := c.runs().SendInput(c.ctx(t), &behalfv1.SendInputRequest{
		RunId: asked.GetRunId(), InputRequestId: asked.GetInputRequested().GetInputRequestId(), Text: "yes",
	})
	k.answer(asked.GetInputRequested().GetInputRequestId(), "yes")

	wantError(t, byRPC, codes.PermissionDenied, "POLICY_DENIED")
	wantError(t, k.end(), codes.PermissionDenied, "POLICY_DENIED")
}

func TestWhoComesBackADayLaterFollowsTheRunThatWaits(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("How do you feel?")...)
	k := r.as(alice).converse(t).open("clinic", "")
	k.say("Hello")
	asked := k.until(asks)
	k.leave()
	r.clock.Advance(24 * time.Hour)

	stranger := r.fresh(dave).converse(t).open("clinic", asked.GetSessionId())
	wantError(t, stranger.end(), codes.NotFound, "NOT_FOUND")
	joined := r.fresh(bob).converse(t).open("clinic", asked.GetSessionId()) // alice's run is hers: it is not shown
	joined.say("May I?")
	wantError(t, joined.end(), codes.FailedPrecondition, "SESSION_BUSY")
	k = r.fresh(alice).converse(t).open("clinic", asked.GetSessionId())
	k.answer(asked.GetInputRequested().GetInputRequestId(), "Better.")

	end := k.until(finished)
	if end.GetRunId() != asked.GetRunId() || k.all[0].GetSequence() != asked.GetSequence()+1 {
		t.Errorf("got %v, want what comes after %v", k.all, asked)
	}
	r.model.Queue("m-ada", says("Good.")...)
	k.say("Thank you")
	if e := k.until(asks); e.GetRunId() == asked.GetRunId() {
		t.Error("the next input did not begin another turn")
	}
}

func TestARunThatWaitsIsCancelledInTheConversation(t *testing.T) {
	r := newRoom(t, plan{})
	at := r.asked(r.as(alice))
	r.model.Queue("m-ada", says("Again?")...)
	k := r.as(alice).converse(t).open("clinic", at.session)

	k.cancel()
	k.say("Hello again")

	if e := k.until(finished); e.GetRunId() != at.run || e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v, want the waiting run cancelled", e)
	}
	k.until(asks)
}

func TestWhenTheClientLeavesTheTurnIsCancelled(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", modeltest.Reply{Text: "Let me think", Fault: modeltest.Hang, FaultAfter: 2}, modeltest.Reply{Text: "Yes."})
	alice := r.as(alice)
	k := alice.converse(t).open("", "")
	k.say("What is the answer?")
	at := k.until(somewhat)

	k.leave()

	all := alice.watch(t, at.GetRunId(), 0)
	if end := all[len(all)-1]; end.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v, want a cancelled run", end)
	}
	again := alice.converse(t).open("", at.GetSessionId())
	again.say("Is there one?")
	again.until(finished)
}

func TestAnInputThatIsSentAgainIsTheSameTurn(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("Good morning.", "Good evening.")...)
	alice := r.as(alice)
	once := &behalfv1.ConversationInput{Text: "Good morning", RequestId: "r1"}
	k := alice.converse(t).open("", "")
	k.input(once)
	first := k.until(finished)

	again := alice.converse(t).open("", first.GetSessionId())
	again.input(once)
	if e := again.until(finished); e.GetRunId() != first.GetRunId() || r.model.Count() != 1 {
		t.Errorf("got run %s and %d model calls, want the first run again", e.GetRunId(), r.model.Count())
	}
	again.input(&behalfv1.ConversationInput{Text: "Good evening", RequestId: "r1"})
	wantError(t, again.end(), codes.InvalidArgument, "ARGUMENT_INVALID")
}

func TestAConversationRefusesWhatItDoesNotUnderstand(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Handle("m-ada", func(modeltest.Request) modeltest.Reply {
		return modeltest.Reply{Text: "Hm", Fault: modeltest.Hang, FaultAfter: 1}
	})
	open := func(k *talk) { k.open("", "") }
	for name, c := range map[string]struct {
		do   func(*talk)
		code codes.Code
		why  string
	}{
		"not opened":       {func(k *talk) { k.say("Hello") }, codes.InvalidArgument, "ARGUMENT_INVALID"},
		"opened twice":     {func(k *talk) { open(k); open(k) }, codes.InvalidArgument, "ARGUMENT_INVALID"},
		"nothing at all":   {func(k *talk) { succeed(t, k.CloseSend()) }, codes.InvalidArgument, "ARGUMENT_INVALID"},
		"an empty message": {func(k *talk) { open(k); k.send(&behalfv1.ConverseRequest{}) }, codes.InvalidArgument, "ARGUMENT_INVALID"},
		"text and parts": {func(k *talk) {
			open(k)
			k.input(&behalfv1.ConversationInput{Text: "a", Parts: []*behalfv1.Part{{Content: &behalfv1.Part_Text{Text: "b"}}}})
		}, codes.InvalidArgument, "ARGUMENT_INVALID"},
		"no such agent":     {func(k *talk) { k.open("nowhere", "") }, codes.NotFound, "NOT_FOUND"},
		"no such session":   {func(k *talk) { k.open("", "ses_"+strings.Repeat("a", 26)) }, codes.NotFound, "NOT_FOUND"},
		"nothing to answer": {func(k *talk) { open(k); k.answer("r/i1", "Yes") }, codes.FailedPrecondition, "RUN_NOT_ACTIVE"},
		"a decision": {func(k *talk) {
			open(k)
			k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Decision{Decision: &behalfv1.ConversationDecision{
				ApprovalId: "apr_" + strings.Repeat("a", 26), Decision: behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE,
			}}})
		}, codes.NotFound, "NOT_FOUND"},
		"two turns at once": {func(k *talk) { open(k); k.say("a"); k.until(beginning); k.say("b") }, codes.FailedPrecondition, "SESSION_BUSY"},
	} {
		t.Run(name, func(t *testing.T) {
			k := r.as(alice).converse(t)
			c.do(k)
			wantError(t, k.end(), c.code, c.why)
		})
	}
}

func TestWhoMayNotRunTheTargetMayNotConverse(t *testing.T) {
	r := newRoom(t, plan{})
	k := r.as(carol).converse(t).open("", "")
	wantError(t, k.end(), codes.PermissionDenied, "POLICY_DENIED")
}

func TestTheOpeningNarrowsAllTurns(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("Good morning.")...)
	k := r.as(alice).converse(t)
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{
		Target: &behalfv1.OpenConversation_Agent{Agent: "ada"}, Scopes: &behalfv1.Scopes{Values: []string{"crm.read"}}, Tier: behalfv1.Tier_TIER_API,
	}}})
	k.say("Good morning")

	got := k.until(beginning).GetRunStarted()
	if !slices.Equal(got.GetScopes().GetValues(), []string{"crm.read"}) || got.GetTier() != behalfv1.Tier_TIER_API {
		t.Errorf("got %v, want one scope and the declared tier", got)
	}

	k = r.as(alice).converse(t)
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{
		Target: &behalfv1.OpenConversation_Agent{Agent: "ada"}, Tenant: "globex",
	}}})
	wantError(t, k.end(), codes.PermissionDenied, "TENANT_MISMATCH")
}

func TestSilenceEndsAConversation(t *testing.T) {
	r := newRoom(t, plan{silence: 50 * time.Millisecond})
	k := r.as(alice).converse(t).open("", "")
	wantError(t, k.end(), codes.DeadlineExceeded, "DEADLINE_EXCEEDED")
}

func TestAStreamThatIsNeverOpenedEnds(t *testing.T) {
	r := newRoom(t, plan{first: 50 * time.Millisecond})
	wantError(t, r.as(alice).converse(t).end(), codes.DeadlineExceeded, "DEADLINE_EXCEEDED")
}

// flood is a model that says as much as it is let, in pieces of 1 KiB.
type flood struct{ said atomic.Int64 }

const pieces = 2048

func (f *flood) Generate(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		for range pieces {
			if !yield(agents.Chunk{Text: strings.Repeat("x", 1024)}, nil) {
				return
			}
			f.said.Add(1)
		}
		yield(agents.Chunk{Done: &agents.Reply{Finish: "stop"}}, nil)
	}
}

func TestAClientThatDoesNotReadHoldsUpTheModel(t *testing.T) {
	f := &flood{}
	r := newRoom(t, plan{ada: f})
	k := r.as(alice).converse(t).open("", "")
	k.say("Tell me everything")

	for tick, last := time.NewTicker(50*time.Millisecond), int64(0); ; { // until nothing more is said
		<-tick.C
		now := f.said.Load()
		if now > 0 && now == last {
			break
		}
		last = now
	}
	if got := f.said.Load(); got > pieces/2 {
		t.Errorf("the model said %d of %d pieces to nobody", got, pieces)
	}

	k.until(finished)
	if got := f.said.Load(); got != pieces {
		t.Errorf("the model said %d pieces, want %d", got, pieces)
	}
}
