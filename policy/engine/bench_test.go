package engine

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// manyRules are n rules as a grown set has them: most name a tool, a toolset or
// a role, some hold for every call.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString(permitAll)
	for i := 1; i < n; i++ {
		switch {
		case i%50 == 1:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal, action == Action::\"call_tool\", resource) when { context.tier == \"t%d\" };\n", i, i)
		case i%50 == 2:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal, action == Action::\"call_tool\", resource == Tool::\"refund_order\") when { context.args.amount_cents > %d };\n", i, 100_000+i)
		case i%5 == 0:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal in Role::\"role%d\", action == Action::\"call_tool\", resource is Tool);\n", i, i)
		case i%5 == 1:
			fmt.Fprintf(&b, "@id(\"r%d\") permit (principal in Role::\"role%d\", action == Action::\"run_agent\", resource == Agent::\"billing\");\n", i, i)
		default:
			fmt.Fprintf(&b, "@id(\"r%d\") permit (principal == User::\"acme/u%d\", action == Action::\"call_tool\", resource == Tool::\"tool_%d\") when { context.scopes.contains(\"crm.read\") };\n", i, i, i%200)
		}
	}
	return b.String()
}

// cpuTime reports the processor time per operation, which other load on the
// machine hardly moves.
func cpuTime(b *testing.B) func() {
	start := cpuNow(b)
	return func() { b.ReportMetric(float64(cpuNow(b)-start)/float64(b.N), "cpu-ns/op") }
}

func cpuNow(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func benchEngine(b testing.TB, n int) *Engine {
	c := deskConfig(map[string]string{"base.cedar": manyRules(n)})
	for i := range 200 {
		c.Tools = append(c.Tools, ToolSchema{Name: fmt.Sprintf("tool_%d", i), Toolset: "many"})
	}
	set, err := Load(c)
	if err != nil {
		b.Fatal(err)
	}
	return New(set)
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 50, 1_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			e := benchEngine(b, n)
			who := person("acme", "alice", "support", "staff")
			b.Run("arguments=read", func(b *testing.B) { decide(b, e, callBy(who, "refund_order", `{"order":"o-1","amount_cents":4200}`)) })
			b.Run("arguments=checked", func(b *testing.B) {
				decide(b, e, callBy(who, "update_customer", `{"id":"c-1","vip":true,"level":"low","tags":["a","b"],"score":1.5}`))
			})
		})
	}
}

func decide(b *testing.B, e *Engine, q *Query) {
	if d := e.Decide(q); !d.Allow {
		b.Fatalf("got %+v", d)
	}
	b.ReportAllocs()
	defer cpuTime(b)()
	for b.Loop() {
		e.Decide(q)
	}
}

func BenchmarkDecideRPC(b *testing.B) {
	e := benchEngine(b, 50)
	q := &Query{Grant: grantOf(person("acme", "alice", "support")), Action: "run_agent", Time: noon(), Resource: Entity{Type: "Agent", ID: "support"}}
	decide(b, e, q)
}

func BenchmarkLoad(b *testing.B) {
	c := deskConfig(map[string]string{"base.cedar": manyRules(1_000)})
	for i := range 200 {
		c.Tools = append(c.Tools, ToolSchema{Name: fmt.Sprintf("tool_%d", i), Toolset: "many"})
	}
	b.ReportAllocs()
	defer cpuTime(b)()
	for b.Loop() {
		if _, err := Load(c); err != nil {
			b.Fatal(err)
		}
	}
}
