package tools_test

import (
	"context"
	"testing"

	"github.com/behalf-dev/behalf/agents"
)

func TestArgumentsAreShownAsTheyWouldBeSent(t *testing.T) {
	w := newWorld(t, options{policies: `@id("cards") @redact("args:pii:card") forbid (principal, action == Action::"call_tool", resource == Tool::"look");`})
	shown := func(ctx context.Context, tool, args string) string {
		return w.gate.Shown(ctx, agents.CallRequest{Tool: tool, Arguments: args})
	}
	for _, c := range []struct{ tool, args, want string }{
		{"look", `{ "owner":"bob", "amount":1, "note":"fine" }`, `{ "owner":"bob", "amount":1, "note":"fine" }`},
		{"look", `{"owner":"bob","amount":1,"note":"4111111111111111"}`, `{"amount":1,"note":"[redacted]","owner":"bob"}`},
		{"look", `{"other":"4111111111111111"}`, `{"other":"[redacted]"}`},
		{"look", `4111111111111111`, `"[redacted]"`},
		{"look", `{"note":"4111111111111111"`, `"[redacted]"`},
		{"post", `{"note":"4111111111111111"}`, `{"note":"4111111111111111"}`},
		{"nobody_knows", `{"note":"4111111111111111"}`, `{"note":"4111111111111111"}`},
	} {
		if got := shown(w.bob(), c.tool, c.args); got != c.want {
			t.Errorf("%s: got %s from %s, want %s", c.tool, got, c.args, c.want)
		}
	}
	if got := shown(t.Context(), "look", `{}`); got != `"[redacted]"` {
		t.Errorf("got %s without an identity", got)
	}
}
