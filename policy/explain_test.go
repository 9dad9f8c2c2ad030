package policy

import (
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
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
		got := d.Explain(c.q)
		if told(got) != c.want || got.Decision.Reason != c.reason || (got.Refused == nil) != (c.reason == "") {
			t.Errorf("%s: got %q (%s, %v), want %q", c.name, told(got), got.Decision.Reason, got.Refused, c.want)
		}
	}

	x := d.Explain(call("get_customer", `{"id":"c","note":"secret"}`))

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
