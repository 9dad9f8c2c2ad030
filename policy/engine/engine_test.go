package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

func TestNothingIsAllowedWithoutAPermit(t *testing.T) {
	e := engine(t, `@id("f") forbid (principal in Role::"x", action, resource);`)

	d := e.Decide(call("get_customer", `{"id":"c"}`))

	wantDecision(t, d, false, "POLICY_DENIED")
	if d.Revision != e.Revision() || d.Revision == "" {
		t.Errorf("got revision %q, want %q", d.Revision, e.Revision())
	}
}

func TestForbidWins(t *testing.T) {
	e := engine(t, permitAll+`@id("f") forbid (principal, action, resource == Tool::"get_customer");`)

	wantDecision(t, e.Decide(call("get_customer", `{"id":"c"}`)), false, "POLICY_DENIED", "f")
	wantDecision(t, e.Decide(call("update_customer", `{"id":"c"}`)), true, "", "all")
}

func TestATenantsSetCannotLiftAGlobalForbid(t *testing.T) {
	e := New(loadFiles(t, map[string]string{
		"base.cedar":           `@id("no-mail") forbid (principal, action, resource in Toolset::"mail");`,
		"tenants/acme/a.cedar": `@id("acme-all") permit (principal, action, resource);`,
	}))

	wantDecision(t, e.Decide(call("send_mail", `{"to":[]}`)), false, "POLICY_DENIED", "no-mail")
	wantDecision(t, e.Decide(call("get_customer", `{"id":"c"}`)), true, "", "acme-all")
	wantDecision(t, e.Decide(callBy(person("globex", "alice"), "get_customer", `{"id":"c"}`)), false, "POLICY_DENIED")
}

func TestPrincipalIsThePersonAndNeverTheAgent(t *testing.T) {
	e := engine(t, `@id("alice") permit (principal == User::"acme/alice", action, resource);
@id("sa") permit (principal == Workload::"spiffe://corp.example/sa/x", action, resource);`)
	carrier := person("acme", "bob")
	carrier.Workload = &identity.Workload{ID: "spiffe://corp.example/sa/x"}
	alone := identity.Principal{Workload: &identity.Workload{ID: "spiffe://corp.example/sa/x", Tenant: "acme", NotAfter: noon().Add(time.Hour)}}

	wantDecision(t, e.Decide(call("get_customer", `{"id":"c"}`)), true, "", "alice")
	wantDecision(t, e.Decide(callBy(person("globex", "alice"), "get_customer", `{"id":"c"}`)), false, "POLICY_DENIED")
	wantDecision(t, e.Decide(callBy(carrier, "get_customer", `{"id":"c"}`)), false, "POLICY_DENIED")
	wantDecision(t, e.Decide(callBy(alone, "get_customer", `{"id":"c"}`)), true, "", "sa")
}

func TestPoliciesSeeTheContext(t *testing.T) {
	p := person("acme", "alice")
	p.User.ACR, p.User.AuthTime = "mfa", noon().Add(-5*time.Minute)
	p.Workload = &identity.Workload{ID: "spiffe://corp.example/sa/x"}
	for _, condition := range []string{
		`context.agent == "billing"`, `context.chain == ["support", "billing"]`, `context.depth == 2`, `context.tier == "subagent"`,
		`context.scopes.contains("crm.read")`, `context.workload == "spiffe://corp.example/sa/x"`, `context.session == "ses_1"`,
		`context.time == datetime("2026-03-01T12:00:00Z")`, `context.auth.acr == "mfa"`, `context.auth.age == 300`,
		`context.args.id == "c"`, `principal.key == "acme/alice"`, `principal in Tenant::"acme"`,
	} {
		e := engine(t, `@id("p") permit (principal is User, action == Action::"call_tool", resource == Tool::"get_customer") when { `+condition+` };`)
		q := callBy(p, "get_customer", `{"id":"c"}`)
		q.Grant = grantOf(p, "support", "billing")

		if d := e.Decide(q); !d.Allow {
			t.Errorf("%s: got a denial: %v", condition, d.Err)
		}
	}
}

func TestAnUnknownSignInTimeIsTooOld(t *testing.T) {
	e := engine(t, permitAll+`@id("fresh") forbid (principal, action, resource) unless { context.auth.age < 300 };`)

	wantDecision(t, e.Decide(call("get_customer", `{"id":"c"}`)), false, "POLICY_DENIED", "fresh")
}

