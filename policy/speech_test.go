package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy/pii"
	"google.golang.org/grpc/codes"
)

const cards = `@id("cards") @redact("pii:card, result:$.ssn, stream:pii:card") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`

func TestTheGuardTellsHowMuchWasTakenOut(t *testing.T) {
	d := newDesk(t, permitAll+cards)
	var told []string
	d.config.OnRedacted = func(place, class string, n int) { told = append(told, fmt.Sprint(place, " ", class, " ", n)) }

	p, err := d.Begin(t.Context(), call("get_customer", `{"id":"c","note":"4111111111111111"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Redact([]byte(`{"ssn":"123","n":4111111111111111}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Redact([]byte(`{`)); err == nil {
		t.Fatal("got no error")
	}

	want := "[args card 16 result path 3 result card 16 result whole 1]"
	if got := fmt.Sprint(told); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := string(p.SentArguments()); got != `{"id":"c","note":"[redacted]"}` {
		t.Errorf("got %s", got)
	}
	if got := d.log.record(0).RedactedArguments; strings.Contains(got, "4111") {
		t.Errorf("got %s on record", got)
	}
}

func TestADeniedCallIsRecordedWithoutWhatADetectorFinds(t *testing.T) {
	d := newDesk(t, permitAll+cards+`@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`)

	_, err := d.Begin(t.Context(), call("get_customer", `{"id":"4111111111111111"}`))

	wantFault(t, err, codes.PermissionDenied, fault.PolicyDenied)
	if got := d.log.record(0).RedactedArguments; got != `{"id":"[redacted]"}` {
		t.Errorf("got %s on record", got)
	}
}

func TestShownArgumentsAreWhatWouldBeSent(t *testing.T) {
	d := newDesk(t, permitAll+`
@id("staff") @redact("args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args.id == "c" };
@id("cards") @redact("pii:card") forbid (principal in Role::"support", action == Action::"call_tool", resource in Toolset::"crm");
@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args.id == "x" };`)
	for args, want := range map[string]string{
		`{"id":"c","note":"n"}`:                 `{"id":"c","note":"[redacted]"}`,
		`{"id":"d", "note":"4111111111111111"}`: `{"id":"d", "note":"4111111111111111"}`, // not support's
		`{"id":"x","note":"4111111111111111"}`:  `{"id":"x","note":"[redacted]"}`,        // denied: all that might be due
		`not JSON`:                              `"[redacted]"`,
	} {
		if got := string(d.Shown(call("get_customer", args))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := string(d.Shown(call("refund_order", `{"x":4111111111111111}`))); got != `{"x":4111111111111111}` {
		t.Errorf("got %s, want it as it is: no policy redacts there", got)
	}
	d.wantRows(t, "")
}

const speaking = permitAll + `
@id("all") @redact("stream:pii:card") forbid (principal, action in [Action::"run_agent"], resource);
@id("some") @redact("stream:pii:email") forbid (principal in Role::"support", action == Action::"run_agent", resource == Agent::"support");`

func TestWhatModelsSayIsFilteredAsTheRunsDecisionSays(t *testing.T) {
	src := strings.Replace(speaking, `@id("all") permit`, `@id("permit") permit`, 1)
	d := newDesk(t, src)
	run := func(agent string, roles ...string) *Query {
		return &Query{Grant: grantOf(person("acme", "alice", roles...)), Action: "run_agent", Resource: Entity{Type: "Agent", ID: agent}}
	}
	card, email := must(pii.Parse("card")), must(pii.Parse("email"))
	for q, want := range map[*Query]pii.Set{run("billing"): card, run("support"): card, run("support", "support"): card | email} {
		if got, err := d.Speech(q); err != nil || got != want {
			t.Errorf("got %v (%v), want %v", got, err, want)
		}
	}

	d.Swap(engineOf(t, permitAll))
	if got, err := d.Speech(run("support", "support")); err != nil || got != 0 {
		t.Errorf("got %v (%v), want nothing without a policy", got, err)
	}
	d.Swap(engineOf(t, strings.Replace(src, "permit (", "forbid (", 1)))
	_, err := d.Speech(run("support"))
	wantFault(t, err, codes.PermissionDenied, fault.PolicyDenied)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestARunWithAStreamDutyGoesOnAfterAPause(t *testing.T) {
	d := newDesk(t, strings.Replace(speaking, `@id("all") permit`, `@id("permit") permit`, 1))
	n := 0

	err := d.Do(t.Context(), &Query{Grant: grantOf(person("acme", "alice")), Action: "run_agent", Resource: Entity{Type: "Agent", ID: "support"}}, effects(&n))

	if err != nil || n != 1 {
		t.Errorf("got %v and %d effects: what is said is no part of what is resumed", err, n)
	}
}

func TestTheDutiesOfACallFilterWhatIsSaidAfterwards(t *testing.T) {
	card := must(pii.Parse("card"))
	for text, want := range map[string]pii.Set{
		`@redact("result:$.ssn, args:$.note, pii:card, stream:pii:card")`: card,
		`@redact("pii:card")`: 0, `@rate("60/1m")`: 0, `@redact("result:$['stream']")`: 0,
		`@redact("stream:pii:new_class")`: pii.All, `@redact(stream:)`: pii.All,
	} {
		if got := SpeechAfter([]string{text}); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}
