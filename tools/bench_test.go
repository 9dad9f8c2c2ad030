package tools_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/tools"
)

// null is a sink that keeps nothing: the gate without audit (PERFORMANCE).
type null struct{}

func (null) Append(audit.Entry) *audit.Receipt {
	r := audit.NewReceipt()
	r.Settle(nil)
	return r
}

// BenchmarkGate is one governed call of a typed function under 50 policies.
func BenchmarkGate(b *testing.B) {
	var rules strings.Builder
	for i := range 49 {
		fmt.Fprintf(&rules, "@id(\"r%d\") forbid (principal == User::\"acme/user%d\", action, resource);\n", i, i)
	}
	for name, keep := range map[string]bool{"no audit": false, "memory": true} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, options{policies: rules.String()})
			if !keep {
				w.useSink(null{})
			}
			ctx, c := w.bob(), call("look", `{"owner":"bob","amount":5}`)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range w.gate.Call(ctx, c) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkArguments(b *testing.B) {
	parse := tools.ParseForBench(b, `{"type":"object","required":["owner","amount"],"properties":{"owner":{"type":"string"},"amount":{"type":"integer","minimum":1},"lines":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"},"n":{"type":"integer"}}}}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if !parse(`{"owner": "bob", "amount": 5, "lines": [{"sku": "a-1", "n": 2}, {"sku": "b-2", "n": 1}]}`) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkElsewhere is one call that is checked, made elsewhere and reported,
// under 50 policies.
func BenchmarkElsewhere(b *testing.B) {
	var rules strings.Builder
	for i := range 49 {
		fmt.Fprintf(&rules, "@id(\"r%d\") forbid (principal == User::\"acme/user%d\", action, resource);\n", i, i)
	}
	w := newWorld(b, options{policies: rules.String()})
	w.useSink(null{})
	gate := w.newGate("", w.registry.Names(), tools.Limits{})
	e, err := tools.NewElsewhere(tools.ElsewhereConfig{Past: w.log})
	if err != nil {
		b.Fatal(err)
	}
	ctx, c := w.bob(), agents.ToolCall{ID: "run_1/0", RunID: "run_1", Name: "look", Arguments: `{"owner":"bob","amount":5}`}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Check(ctx, gate, c); err != nil {
			b.Fatal(err)
		}
		if _, err := e.Report(ctx, c.ID, false, []byte(`{"ok":true}`)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCallable lists 1,000 tools of 20 toolsets for one caller under 100
// policies, that know tools by the toolset, by their head, or in the worst case by ten
// names each in a condition, so that all tools differ and all policies are looked at.
func BenchmarkCallable(b *testing.B) {
	type in struct {
		Owner string `json:"owner"`
	}
	var all []tools.Tool
	for i := range 1_000 {
		t := tools.Func(fmt.Sprintf("tool_%d", i), "Does something for somebody.", func(context.Context, in) (string, error) { return "", nil }, tools.ReadOnly())
		t.Toolset = fmt.Sprintf("set_%d", i%20)
		all = append(all, t)
	}
	for name, about := range map[string]func(i int) (head, condition string){
		"by toolset": func(i int) (string, string) { return "", fmt.Sprintf(` && resource in Toolset::"set_%d"`, i%20) },
		"by head":    func(i int) (string, string) { return fmt.Sprintf(` == Tool::"tool_%d"`, i), "" },
		"by names":   func(i int) (string, string) { return "", fmt.Sprintf(` && resource in [%s]`, toolNames(i*10, 10)) },
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, options{only: true, tools: all, policies: listedBy(about)})
			gate := w.newGate("", w.registry.Names(), tools.Limits{})
			ctx := w.bob()
			b.ReportAllocs()
			for b.Loop() {
				if got, err := gate.Callable(ctx); err != nil || len(got) < 50 {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

func toolNames(from, n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf(`Tool::"tool_%d"`, from+i))
	}
	return strings.Join(names, ", ")
}

// listedBy are 100 policies of which half permit bob something.
func listedBy(about func(i int) (head, condition string)) string {
	var s strings.Builder
	for i := range 100 {
		head, condition := about(i)
		switch i % 4 {
		case 0, 1:
			fmt.Fprintf(&s, "@id(\"r%d\") permit (principal == User::\"acme/bob\", action == Action::\"call_tool\", resource%s) when { context.tier != \"api\"%s };\n", i, head, condition)
		case 2:
			fmt.Fprintf(&s, "@id(\"r%d\") forbid (principal in Role::\"role%d\", action == Action::\"call_tool\", resource);\n", i, i)
		default:
			fmt.Fprintf(&s, "@id(\"r%d\") permit (principal, action == Action::\"call_tool\", resource%s) when { context.scopes.contains(\"s%d\")%s };\n", i, head, i, condition)
		}
	}
	return s.String()
}