func TestOwnersOfSessions(t *testing.T) {
	e := engine(t, `@id("own") permit (principal, action == Action::"get_session", resource is Session) when { resource.owner == principal || resource.owner_key == principal.key };`)
	ask := func(p identity.Principal, owner string) Decision {
		return e.Decide(&Query{Grant: grantOf(p), Action: "get_session", Time: noon(), Resource: Entity{Type: "Session", ID: "ses_1", Owner: owner}})
	}
	workload := identity.Principal{Workload: &identity.Workload{ID: "spiffe://x/y", Tenant: "acme"}}

	wantDecision(t, ask(person("acme", "alice"), "acme/alice"), true, "", "own")
	wantDecision(t, ask(person("acme", "alice"), "acme/bob"), false, "POLICY_DENIED")
	wantDecision(t, ask(person("acme", "alice"), ""), false, "POLICY_DENIED")
	wantDecision(t, ask(workload, "acme/spiffe://x/y"), true, "", "own")
	wantDecision(t, ask(person("acme", "alice"), "globex/alice"), false, "POLICY_ERROR")
}

// Conditions are checked at load for the types that an action may have. One of
// another type would be decided by conditions that nobody checked for it.
func TestAResourceOfAnotherTypeThanTheActionsIsDenied(t *testing.T) {
	c := deskConfig(map[string]string{"base.cedar": permitAll})
	c.Resources = map[string][]string{"get_session": {"Session"}}
	set, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	q := call("get_customer", "")
	q.Action, q.Tool, q.Arguments = "get_session", "", nil

	q.Resource = Entity{Type: "Session", ID: "ses_1"}
	right := New(set).Decide(q)
	q.Resource = Entity{Type: "Tenant", ID: "acme"}
	wrong := New(set).Decide(q)

	if !right.Allow || wrong.Allow || wrong.Reason != "POLICY_ERROR" {
		t.Errorf("got %+v for a session and %+v for a tenant", right, wrong)
	}
}

