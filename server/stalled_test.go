package server_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/interceptors"
	"google.golang.org/grpc/codes"
)

// babbler is a model whose first answer never ends, until it is cut. Every
// other answer is one word.
type babbler struct {
	calls atomic.Int64
	word  chan struct{} // holds one when it got rid of something
	cut   chan struct{} // closed when its context has ended
	once  sync.Once
}

func newBabbler() *babbler {
	return &babbler{word: make(chan struct{}, 1), cut: make(chan struct{})}
}

func (b *babbler) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	if b.calls.Add(1) > 1 {
		return func(yield func(agents.Chunk, error) bool) {
			yield(agents.Chunk{Text: "fine", Done: &agents.Reply{}}, nil)
		}
	}
	return func(yield func(agents.Chunk, error) bool) {
		defer context.AfterFunc(ctx, func() { b.once.Do(func() { close(b.cut) }) })()
		talker{}.Generate(ctx, p)(func(c agents.Chunk, err error) bool {
			select {
			case b.word <- struct{}{}:
			default:
			}
			return yield(c, err)
		})
	}
}

// stalled waits until nobody takes a word any more.
func (b *babbler) stalled(t *testing.T) {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case <-b.word:
		case <-time.After(300 * time.Millisecond):
			return
		case <-end:
			t.Fatal("the model was never held up")
		}
	}
}

// soon is far less than what a blocked send may take (10 s), and far more than
// the 100 ms of DESIGN 9, for a loaded machine.
const soon = 7 * time.Second

// wantSoon fails unless the run that nobody reads was cut and is over since begun.
func (b *babbler) wantSoon(t *testing.T, begun time.Time) {
	t.Helper()
	until(t, "the model to be cut", b.cut)
	if took := time.Since(begun); took > soon {
		t.Errorf("it took %v, want it at once", took)
	}
}

func TestCancelRunTakesEffectThoughTheClientReadsNothing(t *testing.T) {
	t.Parallel()
	m := newBabbler()
	p := newParts(t, m, interceptors.Limits{})
	b := p.as(bob)
	s, first, leave := b.open(t, &behalfv1.StreamAgentRequest{Agent: "payer", Input: "talk"}) // and does not read on
	defer leave()
	m.stalled(t)

	begun := time.Now()
	r, err := b.runs().CancelRun(b.ctx(t), &behalfv1.CancelRunRequest{RunId: first.GetRunId()})

	m.wantSoon(t, begun)
	if err != nil || r.GetRun().GetState() != behalfv1.RunState_RUN_STATE_CANCELLED {
		t.Errorf("got %v, %v, want it cancelled", r, err)
	}
	if e := b.finished(t, first.GetRunId()); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v as the run's end, want it cancelled", e)
	}
	if _, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "payer", Input: "again", SessionId: first.GetSessionId()}); err != nil {
		t.Errorf("got %v, want the session usable at once", err)
	}
	_, err = messages(s)
	wantError(t, err, codes.Canceled, "CANCELED")
}

func TestCancelTurnTakesEffectThoughTheClientReadsNothing(t *testing.T) {
	t.Parallel()
	m := newBabbler()
	p := newParts(t, m, interceptors.Limits{})
	b := p.as(bob)
	k := b.converse(t)
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{
		Target: &behalfv1.OpenConversation_Agent{Agent: "payer"},
	}}})
	k.say("talk")
	first := k.until(func(e *behalfv1.Event) bool { return e.GetTextDelta() != nil }) // and does not read on
	m.stalled(t)

	begun := time.Now()
	k.cancel()

	m.wantSoon(t, begun)
	if e := b.finished(t, first.GetRunId()); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v as the run's end, want it cancelled", e)
	}
	if took := time.Since(begun); took > soon {
		t.Errorf("the run was over after %v, want it at once", took)
	}
}

// A client that reads sees the end of what it cancelled, and goes on talking.
func TestAReaderSeesTheEndOfTheTurnThatItCancelled(t *testing.T) {
	t.Parallel()
	m := newBabbler()
	p := newParts(t, m, interceptors.Limits{StoppedSend: patience})
	b := p.as(bob)
	k := b.converse(t)
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{
		Target: &behalfv1.OpenConversation_Agent{Agent: "payer"},
	}}})
	k.say("talk")
	k.until(func(e *behalfv1.Event) bool { return e.GetTextDelta() != nil })

	k.cancel()

	end := k.until(func(e *behalfv1.Event) bool { return e.GetRunFinished() != nil })
	if end.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v, want the turn cancelled", end)
	}
	k.say("again")
	end = k.until(func(e *behalfv1.Event) bool { return e.GetRunFinished() != nil })
	if end.GetRunFinished().GetOutput() != "fine" {
		t.Errorf("got %v, want the conversation to go on", end)
	}
}
