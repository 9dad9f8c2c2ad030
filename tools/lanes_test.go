package tools_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

// busy is a world with a tool that is at work until gate is closed.
func busy(t *testing.T, lanes *tools.Lanes) (w *world, gate chan struct{}, atWork, most *atomic.Int64, begun chan struct{}) {
	t.Helper()
	gate, begun, atWork, most = make(chan struct{}), make(chan struct{}, 64), &atomic.Int64{}, &atomic.Int64{}
	slow := tools.Func("slow", "Takes its time.", func(context.Context, struct{}) (string, error) {
		n := atWork.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		begun <- struct{}{}
		<-gate
		atWork.Add(-1)
		return "done", nil
	}, tools.ReadOnly())
	w = newWorld(t, options{tools: []tools.Tool{slow}})
	w.lanes = lanes
	w.gate = w.newGate("support", w.registry.Names(), tools.Limits{})
	return w, gate, atWork, most, begun
}

func TestCallsOfAgentsWaitForALaneAndDirectOnesAreRefused(t *testing.T) {
	w, gate, _, most, begun := busy(t, tools.NewLanes(3))
	direct := w.newGate("", w.registry.Names(), tools.Limits{})
	var group sync.WaitGroup
	ctx := w.bob()
	agents := func(n int) {
		for range n {
			group.Go(func() {
				for ev, err := range w.gate.Call(ctx, call("slow", "{}")) {
					if err != nil {
						t.Errorf("got %v after %v", err, ev)
					}
				}
			})
		}
	}
	agents(3)
	for range 3 {
		<-begun
	}

	root := identity.WithGrant(t.Context(), identity.Root("grt_2", w.person(), nil, ""))
	_, err := direct.Direct(root, call("look", mine)) // before others may have the lane that there must not be
	if f := fault.From(err); f.Reason != fault.RateLimited || f.RetryAfter() <= 0 {
		t.Errorf("got %v, want it refused at once", err)
	}
	agents(9)
	eve := w.person()
	eve.User.Subject = "eve"
	if _, err := direct.Direct(identity.WithGrant(t.Context(), identity.Root("grt_3", eve, nil, "")), call("look", mine)); err != nil {
		t.Errorf("another person: %v", err)
	}
	gone, cancel := context.WithCancelCause(ctx)
	cancel(errGoneAway)
	for _, err := range w.gate.Call(gone, call("slow", "{}")) {
		if !errors.Is(err, errGoneAway) {
			t.Errorf("got %v of a call that was given up, want its cause", err)
		}
	}
	close(gate)
	group.Wait()
	if most.Load() != 3 {
		t.Errorf("got %d calls at once, want 3", most.Load())
	}
	if _, err := direct.Direct(root, call("look", mine)); err != nil {
		t.Errorf("when all have ended: %v", err)
	}
}

func TestAPersonHas16LanesUnlessToldOtherwise(t *testing.T) {
	for said, want := range map[int]int{0: 16, 3: 3, 100: 100} {
		if got := tools.NewLanes(said).Limit(); got != want {
			t.Errorf("%d: got %d, want %d", said, got, want)
		}
	}
}

var errGoneAway = errors.New("gone away")
