package runs_test

import (
	"context"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/runs"
)

func TestNoRunHasMoreTurnsThanAnyMay(t *testing.T) {
	idle := script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		yield(agents.Event{Body: agents.RunFinished{StopReason: agents.StopCompleted}}, nil)
	})
	for name, c := range map[string]struct{ any, asked, want int }{
		"nothing said":        {0, 0, 64},
		"fewer":               {0, 5, 5},
		"more":                {0, 65, 64},
		"more by the config":  {1000, 500, 500},
		"more than by it too": {10, 11, 10},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, runs.NewMemory(), idle, func(cfg *runs.Config) { cfg.MaxTurns = c.any })

			run := d.start(t, ana(t), "", func(s *runs.Spec) { s.Limits.MaxTurns = c.asked })

			for _, err := range run.Events(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
			}
			started, ok := d.stored(t, run)[0].Body.(agents.RunStarted)
			if !ok || started.Limits.MaxTurns != c.want {
				t.Errorf("got %+v, want %d turns", started.Limits, c.want)
			}
		})
	}
}
