package runs_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
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

// Nobody fills the queue, which is everybody's.
func TestNobodyQueuesMoreThanTheirShare(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		gate := make(chan struct{})
		slow := script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			<-gate
			say(yield, of(agents.TurnStarted{Turn: 1}), reply("done"), finished("done"))
		})
		d := newDesk(t, log, slow, withQueue(log), func(c *runs.Config) { c.WorkersPerPerson, c.QueuedPerPerson = 1, 2 })
		d.work(t)
		var hers []*runs.Run
		for range 3 {
			hers = append(hers, d.start(t, ana(t), "", detached))
		}

		_, err := d.tryStart(ana(t), "", detached)

		if f := fault.From(err); f.Code != codes.ResourceExhausted || f.Reason != fault.StreamLimit || f.Meta("limit") != "3" {
			t.Errorf("got %v, want STREAM_LIMIT", err)
		}
		d.start(t, as(t, "ben", "acme", time.Hour), "", detached)
		d.start(t, ana(t), "") // with a client that waits for it
		close(gate)
		for _, run := range hers {
			if got, err := collect(run.Events(t.Context())); err != nil || end(t, got).Output != "done" {
				t.Errorf("got %v and %v", got, err)
			}
			d.state(t, run)
		}
		d.start(t, ana(t), "", detached)
	})
}

func TestNobodyKeepsMoreSessionsThanTheyMay(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) { c.SessionsPerPerson = 2 })
	first := d.start(t, ana(t), "")
	if _, err := collect(first.Events(t.Context())); err != nil {
		t.Fatal(err)
	}
	d.start(t, ana(t), "")

	_, err := d.tryStart(ana(t), "")

	if f := fault.From(err); f.Code != codes.ResourceExhausted || f.Reason != fault.StreamLimit || !strings.Contains(f.Message, "DeleteSession") {
		t.Errorf("got %v, want STREAM_LIMIT and what to do", err)
	}
	d.start(t, as(t, "ben", "acme", time.Hour), "")
	d.start(t, ana(t), first.SessionID) // one that there is goes on
	if err := d.Delete(t.Context(), "acme", first.SessionID); !errors.Is(err, fault.SessionBusy) {
		t.Errorf("got %v, want SESSION_BUSY", err)
	}
}
