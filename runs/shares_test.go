package runs_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
)

// One person's runs must not keep another's waiting, however many there are.
func TestNobodyTakesAllTheWorkers(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		var atWork, most atomic.Int64
		gate := make(chan struct{})
		slow := script(func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			if g, _ := identity.FromContext(ctx); g.Principal().Subject() == "ana" {
				n := atWork.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-gate
				atWork.Add(-1)
			}
			say(yield, of(agents.TurnStarted{Turn: 1}), reply("done"), finished("done"))
		})
		d := newDesk(t, log, slow, withQueue(log), func(c *runs.Config) { c.Workers, c.WorkersPerPerson = 4, 2 })
		var hers []*runs.Run
		for range 12 {
			hers = append(hers, d.start(t, ana(t), "", detached))
		}
		his := d.start(t, as(t, "ben", "acme", 3600e9), "", detached)
		d.work(t)

		if got, err := collect(his.Events(t.Context())); err != nil || end(t, got).Output != "done" {
			t.Errorf("got %v and %v of the other's run, want it done while hers are at work", got, err)
		}
		close(gate)
		for _, run := range hers {
			if got, err := collect(run.Events(t.Context())); err != nil || end(t, got).Output != "done" {
				t.Errorf("got %v and %v, want each of hers done in the end", got, err)
			}
		}
		if most.Load() > 2 {
			t.Errorf("got %d of her runs at work at once, want 2 at most", most.Load())
		}
	})
}

func TestWhatWaitsForAShareGoesBackAtTheEnd(t *testing.T) {
	log := runs.NewMemory()
	begun := make(chan struct{}, 8)
	hang := script(func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		begun <- struct{}{}
		<-ctx.Done()
		yield(agents.Event{}, context.Cause(ctx))
	})
	queue := runs.NewMemoryQueue(0)
	d := newDesk(t, log, hang, func(c *runs.Config) { c.WorkersPerPerson, c.Queue = 1, queue })
	for range 3 {
		d.start(t, ana(t), "", detached)
	}
	stop := d.work(t)
	<-begun
	stop()

	for range 3 { // one at work, and two that waited or were not taken yet
		if _, err := queue.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
