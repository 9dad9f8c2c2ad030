package mcptool_test

import (
	"github.com/behalf-dev/behalf/agents"
)

// progress is what is shown of a call of bob's, which must work, while it is made.
func (w *world) progress(name, args string) (all []agents.ToolCallProgress) {
	w.t.Helper()
	for ev, err := range w.gate.Call(as(w.t.Context(), "bob"), agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: name, Arguments: args}) {
		if err != nil {
			w.t.Fatal(err)
		}
		switch b := ev.Body.(type) {
		case agents.ToolCallProgress:
			all = append(all, b)
		case agents.ToolCallFinished:
			if b.Failed {
				w.t.Fatal(b.Result)
			}
		}
	}
	return all
}
