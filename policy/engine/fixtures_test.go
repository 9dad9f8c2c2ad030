package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// deskTools are the tools that the tests' policies speak of.
func deskTools() []ToolSchema {
	return []ToolSchema{
		{Name: "get_customer", Toolset: "crm", Schema: json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"}},"required":["id"]}`)},
		{Name: "update_customer", Toolset: "crm", Schema: json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"},"vip":{"type":"boolean"},
			"level":{"enum":["low","high"]},"tags":{"type":"array","items":{"type":"string"}},"score":{"type":"number"},"address":{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":"integer"}},"required":["city"]},
			"photo":{"type":"string","contentEncoding":"base64"},"extra":{"type":"object"},"nick":{"type":["string","null"]}},"required":["id"]}`)},
		{Name: "refund_order", Toolset: "orders", Schema: json.RawMessage(`{"type":"object","properties":{"order":{"type":"string"},"amount_cents":{"type":"integer"}},"required":["order","amount_cents"]}`)},
		{Name: "send_mail", Toolset: "mail", Schema: json.RawMessage(`{"type":"object","properties":{"to":{"type":"array","items":{"type":"string"}},"body":{"type":"string"}},"required":["to"]}`)},
	}
}

func deskConfig(files map[string]string) Config {
	fsys := fstest.MapFS{}
	for name, src := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return Config{Dir: "policies", FS: fsys, Tools: deskTools(), Actions: []string{"run_agent", "get_session", "lock"}, Agents: []string{"support", "billing"}}
}

func load(t testing.TB, src string) *Set {
	t.Helper()
	return loadFiles(t, map[string]string{"base.cedar": src})
}

func loadFiles(t testing.TB, files map[string]string) *Set {
	t.Helper()
	set, err := Load(deskConfig(files))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return set
}

func engine(t testing.TB, src string) *Engine {
	t.Helper()
	return New(load(t, src))
}

// problems loads a source that must not load and gives the messages.
func problems(t testing.TB, src string) []string {
	t.Helper()
	_, err := Load(deskConfig(map[string]string{"base.cedar": src}))
	if err == nil {
		t.Fatalf("loaded without a problem: %s", src)
	}
	var texts []string
	for _, e := range Flatten(err) {
		if _, ok := errors.AsType[*Problem](e); !ok {
			t.Errorf("%v is no Problem", e)
		}
		texts = append(texts, e.Error())
	}
	return texts
}

func wantProblem(t testing.TB, src, want string) {
	t.Helper()
	got := problems(t, src)
	for _, p := range got {
		if strings.Contains(p, want) {
			return
		}
	}
	t.Errorf("got problems\n%s\nwant one with %q", strings.Join(got, "\n"), want)
}

func person(tenant, subject string, roles ...string) identity.Principal {
	return identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: subject, Tenant: tenant, Roles: roles,
		Scopes: identity.NewScopes("crm.read", "orders.refund"), Expires: noon().Add(time.Hour), TokenID: "jti-1",
	}}
}

func grantOf(p identity.Principal, chain ...string) identity.Grant {
	g := identity.Root("grt_1", p, nil, "")
	for _, agent := range chain {
		g, _ = g.Child(agent, nil, identity.MaxChain)
	}
	return g
}

// call is a tool call of alice of acme.
func call(tool, args string) *Query { return callBy(person("acme", "alice"), tool, args) }

func callBy(p identity.Principal, tool, args string) *Query {
	return &Query{
		Grant: grantOf(p, "support"), Action: ActionCallTool, Tool: tool, Resource: Entity{Type: "Tool", ID: tool},
		Time: noon(), Arguments: json.RawMessage(args), Session: "ses_1", Run: "run_1", Call: "run_1/7",
	}
}

const permitAll = "@id(\"all\") permit (principal, action, resource);\n"

func wantDecision(t testing.TB, d Decision, allow bool, reason string, ids ...string) {
	t.Helper()
	if d.Allow != allow || d.Reason != reason || strings.Join(d.PolicyIDs, " ") != strings.Join(ids, " ") {
		t.Errorf("got allow=%v reason=%q policies=%v err=%v, want allow=%v reason=%q policies=%v", d.Allow, d.Reason, d.PolicyIDs, d.Err, allow, reason, ids)
	}
}
