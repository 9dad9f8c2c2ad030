package tools_test

import (
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
