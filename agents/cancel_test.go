package agents_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
)

// deaf is a model that does not notice the end of its context.
type deaf struct{}

func (deaf) Generate(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		for yield(agents.Chunk{Text: "on "}, nil) {
		}
	}
}

func TestRevokedAuthorityStopsAModelThatDoesNotListen(t *testing.T) {
	ctx, cancel := context.WithCancelCause(agentstest.Context(t.Context()))
	defer cancel(nil)
	locked := errors.New("locked")
	tr := agentstest.Opened()
	var got []agents.Body
	var failure error
	for ev, err := range agentstest.Support(t, agents.AssistantConfig{Model: deaf{}}).Run(ctx, tr) {
		if failure = err; err != nil {
			continue
		}
		if !ev.Live() {
			agentstest.Commit(tr, ev)
		}
		if got = append(got, ev.Body); len(got) == 3 {
			cancel(locked)
		}
	}

	last, _ := got[len(got)-1].(agents.Message)
	if len(got) != 4 || last.Text != "on on " || !last.Incomplete || !errors.Is(failure, locked) {
		t.Errorf("got %v, %v; want a turn, two deltas, the partial message and the cause", got, failure)
	}
}

func TestNothingStartsUnderACancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(agentstest.Context(t.Context()))
	cancel()

	events, err := agentstest.Run(ctx, t, agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies()}), agentstest.Opened())

	if len(events) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d events, %v; want only the cancellation", len(events), err)
	}
}

// TestInputDuringACallStandsAfterItsResult: providers refuse a prompt in which
// something stands between a call and its result.
func TestInputDuringACallStandsAfterItsResult(t *testing.T) {
	tr := agentstest.Opened()
	script := agentstest.Replies(
		agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "refund"}}},
		agentstest.Reply{Text: "Done."})
	box := agentstest.NewToolbox(tr, agentstest.Tool{Name: "refund", Approve: true, Result: "1"})
	desk := agentstest.Support(t, agents.AssistantConfig{Model: script, Toolbox: box})
	ctx := agentstest.Context(t.Context())
	waiting, err := agentstest.Run(ctx, t, desk, tr)
	if err != nil {
		t.Fatal(err)
	}
	id := waiting[len(waiting)-1].Body.(agents.ApprovalRequested).ApprovalID
	agentstest.Commit(tr, agents.Event{Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: "Hurry!"}})
	agentstest.Commit(tr, agents.Event{Source: "user", Body: agents.ApprovalDecided{ApprovalID: id, Approved: true}})

	if _, err := agentstest.Run(ctx, t, desk, tr); err != nil {
		t.Fatal(err)
	}

	var got []agents.PromptRole
	for _, m := range script.Prompts()[1].Messages {
		got = append(got, m.Role)
	}
	want := []agents.PromptRole{agents.RoleUser, agents.RoleAssistant, agents.RoleTool, agents.RoleUser}
	if !slices.Equal(got, want) {
		t.Errorf("got roles %v, want %v", got, want)
	}
}

// TestRunOfAFinishedOrWaitingTranscriptYieldsNothing is what lets a consumer run
// an agent again without knowing where it stands.
func TestRunOfAFinishedOrWaitingTranscriptYieldsNothing(t *testing.T) {
	for _, approve := range []bool{false, true} {
		tr := agentstest.Opened()
		script := agentstest.Replies(agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "x"}}}, agentstest.Reply{Text: "Done."})
		box := agentstest.NewToolbox(tr, agentstest.Tool{Name: "x", Result: "1", Approve: approve})
		desk := agentstest.Support(t, agents.AssistantConfig{Model: script, Toolbox: box})
		ctx := agentstest.Context(t.Context())
		if _, err := agentstest.Run(ctx, t, desk, tr); err != nil {
			t.Fatal(err)
		}

		again, err := agentstest.Run(ctx, t, desk, tr)

		if len(again) != 0 || err != nil {
			t.Errorf("approve %t: got %d events, %v; want nothing", approve, len(again), err)
		}
	}
}
