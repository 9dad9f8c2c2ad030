package policy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// told is what an explanation says of each policy, in its order.
func told(x Explanation) string {
	var out []string
	for _, f := range x.Findings {
		text := f.ID
		for _, mark := range []struct {
			set  bool
			text string
		}{{f.Determines, "determines"}, {f.Holds, "holds"}, {f.Failed, "failed"}} {
			if mark.set {
				text += " " + mark.text
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestAnExplanationNamesWhatMatteredAndNothingOfOtherTenants(t *testing.T) {
	set := loadFiles(t, map[string]string{
		"base.cedar":                permitAll + "\n\n" + `@id("cap") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents > 100 };`,
		"tenants/acme/a.cedar":      `@id("acme-note") @redact("args:$.note") forbid (principal, action == Action::"call_tool", resource in Toolset::"crm");`,
		"tenants/globex/g.cedar":    `@id("globex-only") forbid (principal, action == Action::"call_tool", resource);`,
		"tenants/acme/boom.cedar":   `@id("boom") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents * 1000 > 5 };`,
		"tenants/acme/unused.cedar": `@id("unused") forbid (principal, action == Action::"call_tool", resource) when { principal in Role::"robot" };`,
	})
	d := newDesk(t, permitAll)
	d.Swap(NewEngine(set))
	for _, c := range []struct {
		name, want, reason string
		q                  *Query
	}{
		{"allowed with a duty", "acme-note determines holds, all determines holds, unused", "", call("get_customer", `{"id":"c","note":"secret"}`)},
		{"an error", "boom determines failed, all holds, cap holds, unused", "POLICY_ERROR", call("refund_order", `{"order":"o","amount_cents":9223372036854775807}`)},
		{"arguments that cannot be read", "", "POLICY_ERROR", call("refund_order", `{`)},
	} {
		got, err := d.Explain(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		if told(got) != c.want || got.Decision.Reason != c.reason || (got.Refused == nil) != (c.reason == "") {
			t.Errorf("%s: got %q (%s, %v), want %q", c.name, told(got), got.Decision.Reason, got.Refused, c.want)
		}
	}

	x, err := d.Explain(t.Context(), call("get_customer", `{"id":"c","note":"secret"}`))
	if err != nil {
		t.Fatal(err)
	}

	if f := x.Findings[0]; f.File != "tenants/acme/a.cedar" || f.Line != 1 || len(f.Duties) != 1 || f.Permit {
		t.Errorf("got %+v", f)
	}
	if strings.Contains(string(x.Sent), "secret") || len(d.log.entries) > 0 {
		t.Errorf("got %s and %d rows, want the note taken out and nothing recorded", x.Sent, len(d.log.entries))
	}
}

func TestWouldAnswersLikeRead(t *testing.T) {
	d := newDesk(t, permitAll+`@id("f") forbid (principal, action, resource == Tool::"get_customer");
		@id("r") @redact("result:$.ssn") forbid (principal, action == Action::"call_tool", resource == Tool::"update_customer");`)
	for tool, want := range map[string]fault.Reason{"get_customer": fault.PolicyDenied, "update_customer": fault.PolicyError, "send_mail": ""} {
		args := `{"id":"c"}`
		if tool == "send_mail" {
			args = `{"to":["a"]}`
		}

		would := d.Would(call(tool, args))

		if want == "" && would != nil || want != "" && fault.From(would).Reason != want {
			t.Errorf("%s: got %v, want %q", tool, would, want)
		}
		if len(d.log.entries) > 0 {
			t.Errorf("%s: something was recorded", tool)
		}
		if read := d.Read(t.Context(), call(tool, args)); (read == nil) != (would == nil) || read != nil && fault.From(read).Reason != want {
			t.Errorf("%s: Read says %v, Would says %v", tool, read, would)
		}
		d.log.entries = nil
	}
}

func TestExplainSaysWhatIsUsedUpAndWhenThereIsRoomAgain(t *testing.T) {
	g, log, now := counted(t, permitAll+`@id("two") @rate("2/1m") @budget("9 calls/1h") forbid (principal, action == Action::"call_tool", resource);
@id("tokens") @budget("1000 tokens/24h") forbid (principal, action in [Action::"call_tool", Action::"run_agent"], resource);`)
	explain := func(q *Query) Explanation {
		t.Helper()
		x, err := g.Explain(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}

	fresh := explain(customer())
	for range 2 {
		if err := allowed(t, g, customer()); err != nil {
			t.Fatal(err)
		}
	}
	full, other := explain(customer()), explain(callBy(person("acme", "bob"), "get_customer", `{"id":"c"}`))
	rows := len(log.Records())
	_, denied := g.Begin(t.Context(), customer())
	if denied == nil {
		denied = allowed(t, g, customer())
	}

	want := []Limit{{Most: 1000}, {Most: 9}, {Most: 2}}
	for i, l := range fresh.Limits {
		if l.Used != 0 || l.Most != want[i].Most || !l.Refills.IsZero() {
			t.Errorf("got %+v, want nothing used of %d", l, want[i].Most)
		}
	}
	if fresh.UsedUp != nil || len(fresh.Limits) != 3 || other.UsedUp != nil || other.Limits[2].Used != 0 {
		t.Errorf("got %+v and of another person %+v, want three limits with room", fresh, other)
	}
	if l := full.Limits[2]; l.Used != 2 || l.Duty.String() != `@rate("2/1m")` || l.Refills.Before(*now) || l.Refills.After(now.Add(62*time.Second)) {
		t.Errorf("got %+v, want two of two used, and room in a minute", l)
	}
	if full.UsedUp == nil || full.UsedUp.Reason != fault.RateLimited || full.UsedUp.RetryAfter() <= 0 || full.Limits[1].Used != 2 || !full.Limits[1].Refills.IsZero() {
		t.Errorf("got %+v, want the rate used up and the budget not", full)
	}
	if f := fault.From(denied); f.Reason != full.UsedUp.Reason || f.RetryAfter() != full.UsedUp.RetryAfter() {
		t.Errorf("the call says %v, the explanation %v", f, full.UsedUp)
	}
	if rows != 2 {
		t.Errorf("got %d rows, want the two calls' only", rows)
	}
	*now = full.Limits[2].Refills
	if again := explain(customer()); again.UsedUp != nil {
		t.Errorf("got %v when it said that there is room", again.UsedUp)
	}
}

func TestAnExplanationThatCannotReadTheLimitsSaysSo(t *testing.T) {
	d := newDesk(t, permitAll+`@id("two") @rate("2/1m") forbid (principal, action, resource);`)
	d.config.Buckets = unreadable{}

	_, err := d.Explain(t.Context(), customer())

	wantFault(t, err, codes.Unavailable, fault.AuditUnavailable)
}

// unreadable are buckets that a store does not give.
type unreadable struct{}

func (unreadable) Reserve(context.Context, []audit.Reservation) error { return errSinkHangs }
func (unreadable) Levels(context.Context, []audit.Reservation) ([]audit.Level, error) {
	return nil, errSinkHangs
}
