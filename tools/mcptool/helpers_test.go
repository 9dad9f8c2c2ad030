package mcptool_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
)

// chanSwitch is something that is on or off.
type chanSwitch struct{ v atomic.Bool }

func (s *chanSwitch) on() bool   { return s.v.Load() }
func (s *chanSwitch) set(v bool) { s.v.Store(v) }

func toolCall(name, args string) agents.ToolCall {
	return agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: name, Arguments: args}
}

func calltokenSubject(t testing.TB, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Sub string }
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c.Sub
}
