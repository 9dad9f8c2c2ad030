package tools_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/google/go-cmp/cmp"
)

type nothing struct{}

// teller is a tool that tells how far it is.
func teller(act func(ctx context.Context, tell func(tools.Progress)), opts ...tools.Option) tools.Tool {
	return tools.Func("tell", "Tells.", func(ctx context.Context, _ nothing) (string, error) {
		tell, ok := tools.ProgressFrom(ctx)
		if !ok {
			return "nobody asks", nil
		}
		act(ctx, tell)
		return "done", nil
	}, opts...)
}

// told are a call's events about its progress.
func told(events []agents.Event) (all []agents.ToolCallProgress) {
	for _, e := range events {
		if p, ok := e.Body.(agents.ToolCallProgress); ok {
			all = append(all, p)
		}
	}
	return all
}

func TestProgressIsAnEventOfItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{tools: []tools.Tool{teller(func(_ context.Context, tell func(tools.Progress)) {
			tell(tools.Progress{Done: 1, Total: 2, Message: "half\x1b[31m\n" + strings.Repeat("é", 300)})
			<-time.After(time.Second)
		})}})

		events, err := w.do(w.bob(), call("tell", `{}`))

		if err != nil || len(events) != 3 {
			t.Fatalf("got %d events and %v, want decided, progress, finished", len(events), err)
		}
		want := agents.Event{
			Source: "support", Chain: []string{"support"}, Thread: "th", CallID: "run_1/7",
			Body: agents.ToolCallProgress{Done: 1, Total: 2, Message: "half[31m " + strings.Repeat("é", 122)},
		}
		if diff := cmp.Diff(want, events[1]); diff != "" || !events[1].Live() {
			t.Errorf("live %v (-want +got):\n%s", events[1].Live(), diff)
		}
	})
}

func TestAFloodOfProgressIsOneEventIn100Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{tools: []tools.Tool{teller(func(_ context.Context, tell func(tools.Progress)) {
			for i := range 1000 {
				tell(tools.Progress{Done: float64(i)})
				<-time.After(time.Millisecond)
			}
		})}})

		events, err := w.do(w.bob(), call("tell", `{}`))

		all := told(events)
		if err != nil || len(all) < 10 || len(all) > 11 {
			t.Fatalf("got %d events in a second and %v, want 10 or 11", len(all), err)
		}
		for i, p := range all[1:] { // the last word of each 100 ms, not the first
			if newest := float64(100 * (i + 1)); p.Done < newest-1 || p.Done > newest {
				t.Errorf("event %d tells %v, want the newest then, %v", i+1, p.Done, newest)
			}
		}
	})
}

func TestProgressThatIsNoNumberIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{tools: []tools.Tool{teller(func(_ context.Context, tell func(tools.Progress)) {
			for _, n := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1} {
				tell(tools.Progress{Done: n})
				<-time.After(time.Second)
				tell(tools.Progress{Done: 3, Total: n})
				<-time.After(time.Second)
			}
		})}})

		events, _ := w.do(w.bob(), call("tell", `{}`))

		three := agents.ToolCallProgress{Done: 3}
		if diff := cmp.Diff([]agents.ToolCallProgress{three, three, three, three}, told(events)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestProgressSaysNothingOfWhatARedactionHides(t *testing.T) {
	all := agents.ToolCallProgress{Done: 1370370370370370, Total: 4111111111111111, Message: "4111111111111111"}
	hidden := agents.ToolCallProgress{Done: 33, Total: 100}
	for duty, shown := range map[string]agents.ToolCallProgress{
		"": all, `args:$.note`: all,
		`result:$.ssn`: hidden, `result:pii:card`: hidden, `pii:email`: hidden, `stream:pii:card`: hidden,
	} {
		synctest.Test(t, func(t *testing.T) {
			o := options{tools: []tools.Tool{tools.Func("tell", "Tells.", func(ctx context.Context, _ order) (map[string]any, error) {
				tell, _ := tools.ProgressFrom(ctx)
				tell(tools.Progress(all))
				<-time.After(time.Second)
				return map[string]any{}, nil
			})}}
			if duty != "" {
				o.policies = `@id("r") @redact("` + duty + `") forbid (principal, action == Action::"call_tool", resource == Tool::"tell");`
			}
			w := newWorld(t, o)

			events, err := w.do(w.bob(), call("tell", mine))

			if diff := cmp.Diff([]agents.ToolCallProgress{shown}, told(events)); diff != "" || err != nil {
				t.Errorf("duty %q: %v (-want +got):\n%s", duty, err, diff)
			}
		})
	}
}

func TestADirectCallTellsNobodyItsProgress(t *testing.T) {
	w := newWorld(t, options{tools: []tools.Tool{teller(func(context.Context, func(tools.Progress)) {})}})
	w.gate = w.newGate("", []string{"tell"}, tools.Limits{})

	got, err := w.gate.Direct(tools.WithProgress(identity.WithGrant(t.Context(), identity.Root("g", w.person(scope), nil, "")), func(tools.Progress) { t.Error("somebody was told") }), call("tell", `{}`))

	if err != nil || string(got.Result) != `"nobody asks"` {
		t.Errorf("got %s, %v, want that nobody asks", got.Result, err)
	}
}

func TestNobodyWhoTellsWaitsForWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		var late func(tools.Progress)
		w := newWorld(t, options{tools: []tools.Tool{teller(func(_ context.Context, tell func(tools.Progress)) {
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					for range 100 {
						tell(tools.Progress{Done: float64(i)})
					}
				})
			}
			all.Wait()
			late = tell
			close(over)
		})}})

		for ev, err := range w.gate.Call(w.bob(), call("tell", `{}`)) {
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := ev.Body.(agents.ToolCallProgress); ok {
				<-over // a reader that takes nothing until the tool is done
			}
		}
		late(tools.Progress{Done: 1})
		late(tools.Progress{Done: 2})
	})
}

// Whoever leaves while a tool tells its progress leaves it like any other time: a
// read stops, a write goes on, and how it ended is on record.
func TestLeavingAtAProgressStopsAReadAndNoWrite(t *testing.T) {
	for outcome, opts := range map[string][]tools.Option{"cancelled": {tools.ReadOnly()}, "succeeded": nil} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, options{tools: []tools.Tool{tools.Func("tell", "Tells.", func(ctx context.Context, _ nothing) (string, error) {
				tell, _ := tools.ProgressFrom(ctx)
				tell(tools.Progress{Done: 1})
				select {
				case <-ctx.Done():
					return "", ctx.Err()
				case <-time.After(20 * time.Second):
				}
				tell(tools.Progress{Done: 2})
				return "done", nil
			}, opts...)}})
			begun := time.Now()

			for ev := range w.gate.Call(w.bob(), call("tell", `{}`)) {
				if _, ok := ev.Body.(agents.ToolCallProgress); ok {
					break
				}
			}

			rows := w.log.Records()
			if last := rows[len(rows)-1]; last.Outcome != outcome {
				t.Errorf("on record is %q, want %q", last.Outcome, outcome)
			}
			if took := time.Since(begun); outcome == "cancelled" && took > time.Second {
				t.Errorf("a read went on for %v", took)
			}
		})
	}
}
