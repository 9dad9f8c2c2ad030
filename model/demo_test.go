package model

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/google/go-cmp/cmp"
)

func desk(t *testing.T) *Demo {
	t.Helper()
	rules, err := os.ReadFile("testdata/desk.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDemo(DemoConfig{Rules: rules, Name: "desk.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func asked(agent, text string, answers ...agents.PromptMessage) *agents.Prompt {
	p := ask(text)
	p.Agent = agent
	p.Messages = append(p.Messages, answers...)
	return p
}

func answered(tool, result string) agents.PromptMessage {
	return agents.PromptMessage{Role: agents.RoleTool, Tool: tool, Text: result}
}

func refusedBy(tool, result string) agents.PromptMessage {
	return agents.PromptMessage{Role: agents.RoleTool, Tool: tool, Text: result, Failed: true}
}

func TestDemoPlaysTheDesk(t *testing.T) {
	customer := answered("get_customer", `{"name":"Ada"}`)
	orders := answered("list_orders", `{"orders":[{},{}]}`)
	rows := []struct {
		name   string
		prompt *agents.Prompt
		text   string
		calls  []agents.CallRequest
	}{
		{
			"hand-off", asked("triage", "I want a REFUND"), "I am passing you to billing.",
			[]agents.CallRequest{{ID: "call_1_0", Tool: "transfer_to_billing", Arguments: "{}"}},
		},
		{
			"calls after a hand-off", asked("billing", "refund O-7 of C-1", answered("transfer_to_billing", "ok")), "I will look first.",
			[]agents.CallRequest{
				{ID: "call_2_0", Tool: "get_customer", Arguments: `{"customer_id":"C-1","full":true,"depth":2,"tags":["C-1",null],"note":"a \"b\" <c>"}`},
				{ID: "call_2_1", Tool: "list_orders", Arguments: `{"customer_id": "C-1"}`},
			},
		},
		{
			"what the person said, not the agents", asked("billing", "refund O-7 of C-1",
				agents.PromptMessage{Role: agents.RoleUser, Name: "triage", Text: "I am passing you to billing."},
				agents.PromptMessage{Role: agents.RoleUser, Name: "triage", Text: "Transferred to billing."}, customer, orders),
			"Ada bought O-7 of 2; middle name (unknown).",
			[]agents.CallRequest{{ID: "call_5_0", Tool: "refund_order", Arguments: `{"order_id":"O-7","amount_cents":74900}`}},
		},
		{
			"an agent where no person has spoken", &agents.Prompt{Agent: "triage", Messages: []agents.PromptMessage{
				{Role: agents.RoleUser, Name: "planner", Text: "Refund them."}, {Role: agents.RoleUser, Name: "planner", Text: "a refund, please"},
			}}, "I am passing you to billing.",
			[]agents.CallRequest{{ID: "call_2_0", Tool: "transfer_to_billing", Arguments: "{}"}},
		},
		{
			"results in any order", asked("billing", "refund O-7 of C-1", orders, customer), "Ada bought O-7 of 2; middle name (unknown).",
			[]agents.CallRequest{{ID: "call_3_0", Tool: "refund_order", Arguments: `{"order_id":"O-7","amount_cents":74900}`}},
		},
		{
			"failure", asked("billing", "refund O-7 of C-1", customer, orders, refusedBy("refund_order", `{"error":{"reason":"POLICY_DENIED","message":"no"}}`)),
			"I could not: POLICY_DENIED.", nil,
		},
		{
			"success", asked("billing", "refund O-7 of C-1", customer, orders, answered("refund_order", `{"refund_id":"R-1","amount_cents":1234567890}`)),
			"Done: 1234567890 cents, id R-1.", nil,
		},
		{"another failure is no success", asked("billing", "O-7 of C-1", refusedBy("get_customer", "x"), orders), "Which customer?", nil},
		{"answers before the last message do not count", asked("billing", "C-1", customer, agents.PromptMessage{Role: agents.RoleUser, Text: "hello"}), "Which customer?", nil},
		{"nothing fits", asked("stranger", "hi"), stranger, nil},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			text, reply, err := collect(t, desk(t).Generate(t.Context(), r.prompt))
			if err != nil {
				t.Fatal(err)
			}

			if text != r.text {
				t.Errorf("got %q, want %q", text, r.text)
			}
			if diff := cmp.Diff(r.calls, reply.Calls); diff != "" {
				t.Errorf("got (+), want (-):\n%s", diff)
			}
		})
	}
}

