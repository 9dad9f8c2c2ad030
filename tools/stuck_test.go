package tools_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
)

// hang makes calls of t until one is refused, one after the other.
func (w *world) hang(ctx context.Context, tool string) (n int) {
	w.t.Helper()
	for {
		fin := w.finished(ctx, call(tool, "{}"))
		if fin.Reason == string(fault.ToolUnavailable) {
			return n
		}
		if n++; fin.Reason != string(fault.DeadlineExceeded) || n > 100 {
			w.t.Fatalf("got %+v of call %d", fin, n)
		}
	}
}

// hanging are tools that do not stop for an hour: t0, t1 and so on.
func hanging(n int) options {
	o := options{limits: tools.Limits{ReadTimeout: time.Second}}
	for i := range n {
		o.tools = append(o.tools, raw(fmt.Sprintf("t%d", i), tools.Read, deaf(time.Hour)))
	}
	return o
}

func (w *world) named(subject string) context.Context {
	p := w.person(scope)
	p.User.Subject = subject
	return w.as(p, nil)
}

func (w *world) wantCall(ctx context.Context, who string, c agents.ToolCall) {
	w.t.Helper()
	if fin := w.finished(ctx, c); fin.Reason == string(fault.ToolUnavailable) {
		w.t.Errorf("%s: got %+v, want the call made", who, fin)
	}
}

func TestCallsThatDoNotStopTakeNothingFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hanging(9))

		if n := w.hang(w.bob(), "t0"); n != 4 {
			t.Errorf("got %d calls of one person and tool, want 4", n)
		}
		w.wantCall(w.bob(), "another tool", call("look", mine))
		w.wantCall(w.named("eve"), "another person", call("t0", "{}"))
		for i := 1; i < 4; i++ {
			w.hang(w.bob(), fmt.Sprintf("t%d", i))
		}
		if fin := w.finished(w.bob(), call("look", mine)); fin.Reason != string(fault.ToolUnavailable) {
			t.Errorf("got %+v after 16 calls of one person, want TOOL_UNAVAILABLE", fin)
		}
		w.wantCall(w.named("eve"), "another person after 16 of one", call("look", mine))

		<-time.After(2 * time.Hour)
		w.wantCall(w.bob(), "when they are home", call("t0", "{}"))
		<-time.After(2 * time.Hour)
	})
}

func TestCallsThatDoNotStopAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hanging(5))
		total := 0
		for person := range 5 {
			for tool := range 5 {
				total += w.hang(w.named(fmt.Sprint("p", person)), fmt.Sprint("t", tool))
			}
		}

		if total != 64 {
			t.Errorf("got %d calls in all, want 64", total)
		}
		<-time.After(2 * time.Hour)
		w.wantCall(w.named("p0"), "when they are home", call("look", mine))
	})
}

// Those who call at the same time pass the bound together.
func TestCallsThatBeginTogetherTakeNothingFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, hanging(1))
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { w.finished(w.bob(), call("t0", "{}")) })
		}
		all.Wait()

		w.wantCall(w.named("eve"), "another person", call("t0", "{}"))
		w.wantCall(w.bob(), "another tool", call("look", mine))
		<-time.After(2 * time.Hour)
	})
}
