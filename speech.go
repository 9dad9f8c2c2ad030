package behalf

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/pii"
	"google.golang.org/grpc/codes"
)

// overheard is an agent or group chat as it is run: whatever models say in the run,
// whoever asks them, passes what policy takes out of it.
type overheard struct {
	agents.Agent
	guard *policy.Guard
	query policy.Query // of the run's decision, without its grant
}

func (s *Server) overheard(a agents.Agent, groupChat bool) agents.Agent {
	q := policy.Query{Action: "run_agent", Resource: policy.Entity{Type: "Agent", ID: a.Name()}}
	if groupChat {
		q.Action, q.Resource.Type = "run_group_chat", "GroupChat"
	}
	return &overheard{a, s.guard, q}
}

// Run implements agents.Agent.
func (o *overheard) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		s := &speech{guard: o.guard, query: o.query}
		s.query.Grant, _ = identity.FromContext(ctx)
		t.Each(s.note)
		for ev, err := range o.Agent.Run(context.WithValue(ctx, speechKey{}, s), t) {
			s.note(&ev)
			s.hush(&ev)
			if !yield(ev, err) {
				return
			}
		}
	}
}

// speech knows what is taken out of what models say in a run. Many goroutines may
// ask it.
type speech struct {
	guard *policy.Guard
	query policy.Query

	mu     sync.Mutex
	engine *policy.Engine // that said what run is
	run    pii.Set        // by the run's decision
	calls  pii.Set        // by the calls of the session: their results are in the transcript
}

// speechKey holds the run's speech for the models.
type speechKey struct{}

// note learns from an event of the session, stored or on its way to be.
func (s *speech) note(ev *agents.Event) {
	d, ok := ev.Body.(agents.ToolCallDecided)
	if ok && len(d.Duties) > 0 {
		s.mu.Lock()
		s.calls |= policy.SpeechAfter(d.Duties)
		s.mu.Unlock()
	}
	if ev.SessionID != "" {
		s.mu.Lock()
		s.query.Session = ev.SessionID
		s.mu.Unlock()
	}
}

// hush veils a call's progress where anything is taken out of what models say.
func (s *speech) hush(ev *agents.Event) {
	p, ok := ev.Body.(agents.ToolCallProgress)
	if !ok {
		return
	}
	if set, err := s.classes(); err != nil || set != 0 {
		ev.Body = p.Veiled()
	}
}

// classes asks policy once for each of its revisions, so that what a new one says
// holds from the next words on.
func (s *speech) classes() (pii.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.guard.Engine(); e != s.engine || e == nil {
		run, err := s.guard.Speech(&s.query)
		if err != nil {
			return 0, err
		}
		s.engine, s.run = e, run
	}
	return s.run | s.calls, nil
}

var errUnheard = fault.New(codes.Internal, fault.Internal, "no policy is bound to what a model is asked")

// govern makes models say what policy lets through.
func (s *Server) govern(m agents.Model) agents.Model {
	meters := s.opt.meters
	said := func(c pii.Class, bytes int) { meters.redacted("stream", c.String(), bytes) }
	return model.Governed(m, model.GovernedConfig{
		Filters: func(ctx context.Context) (func() model.Filter, error) {
			run, ok := ctx.Value(speechKey{}).(*speech)
			if !ok {
				return nil, errUnheard
			}
			set, err := run.classes()
			if err != nil || set == 0 {
				return nil, err
			}
			return func() model.Filter { return set.Stream(said) }, nil
		},
		Held: func(d time.Duration) { meters.held.Observe(d.Seconds()) }, Clock: s.opt.now,
	})
}
