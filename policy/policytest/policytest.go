package policytest

import (
	"encoding/json"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/engine"
)

// Noon is when all of it happens.
func Noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Tools are those that the tests' policies speak of.
func Tools() []engine.ToolSchema {
	return []engine.ToolSchema{
		{Name: "get_customer", Toolset: "crm", Schema: json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"}},"required":["id"]}`)},
		{Name: "update_customer", Toolset: "crm", Schema: json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"},"vip":{"type":"boolean"},
			"level":{"enum":["low","high"]},"tags":{"type":"array","items":{"type":"string"}},"score":{"type":"number"},"address":{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":"integer"}},"required":["city"]},
			"photo":{"type":"string","contentEncoding":"base64"},"extra":{"type":"object"},"nick":{"type":["string","null"]}},"required":["id"]}`)},
		{Name: "refund_order", Toolset: "orders", Schema: json.RawMessage(`{"type":"object","properties":{"order":{"type":"string"},"amount_cents":{"type":"integer"}},"required":["order","amount_cents"]}`)},
		{Name: "send_mail", Toolset: "mail", Schema: json.RawMessage(`{"type":"object","properties":{"to":{"type":"array","items":{"type":"string"}},"body":{"type":"string"}},"required":["to"]}`)},
	}
}

// Config is that of the desk with policy files by their names.
func Config(files map[string]string) engine.Config {
	fsys := fstest.MapFS{}
	for name, src := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return engine.Config{Dir: "policies", FS: fsys, Tools: Tools(), Actions: []string{"run_agent", "get_session", "lock"}, Agents: []string{"support", "billing"}}
}

// Load loads one file.
func Load(t testing.TB, src string) *engine.Set {
	t.Helper()
	return LoadFiles(t, map[string]string{"base.cedar": src})
}

// LoadFiles loads files by their names.
func LoadFiles(t testing.TB, files map[string]string) *engine.Set {
	t.Helper()
	set, err := engine.Load(Config(files))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return set
}

// Engine decides by one file.
func Engine(t testing.TB, src string) *engine.Engine {
	t.Helper()
	return engine.New(Load(t, src))
}

// Person is somebody who signed in.
func Person(tenant, subject string, roles ...string) identity.Principal {
	return identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: subject, Tenant: tenant, Roles: roles,
		Scopes: identity.NewScopes("crm.read", "orders.refund"), Expires: Noon().Add(time.Hour), TokenID: "jti-1",
	}}
}

// Grant is what somebody has in an agent.
func Grant(p identity.Principal, chain ...string) identity.Grant {
	g := identity.Root("grt_1", p, nil, "")
	for _, agent := range chain {
		g, _ = g.Child(agent, nil, identity.MaxChain)
	}
	return g
}

// Call is a tool call of alice of acme.
func Call(tool, args string) *engine.Query { return CallBy(Person("acme", "alice"), tool, args) }

// CallBy is a tool call of somebody.
func CallBy(p identity.Principal, tool, args string) *engine.Query {
	return &engine.Query{
		Grant: Grant(p, "support"), Action: engine.ActionCallTool, Tool: tool, Resource: engine.Entity{Type: "Tool", ID: tool},
		Time: Noon(), Arguments: json.RawMessage(args), Session: "ses_1", Run: "run_1", Call: "run_1/7",
	}
}

// PermitAll is a policy that permits everything.
const PermitAll = "@id(\"all\") permit (principal, action, resource);\n"

// CPUTime reports the processor time per operation, which other load on the
// machine hardly moves, when what it returns is called.
func CPUTime(b *testing.B) func() {
	b.Helper()
	start := cpuNow(b)
	return func() { b.ReportMetric(float64(cpuNow(b)-start)/float64(b.N), "cpu-ns/op") }
}

func cpuNow(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
