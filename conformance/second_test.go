package conformance_test

import (
	"context"
	"errors"
	"log/slog"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/runs/runstest"
)

// runTwice runs a task, and after some of its events begins another run in the same
// session. A team holds no state, so it is the engine of runs that knows.
func (s *session) runTwice(ctx context.Context, st *step, f *fold) (run, second error) {
	index := runstest.NewIndex()
	engine, err := runs.NewEngine(runs.Config{
		Log: runs.NewMemory(), Index: index, Grants: index, Voices: index, Logger: slog.New(slog.DiscardHandler),
		Targets: func(string, bool) (agents.Agent, bool) { return s.agent, true },
	})
	if err != nil {
		return err, nil
	}
	ctx = agentstest.Context(ctx)
	spec := runs.Spec{Target: s.agent.Name(), GroupChat: s.b.c.Team != nil, Input: st.Run.Value, Method: "RunAgent"}
	first, err := engine.Start(ctx, spec)
	if err != nil {
		return err, nil
	}
	spec.SessionID = first.SessionID
	second = errors.New("the first run ended before")
	for ev, err := range first.Events(ctx) {
		if err != nil {
			return err, second
		}
		f.add(&ev)
		if len(f.stream) == st.SecondRun {
			_, second = engine.Start(ctx, spec)
		}
	}
	return nil, second
}