func TestIncompleteQueriesAreDenied(t *testing.T) {
	e := engine(t, permitAll)
	for name, spoil := range map[string]func(*Query){
		"no time":               func(q *Query) { q.Time = time.Time{} },
		"no grant":              func(q *Query) { q.Grant = identity.Grant{} },
		"no tenant":             func(q *Query) { q.Grant = grantOf(person("", "alice")) },
		"unknown action":        func(q *Query) { q.Action = "call_tol" },
		"no action":             func(q *Query) { q.Action = "" },
		"no resource":           func(q *Query) { q.Resource = Entity{} },
		"unknown type":          func(q *Query) { q.Action, q.Resource = "lock", Entity{Type: "Thing", ID: "x"} },
		"principal as resource": func(q *Query) { q.Action, q.Resource = "lock", Entity{Type: "User", ID: "x"} },
		"unknown tool":          func(q *Query) { q.Tool, q.Resource.ID = "x", "x" },
		"tool and resource":     func(q *Query) { q.Tool = "send_mail" },
		"agent called as tool":  func(q *Query) { q.Tool, q.Resource = "", Entity{Type: "Agent", ID: "support"} },
		"another toolset":       func(q *Query) { q.Resource.Parents = []Entity{{Type: "Toolset", ID: "mail"}} },
		"odd parent":            func(q *Query) { q.Resource.Parents = []Entity{{Type: "Role", ID: "x"}} },
		"another tenant":        func(q *Query) { q.Action, q.Resource = "lock", Entity{Type: "Tenant", ID: "globex"} },
		"another's parent": func(q *Query) {
			q.Action, q.Resource = "lock", Entity{Type: "Session", ID: "s", Parents: []Entity{{Type: "Tenant", ID: "globex"}}}
		},
		"too many roles": func(q *Query) {
			q.Grant = grantOf(person("acme", "alice", manyRoles(maxClosure)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := call("get_customer", `{"id":"c"}`)
			spoil(q)

			d := e.Decide(q)

			if d.Allow || d.Reason != "POLICY_ERROR" || d.Err == nil {
				t.Errorf("got %+v, want POLICY_ERROR with a cause", d)
			}
		})
	}
}

func manyRoles(n int) []string {
	roles := make([]string, n)
	for i := range roles {
		roles[i] = fmt.Sprintf("r%04d", i)
	}
	return roles
}

func TestASlowEvaluationDenies(t *testing.T) {
	e := engine(t, manyForbids(100))
	ticks := 0
	e.now = func() time.Time {
		ticks++
		return noon().Add(time.Duration(ticks) * 60 * time.Millisecond)
	}

	d := e.Decide(call("get_customer", `{"id":"c"}`))

	wantDecision(t, d, false, "POLICY_ERROR")
	if !errors.Is(d.Err, errTooSlow) || ticks > 4 {
		t.Errorf("got %v after %d looks at the clock", d.Err, ticks)
	}
}

func TestABusyMachineIsNotASlowPolicy(t *testing.T) {
	e := engine(t, manyForbids(100))
	ticks := 0
	e.now = func() time.Time {
		if ticks++; ticks > 1 {
			return noon().Add(time.Minute)
		}
		return noon()
	}

	wantDecision(t, e.Decide(call("get_customer", `{"id":"c"}`)), true, "", "all")
}

func manyForbids(n int) string {
	var b strings.Builder
	b.WriteString(permitAll)
	for i := range n {
		fmt.Fprintf(&b, "@id(\"f%d\") forbid (principal, action, resource) when { context.tier == \"t%d\" };\n", i, i)
	}
	return b.String()
}

func TestDutiesAreSatisfiedSoftForbids(t *testing.T) {
	e := engine(t, permitAll+`@id("ssn") @redact("result:$.ssn") forbid (principal in Role::"support", action == Action::"call_tool", resource in Toolset::"crm");
@id("rate") @rate("60/1m") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`)

	d := e.Decide(callBy(person("acme", "alice", "support"), "get_customer", `{"id":"c"}`))

	wantDecision(t, d, true, "", "all", "rate", "ssn")
	want := []Duty{{"rate", "60/1m", "rate"}, {"redact", "result:$.ssn", "ssn"}}
	if !slices.Equal(d.Duties, want) {
		t.Errorf("got duties %v, want %v", d.Duties, want)
	}
	wantDecision(t, e.Decide(call("update_customer", `{"id":"c"}`)), true, "", "all")
}

func TestAHardDenialLooksAtNoDuty(t *testing.T) {
	e := engine(t, `@id("rate") @rate("60/1m") forbid (principal, action, resource);`)

	d := e.Decide(call("get_customer", `{"id":"c"}`))

	wantDecision(t, d, false, "POLICY_DENIED")
	if len(d.Duties) != 0 {
		t.Errorf("got duties %v with a denial", d.Duties)
	}
}

func softForbids() []string {
	return []string{
		permitAll,
		`@id("p2") permit (principal, action == Action::"call_tool", resource in Toolset::"crm");`,
		`@id("d1") @redact("result:$.ssn") forbid (principal, action == Action::"call_tool", resource in Toolset::"crm");`,
		`@id("d2") @redact("result:$.ssn, args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`,
		`@id("d3") @rate("60/1m") forbid (principal, action == Action::"call_tool", resource);`,
		`@id("d4") @rate("5/1s") @redact("args:$.id") forbid (principal is User, action == Action::"call_tool", resource in Toolset::"crm");`,
		`@id("d5") @rate("1/1h") forbid (principal in Role::"nobody", action == Action::"call_tool", resource);`,
	}
}

func TestDutiesAreTheSameForAnyOrderOfPolicies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	policies := softForbids()
	var first Decision
	for i := range 50 {
		rng.Shuffle(len(policies), func(i, j int) { policies[i], policies[j] = policies[j], policies[i] })

		d := engine(t, strings.Join(policies, "\n")).Decide(call("get_customer", `{"id":"c"}`))

		if i == 0 {
			first = d
		}
		if !slices.Equal(d.Duties, first.Duties) || !slices.Equal(d.PolicyIDs, first.PolicyIDs) || d.Revision != first.Revision || !d.Allow {
			t.Fatalf("got %+v, want %+v", d, first)
		}
	}
	if len(first.Duties) != 5 {
		t.Errorf("got %d duties, want 5: %v", len(first.Duties), first.Duties)
	}
}