func TestDemoSaysWhichRuleDoesNotWork(t *testing.T) {
	text, _, err := collect(t, desk(t).Generate(t.Context(), asked("x", "nested")))

	if err != nil || !strings.Contains(text, "offline demo model") || !strings.Contains(text, "line 33") {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestDemoIsAPureFunctionOfThePrompt(t *testing.T) {
	d, p := desk(t), asked("billing", "refund O-7 of C-1")

	first, second := transcribe(d.Generate(t.Context(), p)), transcribe(d.Generate(t.Context(), p))

	if first != second {
		t.Errorf("got two answers:\n%s\n%s", first, second)
	}
}

func TestDemoStreamsWordsAndCountsThem(t *testing.T) {
	p := asked("x", "hi there")
	p.System = "be kind"
	d, err := NewDemo(DemoConfig{Rules: []byte("rules: [{ text: \"one two\\n\\nthree\" }]")})
	if err != nil {
		t.Fatal(err)
	}

	got := transcribe(d.Generate(t.Context(), p))

	if want := "text \"one \"\ntext \"two\\n\\n\"\ntext \"three\"\ndone stop 4+3/1\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDemoKeepsItsPaceAndStopsWhenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := NewDemo(DemoConfig{Rules: []byte("rules: [{ text: one two three }]"), Pace: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		start := time.Now()

		text, _, err := collect(t, d.Generate(ctx, ask("hi")))

		if text != "one two " || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2500*time.Millisecond {
			t.Errorf("got %q, %v after %v", text, err, time.Since(start))
		}
	})
}

func TestDemoDoesNotCallWhenToolsAreForbidden(t *testing.T) {
	p := asked("triage", "refund")
	p.ToolChoice = agents.ToolNone

	_, reply, err := collect(t, desk(t).Generate(t.Context(), p))

	if err != nil || len(reply.Calls) != 0 {
		t.Errorf("got %v, %v", reply, err)
	}
}

func TestDemoSaysThatItIsOne(t *testing.T) {
	if got, want := desk(t).Describe(), "offline demo model (rules)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(stranger, "offline demo model") {
		t.Errorf("got %q, want it to say what it is", stranger)
	}
}

func TestRulesAreReadStrictlyWithLines(t *testing.T) {
	rows := map[string]struct {
		rules string
		want  []string
	}{
		"unknown key":      {"rules:\n  - text: a\n    tekst: b\n", []string{"line 3", "tekst"}},
		"unknown top":      {"rulez: []\n", []string{"line 1", "rulez"}},
		"none":             {"rules: []\n", []string{"no rule"}},
		"empty":            {"", []string{""}},
		"bad pattern":      {"rules:\n  - text: a\n    pattern: '('\n", []string{"line 2", "pattern"}},
		"bad template":     {"rules:\n  - text: '{{ .x '\n", []string{"line 2", "text"}},
		"says nothing":     {"rules:\n  - agent: a\n", []string{"line 2", "text or calls"}},
		"no tool":          {"rules:\n  - calls: [{ args: {} }]\n", []string{"line 2", "tool"}},
		"failed elsewhere": {"rules:\n  - text: a\n    after: [x]\n    failed: [y]\n", []string{"line 2", `"y"`}},
		"args":             {"rules:\n  - calls:\n      - { tool: x, args: [1] }\n", []string{"line 3", "mapping"}},
		"all at once":      {"rules:\n  - agent: a\n  - text: a\n    pattern: '('\n", []string{"line 2", "line 3"}},
		"duplicate key":    {"rules:\n  - text: a\n    text: b\n", []string{"line 3"}},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := NewDemo(DemoConfig{Rules: []byte(r.rules), Name: "r.yaml"})

			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range r.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

func FuzzDemoNeverPanics(f *testing.F) {
	f.Add("refund O-7 of C-1", `{"name":"Ada"}`)
	f.Add("nested", "[1,2,null]")
	rules, err := os.ReadFile("testdata/desk.yaml")
	if err != nil {
		f.Fatal(err)
	}
	d, err := NewDemo(DemoConfig{Rules: rules})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said, result string) {
		p := asked("billing", said, answered("get_customer", result), answered("list_orders", result))
		if _, _, err := collect(t, d.Generate(t.Context(), p)); err != nil {
			t.Error(err)
		}
	})
}

func TestDemoRulesMayLookAtEveryMessage(t *testing.T) {
	d, err := NewDemo(DemoConfig{Rules: []byte(`
rules:
  - { agent: writer, seen: 'REVISE', text: second }
  - { agent: writer, text: first }
  - { agent: room, pattern: 'Next speaker.*anna', text: anna }
`)})
	if err != nil {
		t.Fatal(err)
	}
	critic := agents.PromptMessage{Role: agents.RoleUser, Name: "critic", Text: "REVISE: shorter"}
	for name, row := range map[string]struct {
		prompt *agents.Prompt
		want   string
	}{
		"nothing seen": {asked("writer", "write"), "first"},
		"seen":         {asked("writer", "write", critic), "second"},
		"a question":   {&agents.Prompt{Agent: "room", System: "Next speaker of ['anna', 'ben']?"}, "anna"},
	} {
		if got, _ := d.answer(row.prompt); got != row.want {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
	if _, err := NewDemo(DemoConfig{Rules: []byte("rules: [{ seen: '(', text: x }]")}); err == nil {
		t.Error("a pattern that cannot be read was accepted")
	}
}
