package agents

import (
	"context"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// Human is a person as a participant. Its turn is a pause: an InputRequested,
// and the message that the InputReceived makes of it, whenever that comes. If the
// last thing it heard was a hand-off to it, it hands back to who handed off.
type Human struct{ cfg HumanConfig }

// HumanConfig says how a person takes part.
type HumanConfig struct {
	Name        string // required
	Description string // for other agents
	Prompt      string // what the person is asked; may be empty
}

// NewHuman checks the config and makes the participant.
func NewHuman(cfg HumanConfig) (*Human, error) {
	if err := CheckName(cfg.Name); err != nil {
		return nil, fmt.Errorf("human: %w", err)
	}
	return &Human{cfg}, nil
}

// Name is the participant's name.
func (h *Human) Name() string { return h.cfg.Name }

// Description says to other agents who the person is.
func (h *Human) Description() string { return h.cfg.Description }

// Run continues the person's turn. See [Agent].
func (h *Human) Run(ctx context.Context, t *Transcript) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		chain, err := OwnChain(ctx, h.cfg.Name)
		if err != nil {
			yield(Event{}, err)
			return
		}
		for h.step(ctx, t, chain, yield) {
		}
	}
}

func (h *Human) step(ctx context.Context, t *Transcript, chain []string, yield func(Event, error) bool) bool {
	s := Fold(t, h, func() *desire { return &desire{} }, (*desire).apply)
	var body Body
	switch {
	case s.finished, s.asked != "" && s.answer == nil:
		return false
	case ctx.Err() != nil:
		yield(Event{}, context.Cause(ctx))
		return false
	case s.handoff != "" && s.handoff != h.cfg.Name:
		yield(Event{}, errOthersHandoff)
		return false
	case s.asked == "":
		body = InputRequested{InputRequestID: fmt.Sprintf("%s/i%d", s.runID, s.started), Prompt: h.cfg.Prompt, From: h.cfg.Name}
	case !s.answered:
		body = s.message()
	default:
		body = RunFinished{StopReason: StopCompleted, Output: s.answer.Text}
	}
	ev := Event{Source: h.cfg.Name, Chain: chain, Body: body}
	if _, ok := body.(Message); ok {
		ev.MessageID = MessageID(s.runID, s.started)
	}
	return Commit(t, ev, yield)
}

var errOthersHandoff = fault.New(codes.FailedPrecondition, fault.ArgumentInvalid,
	"it is a person's turn, but the last message hands off to somebody else: the target does not match the agent's name")

// desire is what a human's turn stands at: a fold over its thread.
type desire struct {
	runID    string
	started  uint64
	handoff  string // target of the last input, if that is a hand-off
	from     string
	asked    string
	answer   *InputReceived
	answered bool
	finished bool
}

func (d *desire) apply(e *Event) {
	switch b := e.Body.(type) {
	case RunStarted:
		*d = desire{runID: e.RunID, started: e.Sequence}
	case Message:
		if b.Role == RoleAssistant {
			d.answered = true
			return
		}
		d.handoff, d.from = b.HandoffTo, e.Source
	case InputRequested:
		d.asked = b.InputRequestID
	case InputReceived:
		if b.InputRequestID == d.asked {
			d.answer = &b
		}
	case RunFinished:
		d.finished = true
	}
}

// message is the answer as a reply.
func (d *desire) message() Message {
	m := Message{Role: RoleAssistant, Text: d.answer.Text, Parts: d.answer.Parts, Speaker: d.answer.Speaker}
	if d.handoff != "" {
		m.Kind, m.HandoffTo = KindHandoff, d.from
	}
	return m
}
