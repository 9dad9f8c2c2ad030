package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy/pii"
	"google.golang.org/grpc/codes"
)

func TestDetectorsSearchEveryTextOfAResult(t *testing.T) {
	cases := []struct{ class, result, want string }{
		{"card", `{ "a" : "no card" }`, `{ "a" : "no card" }`},
		{"card", `{"a":"pay 4111 1111 1111 1111 now"}`, `{"a":"pay [redacted] now"}`},
		{"card", `{"a":[{"b":["4111111111111111"]}]}`, `{"a":[{"b":["[redacted]"]}]}`},
		{"card", `"4111111111111111"`, `"[redacted]"`},
		{"card", `4111111111111111`, `"[redacted]"`},
		{"card", `{"n":4111111111111111,"m":4111111111111112}`, `{"m":4111111111111112,"n":"[redacted]"}`},
		{"card", `{"n":4.111111111111111e15}`, `{"n":"[redacted]"}`},
		{"card", `{"n":4111111111111111.0}`, `{"n":"[redacted]"}`},
		{"card", `{"n":41111111111111110000e-4}`, `{"n":"[redacted]"}`},
		{"card", `{"n":1e400,"m":1e-400}`, `{"n":1e400,"m":1e-400}`},
		{"email", `{"alice@example.com":{"bob@example.com":1},"carol@example.com":2,"[redacted]":3}`, `{"[redacted]":3,"[redacted] 2":{"[redacted]":1},"[redacted] 3":2}`},
		{"email", `{"a":"\u0061lice\u0040example.com"}`, `{"a":"[redacted]"}`},
		{"secret", `{"a":"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nbye"}`, `{"a":"[redacted]\nbye"}`},
		{"all", `{"a":"alice@example.com","b":"+49 30 1234567","c":true,"d":null}`, `{"a":"[redacted]","b":"[redacted]","c":true,"d":null}`},
	}
	for _, c := range cases {
		for _, place := range []string{"", "result:"} {
			got, err := redaction(t, place+"pii:"+c.class).Result(json.RawMessage(c.result))

			if err != nil || string(got) != c.want {
				t.Errorf("%s on %s: got %s (%v), want %s", c.class, c.result, got, err, c.want)
			}
		}
		got, err := redaction(t, "args:pii:"+c.class+", stream:pii:all").Result(json.RawMessage(c.result))
		if err != nil || string(got) != c.result {
			t.Errorf("%s of arguments: got %s (%v), want the result as it is", c.class, got, err)
		}
	}
}

func TestDetectorsSearchArguments(t *testing.T) {
	for place, want := range map[string]string{"": `{"note":"[redacted]"}`, "args:": `{"note":"[redacted]"}`, "result:": `{"note":"4111111111111111"}`, "stream:": `{"note":"4111111111111111"}`} {
		sent, changed, err := redaction(t, place+"pii:card").Args(json.RawMessage(`{"note":"4111111111111111"}`))

		if err != nil || string(sent) != want || changed != strings.Contains(want, Redacted) {
			t.Errorf("%q: got %s changed=%v (%v), want %s", place, sent, changed, err, want)
		}
	}
}

func TestWhatIsNoJSONIsTakenOutWhole(t *testing.T) {
	for _, result := range []string{`4111 1111 1111 1111`, `{"a":1,"a":"4111111111111111"}`, ``} {
		got, err := redaction(t, "pii:card").Result(json.RawMessage(result))

		if err == nil || string(got) != `"[redacted]"` {
			t.Errorf("%s: got %s (%v)", result, got, err)
		}
	}
}

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

	d.Swap(engine(t, permitAll))
	if got, err := d.Speech(run("support", "support")); err != nil || got != 0 {
		t.Errorf("got %v (%v), want nothing without a policy", got, err)
	}
	d.Swap(engine(t, strings.Replace(src, "permit (", "forbid (", 1)))
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

func TestRedactionsAreCheckedAtLoad(t *testing.T) {
	load(t, permitAll+`@id("a") @redact("result:$.ssn, args:$.note, pii:card, stream:pii:card") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");
@id("b") @redact("stream:pii:secret") forbid (principal, action == Action::"run_agent", resource);`)
	for head, want := range map[string]string{
		`@redact("pii:ssn") forbid (principal, action == Action::"call_tool", resource)`:                                `"ssn" is not a class of data; known are card`,
		`@redact("stream:pii:x") forbid (principal, action == Action::"run_agent", resource)`:                           `base.cedar:1:`,
		`@redact("pii:card") forbid (principal, action == Action::"run_agent", resource)`:                               `@redact needs action == Action::"call_tool"`,
		`@redact("stream:pii:card") forbid (principal, action, resource)`:                                               `@redact of stream: needs`,
		`@redact("stream:pii:card") forbid (principal, action in [Action::"run_agent", Action::"call_tool"], resource)`: `@redact of stream: needs`,
		`@redact("stream:pii:card") forbid (principal, action == Action::"get_session", resource)`:                      `@redact of stream: needs`,
		`@redact("stream:$.a") forbid (principal, action == Action::"run_agent", resource)`:                             `want args:$.path`,
	} {
		wantProblem(t, `@id("x") `+head+";", want)
	}
}

func BenchmarkGuardedCallWithDetectors(b *testing.B) {
	d := newDesk(b, permitAll+`@id("cards") @redact("pii:all") forbid (principal, action == Action::"call_tool", resource);`)
	q := call("get_customer", okCall)
	doc := []byte(`{"name":"Ann","card":"4111 1111 1111 1111","mail":"ann@example.com","orders":[{"id":1,"total":12.50},{"id":2,"total":99.99}],"active":true}`)
	b.ReportAllocs()
	defer cpuTime(b)()
	for b.Loop() {
		p, err := d.Begin(context.Background(), q)
		if err != nil || p.Wait(b.Context()) != nil {
			b.Fatal(err)
		}
		if _, err := p.Redact(doc); err != nil {
			b.Fatal(err)
		}
		p.Done(b.Context(), Result{Outcome: Succeeded})
		d.log.entries = d.log.entries[:0]
	}
}