func TestAddingAForbidNeverWidens(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	policies := softForbids()
	q := call("get_customer", `{"id":"c"}`)
	for range 50 {
		rng.Shuffle(len(policies), func(i, j int) { policies[i], policies[j] = policies[j], policies[i] })
		some := policies[:1+rng.IntN(len(policies)-1)]
		before := engine(t, strings.Join(some, "\n")).Decide(q)

		after := engine(t, strings.Join(some, "\n")+`@id("new") @rate("7/1m") forbid (principal, action == Action::"call_tool", resource);`).Decide(q)

		if after.Allow && (!before.Allow || len(after.Duties) != len(before.Duties)+1) {
			t.Fatalf("got %+v after adding a forbid to %+v", after, before)
		}
	}
}

// TestAnyQueryIsAnsweredAndDeniedWithoutPolicy is the totality of the engine.
func TestAnyQueryIsAnsweredAndDeniedWithoutPolicy(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	none := New(loadFiles(t, nil))
	full := engine(t, strings.Join(softForbids(), "\n"))
	for range 3_000 {
		q := randomQuery(rng)

		if d := none.Decide(q); d.Allow || d.Reason == "" {
			t.Fatalf("got %+v for %+v without any policy", d, q)
		}
		if d := full.Decide(q); d.Allow == (d.Reason != "") || (d.Reason == "POLICY_ERROR") != (d.Err != nil) {
			t.Fatalf("got %+v for %+v", d, q)
		}
	}
}

func randomQuery(rng *rand.Rand) *Query {
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	q := &Query{
		Action: pick("", "call_tool", "run_agent", "get_session", "act_for_other", "nope"), Tool: pick("", "get_customer", "send_mail", "nope"),
		Resource:  Entity{Type: pick("", "Tool", "Agent", "Session", "Tenant", "Nope"), ID: pick("", "get_customer", "acme", "ses_1"), Owner: pick("", "acme/alice", "globex/x", "/")},
		Arguments: json.RawMessage(pick("", "{}", `{"id":"c"}`, `{"id":5}`, "[", "null", `{"id":"c","id":"d"}`)),
	}
	if rng.IntN(4) > 0 {
		q.Time = noon()
	}
	if rng.IntN(4) > 0 {
		q.Grant = grantOf(person(pick("acme", "globex", ""), pick("alice", ""), pick("support", "nobody", "")), pick("a", "b"))
	}
	for range rng.IntN(3) {
		q.Resource.Parents = append(q.Resource.Parents, Entity{Type: pick("Tenant", "Toolset", "Agent", ""), ID: pick("acme", "crm", "")})
	}
	return q
}

func TestAnEngineMayBeAskedByManyGoroutines(t *testing.T) {
	e := engine(t, strings.Join(softForbids(), "\n"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if d := e.Decide(call("get_customer", `{"id":"c","note":"n"}`)); !d.Allow {
					t.Errorf("got %+v", d)
				}
			}
		})
	}
	wg.Wait()
}

// TestTheIndexLeavesNothingOut compares with evaluating every rule.
func TestTheIndexLeavesNothingOut(t *testing.T) {
	src := permitAll + `
@id("any-tool") forbid (principal, action, resource is Tool) when { context.depth > 5 };
@id("by-set") forbid (principal, action in [Action::"call_tool", Action::"run_agent"], resource in Toolset::"mail") when { context.depth == 1 };
@id("by-user") forbid (principal == User::"acme/bob", action, resource);
@id("by-role") forbid (principal in Role::"suspended", action, resource);
@id("by-tenant") forbid (principal in Tenant::"globex", action == Action::"run_agent", resource);
@id("is-in") forbid (principal is User in Role::"guest", action, resource is Tool in Toolset::"crm");
@id("by-agent") forbid (principal, action, resource == Agent::"billing");`
	e := engine(t, src)
	for _, p := range []identity.Principal{person("acme", "alice"), person("acme", "bob"), person("globex", "eve"), person("acme", "x", "suspended"), person("acme", "y", "guest", "support")} {
		for _, q := range []*Query{
			callBy(p, "get_customer", `{"id":"c"}`), callBy(p, "send_mail", `{"to":[]}`),
			{Grant: grantOf(p), Action: "run_agent", Time: noon(), Resource: Entity{Type: "Agent", ID: "billing"}},
			{Grant: grantOf(p), Action: "run_agent", Time: noon(), Resource: Entity{Type: "Agent", ID: "support"}},
		} {
			want := decideByAll(t, e, q)

			wantDecision(t, e.Decide(q), want.Allow, want.Reason, want.PolicyIDs...)
		}
	}
}
