package runs

import (
	"iter"
	"testing"

	"github.com/behalf-dev/behalf/agents"
)

// Whoever begins to watch reads the result from the log; what was told of the call
// before it is late then.
func TestProgressDoesNotFollowItsResult(t *testing.T) {
	k := Key{Tenant: "acme", Session: "ses_1"}
	result := agents.Event{Sequence: 1, CallID: "run_1/4", Body: agents.ToolCallFinished{Result: "1"}}
	end := agents.Event{Sequence: 2, Body: agents.RunFinished{}}
	h := newHub()
	read := func(after uint64) iter.Seq2[agents.Event, error] {
		return func(yield func(agents.Event, error) bool) {
			for call, told := range map[string]float64{"run_1/4": 1, "run_1/5": 2} { // while the log is being read
				h.publish(k, &agents.Event{CallID: call, Body: agents.ToolCallProgress{Done: told}})
			}
			h.stored(k, []agents.Event{result, end})
			yield(result, nil)
		}
	}

	var told []float64
	for e, err := range h.watch(t.Context(), k, 0, read) {
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := e.Body.(agents.ToolCallProgress); ok {
			told = append(told, p.Done)
		}
		if e.Sequence == 2 {
			break
		}
	}

	if len(told) != 1 || told[0] != 2 {
		t.Errorf("shown is %v, want only that of the call without a result", told)
	}
}
