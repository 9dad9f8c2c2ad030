package mcptool_test

import (
	"sync/atomic"

	"github.com/behalf-dev/behalf/agents"
)

// chanSwitch is something that is on or off.
type chanSwitch struct{ v atomic.Bool }

func (s *chanSwitch) on() bool   { return s.v.Load() }
func (s *chanSwitch) set(v bool) { s.v.Store(v) }

func toolCall(name, args string) agents.ToolCall {
	return agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: name, Arguments: args}
}

func play(string) int { return 1 }
