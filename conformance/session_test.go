package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/internal/wire"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"
)

// session is a conversation with what a case built: the consumer of its runs, as
// package runs is in the server.
type session struct {
	b          *builder
	agent      agents.Agent
	transcript *agents.Transcript
	stored     []agents.Event
	clock      time.Time
	runs       int
	inputs     map[string][]inputSpec // that persons still give
}

func newSession(b *builder, a agents.Agent) *session {
	s := &session{b: b, agent: a, transcript: agents.NewTranscript(), clock: time.Now(), inputs: map[string][]inputSpec{}}
	for name, spec := range b.c.Agents {
		s.inputs[name] = spec.Inputs
	}
	return s
}

func (s *session) reset() { s.transcript, s.stored = agents.NewTranscript(), nil }

// reload makes everything anew and reads the transcript back from its wire form.
func (s *session) reload() error {
	var events []agents.Event
	for i := range s.stored {
		data, err := proto.Marshal(wire.Encode(&s.stored[i]))
		if err != nil {
			return err
		}
		var read behalfv1.Event
		if err := proto.Unmarshal(data, &read); err != nil {
			return err
		}
		e, err := wire.Decode(&read)
		if err != nil {
			return err
		}
		events = append(events, e)
	}
	a, err := s.b.build()
	s.agent, s.stored, s.transcript = a, events, agents.NewTranscript(events...)
	return err
}

// commit stores an event.
func (s *session) commit(e agents.Event) agents.Event {
	s.clock = s.clock.Add(time.Millisecond)
	e.Time, e.SessionID = s.clock, "ses_1"
	s.transcript.Stamp(&e)
	s.transcript.Append(e)
	s.stored = append(s.stored, e)
	return e
}

// task is a step's input as messages.
func task(n *yaml.Node) ([]agents.Event, error) {
	switch n.Kind {
	case 0:
		return nil, nil
	case yaml.ScalarNode:
		return []agents.Event{input("user", agents.Message{Text: n.Value})}, nil
	case yaml.SequenceNode:
		var all []agents.Event
		for _, c := range n.Content {
			one, err := task(c)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	}
	var m struct{ Text, Content, Source, Handoff string }
	if err := strictly(n, &m); err != nil {
		return nil, err
	}
	if m.Source == "" {
		m.Source = "user"
	}
	message := agents.Message{Text: m.Text + m.Content, HandoffTo: m.Handoff}
	if m.Handoff != "" {
		message.Kind = agents.KindHandoff
	}
	return []agents.Event{input(m.Source, message)}, nil
}

func input(source string, m agents.Message) agents.Event {
	m.Role = agents.RoleUser
	return agents.Event{Source: source, Body: m}
}

// run runs one task, or goes on without one, and folds what happens.
func (s *session) run(ctx context.Context, st *step, f *fold) error {
	said, err := task(&st.Run)
	if err != nil {
		return err
	}
	s.runs++
	started := agents.RunStarted{Target: s.agent.Name(), GroupChat: s.b.c.Team != nil, GrantID: "grt_1"}
	before := []agents.Event{{RunID: fmt.Sprintf("run_%d", s.runs), Body: started}}
	for _, e := range append(before, said...) {
		e = s.commit(e)
		f.add(&e)
	}
	ctx, err = s.authority(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if st.CancelAfter > 0 {
		stop := s.cancelWhenHung(ctx, cancel)
		defer stop()
	}
	err = s.drive(ctx, cancel, f)
	if err == nil && st.HandoffCtx != nil {
		err = s.probe(ctx)
	}
	s.end(err, f)
	return err
}

// authority is the grant of a person, or of the agent that acts for them.
func (s *session) authority(ctx context.Context) (context.Context, error) {
	ctx = agentstest.Context(ctx)
	if s.b.c.Team != nil {
		return ctx, nil
	}
	return identity.Child(ctx, s.agent.Name(), nil, agents.MaxDepth)
}

// cancelWhenHung stands for a cancellation after some time. The goroutine ends with
// the returned function.
func (s *session) cancelWhenHung(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.b.models.hung:
			cancel(context.Canceled)
		case <-ctx.Done():
		}
	}()
	return func() { end(); <-done }
}

// drive lets the agent run, and gives it what persons say, until there is no more.
func (s *session) drive(ctx context.Context, cancel context.CancelCauseFunc, f *fold) error {
	for {
		var asked *agents.Event
		for ev, err := range s.agent.Run(ctx, s.transcript) {
			if err != nil {
				return err
			}
			if !ev.Live() {
				ev = s.commit(ev)
			}
			f.add(&ev)
			if _, ok := ev.Body.(agents.InputRequested); ok {
				asked = &ev
			}
		}
		if asked == nil {
			return nil
		}
		if err := s.answer(asked); err != nil {
			cancel(err)
			return err
		}
	}
}

// answer gives what a person says, in the thread that asked.
func (s *session) answer(asked *agents.Event) error {
	list := s.inputs[asked.Source]
	if len(list) == 0 {
		return errors.New("the case has no more inputs of " + asked.Source)
	}
	s.inputs[asked.Source] = list[1:]
	if list[0].Error != "" {
		return fmt.Errorf("%w: %s", errNoInput, list[0].Error)
	}
	request := asked.Body.(agents.InputRequested)
	s.commit(agents.Event{
		Source: "user", Thread: asked.Thread,
		Body: agents.InputReceived{InputRequestID: request.InputRequestID, Text: list[0].Text},
	})
	return nil
}

// probe hands the conversation on for real: the next agent is asked, and its model
// gives no answer. What it was shown is in the requests.
func (s *session) probe(ctx context.Context) error {
	cfg := team.DeskConfig{Entry: s.agent.Name(), Members: []team.Member{{Agent: s.agent}}}
	for _, h := range s.b.c.Agents[s.b.c.Agent].Handoffs {
		a, err := s.b.agent(h.Target)
		if err != nil {
			return err
		}
		cfg.Members = append(cfg.Members, team.Member{Agent: a})
	}
	desk, err := team.NewDesk(cfg)
	if err != nil {
		return err
	}
	for ev, err := range desk.Run(agentstest.Context(ctx), s.transcript) {
		if err != nil {
			return nil // the script is exhausted
		}
		if !ev.Live() {
			s.commit(ev)
		}
	}
	return nil
}

// end closes a run that did not close itself: one that failed or was cancelled, and
// that of an agent that handed off to nobody.
func (s *session) end(err error, f *fold) {
	switch {
	case err == nil && f.stop == nil:
		s.commit(agents.Event{Body: agents.RunFinished{StopReason: agents.StopCompleted}})
		completed := agents.StopCompleted
		f.stop = &completed
	case errors.Is(err, context.Canceled):
		s.commit(agents.Event{Body: agents.RunFinished{StopReason: agents.StopCancelled}})
	case err != nil:
		s.commit(agents.Event{Body: agents.RunFinished{StopReason: agents.StopFailed, Reason: string(fault.From(err).Reason), ErrorMessage: fault.From(err).Message}})
	}
}
