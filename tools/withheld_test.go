package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// What a backend says beside its result may hold anything of it.
func TestTheOperatorReadsNothingThatIsTakenOutOfResults(t *testing.T) {
	said := errors.New("no order of 123-45-6789 for alice@example.com")
	lost := fault.New(codes.Unavailable, fault.ToolUnavailable, "the backend was lost")
	refused := tools.Carried{Target: "crm:443", Backend: tools.Backend{Audience: "crm"}, Tokens: &tools.Tokens{}}.Refused(said)
	late := func(ctx context.Context) error { <-ctx.Done(); return said }
	at := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for name, c := range map[string]struct {
		duty string
		fail func(context.Context) error
		told string
	}{
		"nothing is due":        {`args:pii:card`, at(lost.Because(said)), "the backend was lost: no order of 123-45-6789 for alice@example.com"},
		"a path":                {`result:$.ssn`, at(lost.Because(said)), "the backend was lost: the tool failed, and its text was withheld"},
		"a path, no cause":      {`result:$.ssn`, at(lost), "the backend was lost"},
		"a path, no fault":      {`result:$.ssn`, at(said), "its text was withheld"},
		"a path, a refusal":     {`result:$.ssn`, at(refused), `crm:443 refused a token for "crm"`},
		"a path, late":          {`result:$.ssn`, late, "its text was withheld"},
		"a path, our own words": {`result:$.ssn`, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "context deadline exceeded"},
		"a class":               {`result:pii:all`, at(lost.Because(said)), "the backend was lost: no order of [redacted] for [redacted]"},
		"a class, a refusal":    {`pii:all`, at(refused), "see its log: no order of [redacted] for [redacted]"},
		"a class, late":         {`pii:all`, late, "no order of [redacted]"},
		"a class and a path":    {`pii:all, result:$.ssn`, at(lost.Because(said)), "its text was withheld"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, options{
					tools:    []tools.Tool{raw("t", tools.Read, func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) { return nil, c.fail(ctx) })},
					policies: `@id("less") @redact("` + c.duty + `") forbid (principal, action == Action::"call_tool", resource == Tool::"t");`,
				})

				w.finished(w.bob(), call("t", "{}"))

				if len(w.reports) != 1 || !strings.Contains(w.reports[0].Error(), c.told) {
					t.Fatalf("the operator is told %v, want %q", w.reports, c.told)
				}
				if got := w.reports[0].Error(); strings.Contains(got, "6789") && !strings.Contains(c.told, "6789") {
					t.Errorf("the operator is told %s", got)
				}
			})
		})
	}
}
