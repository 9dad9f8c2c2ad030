package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/policy/engine"
	"github.com/behalf-dev/behalf/policy/policytest"
)

// desk is a guard and what it has recorded.
type desk struct {
	*policy.Guard
	records []*audit.Record
}

// Append keeps the record.
func (d *desk) Append(e audit.Entry) *audit.Receipt {
	d.records = append(d.records, e.Record)
	r := audit.NewReceipt()
	r.Settle(nil)
	return r
}

func newDesk(t testing.TB, src string) *desk {
	t.Helper()
	d := &desk{}
	g, err := policy.NewGuard(policy.GuardConfig{Sink: d, Clock: policytest.Noon, DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		t.Fatal(err)
	}
	d.Guard = g
	g.Swap(policytest.Engine(t, src))
	return d
}

func (d *desk) rows() iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		for _, r := range d.records {
			if !yield(*r, nil) {
				return
			}
		}
	}
}

// decideAll has the guard decide and record.
func (d *desk) decideAll(t testing.TB, queries ...*engine.Query) {
	t.Helper()
	for _, q := range queries {
		p, err := d.Begin(t.Context(), q)
		if err != nil && fault.From(err).Reason == fault.AuditUnavailable {
			t.Fatal(err)
		}
		if err == nil {
			p.Done(t.Context(), policy.Result{Outcome: policy.Succeeded})
		}
	}
}

// lines are the changes, one each.
func (s Simulation) lines() string {
	var out []string
	for _, c := range s.Changes {
		out = append(out, fmt.Sprintf("%s %s %d×: %s %s by %v → %s %s by %v %v", c.Who, c.What, c.Rows, c.Was.Decision, c.Was.Reason, c.Was.Policies, c.Would.Decision, c.Would.Reason, c.Would.Policies, c.Would.Duties))
	}
	return strings.Join(out, "\n")
}

// session is a call about a session of somebody, in an agent.
func session(action, owner string) *engine.Query {
	return &engine.Query{
		Grant: policytest.Grant(policytest.Person("acme", "alice", "support"), "support"), Action: action, Time: policytest.Noon(), Session: "ses_1", Call: "call_1",
		Resource: engine.Entity{Type: "Session", ID: "ses_1", Owner: owner, Parents: []engine.Entity{{Type: "Agent", ID: "support"}, {Type: "GroupChat", ID: "support"}}},
	}
}

const recordedWith = policytest.PermitAll + `
@id("own") forbid (principal, action == Action::"get_session", resource is Session) unless { resource.owner == principal && resource in Agent::"support" };
@id("note") @redact("args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");
@id("rate") @rate("9/1m") forbid (principal, action == Action::"call_tool", resource == Tool::"send_mail");
@id("cap") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents > 1000 };
`

func recorded(t testing.TB) *desk {
	t.Helper()
	d := newDesk(t, recordedWith)
	d.decideAll(t,
		policytest.Call("get_customer", `{"id":"c","note":"a secret"}`), policytest.Call("get_customer", `{"id":"d","note":"a secret"}`), policytest.Call("get_customer", `{"id":"e"}`),
		policytest.Call("send_mail", `{"to":["a"]}`), policytest.Call("refund_order", `{"order":"o","amount_cents":100}`), policytest.Call("refund_order", `{"order":"o","amount_cents":5000}`),
		session("get_session", "acme/alice"), session("get_session", "acme/bob"),
	)
	if err := d.Refuse(t.Context(), policytest.Call("refund_order", `{}`), fault.New(7, fault.ScopeMissing, "no")); err == nil {
		t.Fatal("not refused")
	}
	return d
}

func TestTheSetThatDecidedChangesNothing(t *testing.T) {
	d := recorded(t)

	s, err := Simulate(d.Engine(), d.rows())

	if err != nil || s.Decisions != 8 || s.Same != 8 || s.Changed+s.Unknown != 0 || s.Others != 1 {
		t.Errorf("got %+v, %v; want 8 decisions, all the same\n%s", s, err, s.lines())
	}
}

func TestSimulateListsEachChange(t *testing.T) {
	d := recorded(t)
	for _, c := range []struct{ name, policies, want string }{
		{
			"a permit is gone", strings.Replace(recordedWith, "resource);", "resource) unless { resource == Tool::\"send_mail\" };", 1),
			`alice send_mail 1×: allow  by [all rate] → deny POLICY_DENIED by [] []`,
		},
		{
			"a limit is lower", strings.Replace(recordedWith, "> 1000", "> 50", 1),
			`alice refund_order 1×: allow  by [all] → deny POLICY_DENIED by [cap] []`,
		},
		{
			"a forbid is gone", strings.Replace(recordedWith, "> 1000", "> 100000", 1),
			`alice refund_order 1×: deny POLICY_DENIED by [cap] → allow  by [all] []`,
		},
		{
			"a duty is another one", strings.Replace(recordedWith, "9/1m", "2/1m", 1),
			`alice send_mail 1×: allow  by [all rate] → allow  by [all rate] [@rate("2/1m")]`,
		},
		{
			"somebody else's sessions", strings.Replace(recordedWith, "resource.owner == principal && ", "", 1),
			`alice get_session Session 1×: deny POLICY_DENIED by [own] → allow  by [all] []`,
		},
		{
			"sessions of another agent", strings.Replace(recordedWith, `Agent::"support"`, `Agent::"billing"`, 1),
			`alice get_session Session 1×: allow  by [all] → deny POLICY_DENIED by [own] []`,
		},
		{
			"somebody has to agree", recordedWith + `@id("ask") @approve("Role::\"m\"") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order");`,
			`alice refund_order 1×: allow  by [all] → wait APPROVAL_REQUIRED by [all ask] [@approve("Role::\"m\"")]`,
		},
		{"another policy says the same", strings.Replace(recordedWith, `@id("cap")`, `@id("cap2")`, 1), ""},
		{
			"it depends on what was taken out", recordedWith + `@id("x") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args has note && context.args.note like "*secret*" };`,
			`alice get_customer 2×: allow  by [all note] → unknown it depends on what was redacted by [] []`,
		},
		{
			"it would, but for the rest", recordedWith + `@id("x") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args.id == "d" && context.args has note && context.args.note like "*secret*" };`,
			`alice get_customer 1×: allow  by [all note] → unknown it depends on what was redacted by [] []`,
		},
		{
			"that there was something is known", recordedWith + `@id("x") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args has note };`,
			`alice get_customer 2×: allow  by [all note] → deny POLICY_DENIED by [x] []`,
		},
		{
			"all arguments at once", recordedWith + `@id("x") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { [context.args].contains(context.args) && context.args.id == "d" };`,
			`alice get_customer 2×: allow  by [all note] → unknown it depends on what was redacted by [] []`,
		},
	} {
		set, err := engine.Load(policytest.Config(map[string]string{"base.cedar": c.policies}))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}

		s, err := Simulate(engine.New(set), d.rows())

		if err != nil || s.lines() != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s\n(%v)", c.name, s.lines(), c.want, err)
		}
		if s.Same+s.Changed+s.Unknown != s.Decisions || s.Decisions != 8 {
			t.Errorf("%s: got %+v, want every decision counted once", c.name, s)
		}
	}
}

func TestSimulateDoesNotGuessWhatIsNotOnRecord(t *testing.T) {
	d := newDesk(t, recordedWith)
	d.decideAll(t, policytest.Call("get_customer", `{"id":"`+strings.Repeat("x", 5000)+`"}`))
	long := *d.records[0]
	used := *recorded(t).records[6] // send_mail
	used.Decision, used.Reason = audit.Deny, string(fault.RateLimited)
	chain := used
	chain.Chain, chain.Tier = []string{"a", "b"}, "api"
	gone := *d.records[0]
	gone.Tool, gone.Resource, gone.RedactedArguments = "sold_tool", `Tool::"sold_tool"`, `{}`
	unread := used
	unread.Resource = "nonsense"
	roles := *d.records[0]
	roles.RolesUnknown, roles.RedactedArguments = true, `{"id":"c"}`
	for _, c := range []struct {
		name string
		row  audit.Record
		by   string
		want string
	}{
		{"arguments too large for the record", long, recordedWith, "unknown arguments were too large"},
		{"a rate that was used up, unchanged", used, recordedWith, ""},
		{"a rate that was used up, and is another one", used, strings.Replace(recordedWith, "9/1m", "10/1m", 1), "unknown the rate or budget was used up"},
		{"a rate that was used up, and now it is forbidden", used, recordedWith + `@id("x") forbid (principal, action, resource == Tool::"send_mail");`, "deny POLICY_DENIED"},
		{"a chain that is none", chain, recordedWith, "unknown the row's chain"},
		{"a tool that is gone", gone, recordedWith, "unknown the policy set does not know the tool"},
		{"a resource that is none", unread, recordedWith, "unknown the row's resource"},
		{"roles that nobody knew", roles, recordedWith, "deny POLICY_ERROR"},
	} {
		s, err := Simulate(policytest.Engine(t, c.by), func(yield func(audit.Record, error) bool) { yield(c.row, nil) })
		got := ""
		if len(s.Changes) > 0 {
			got = s.Changes[0].Would.Decision + " " + s.Changes[0].Would.Reason
		}
		if err != nil || (got == "") != (c.want == "") || !strings.Contains(strings.ReplaceAll(got, "the arguments", "arguments"), c.want) {
			t.Errorf("%s: got %q (%v), want %q", c.name, got, err, c.want)
		}
	}

	gone.Phase = "" // and an error among the rows is one
	_, err := Simulate(policytest.Engine(t, recordedWith), func(yield func(audit.Record, error) bool) { yield(gone, errors.New("disk")) })
	if err == nil {
		t.Error("a broken store was read to its end")
	}
}

// TestWhatIsDecidedAroundHiddenValuesIsTrueForAllOfThem tries values in place of
// what was taken out: what is said to be known must be so for each.
func TestWhatIsDecidedAroundHiddenValuesIsTrueForAllOfThem(t *testing.T) {
	values := []string{`""`, `"a"`, `"secret"`, `"low"`, `"x*y"`, `"[redacted]"`}
	conds := []string{
		`context.args.nick == "a"`, `context.args.nick != "a"`, `context.args.nick like "*ecr*"`, `context.args.nick == context.args.id`,
		`["a", "secret"].contains(context.args.nick)`, `context.args.tags.contains("a")`, `context.args.tags.isEmpty()`, `context.args.tags_length > 1`,
		`context.args.address.city == "a"`, `context.args.address has zip`, `context.args.address == {city: "a"}`, `context.args == context.args`,
		`{n: context.args.nick} == {n: "a"}`, `if context.args.nick == "a" then context.args.id == "i" else false`,
		`context.args.id == "i" || context.args.nick == "a"`, `context.args.id == "j" && context.args.nick == "a"`, `!(context.args.nick == "a")`,
		`[context.args.nick, "b"].containsAll(["a"])`, `context == context`, `context.args.tags == ["a", "b"]`, `context.args.tags.containsAny(["secret"])`,
		`context.args.address.city like "s*" && context.args.id == "i"`, `true`, `false`, `context.args.nick == "a" || true`,
	}
	kinds := []string{"permit (", "forbid (", `@rate("1/1m") forbid (`, `@approve("Role::\"m\"") forbid (`}
	const guard = `context.args has nick && context.args has tags && context.args has address && `
	known, asked := 0, 0
	for i, a := range conds {
		for k, kind := range kinds {
			b := conds[(i*7+k*3+1)%len(conds)]
			var src strings.Builder
			base := "true"
			if k == 0 {
				base = conds[(i+5)%len(conds)]
			}
			fmt.Fprintf(&src, "@id(\"base\") permit (principal, action == Action::\"call_tool\", resource == Tool::\"update_customer\") when { %s(%s) };\n", guard, base)
			for n, cond := range []string{a, b}[:1+k%2] {
				fmt.Fprintf(&src, "@id(\"p%d\") %sprincipal, action == Action::\"call_tool\", resource == Tool::\"update_customer\") when { %s(%s) };\n", n, kind, guard, cond)
			}
			set, err := engine.Load(policytest.Config(map[string]string{"base.cedar": src.String()}))
			if err != nil {
				continue // the conditions do not go together
			}
			e := engine.New(set)
			asked++
			if around(t, src.String(), e, values) {
				known++
			}
		}
	}
	if asked < 50 || known < 10 || asked-known < 10 {
		t.Errorf("got %d of %d known, want many of each, or the test proves nothing", known, asked)
	}
}

// around compares one set's answer around hidden values with the answers to each.
func around(t *testing.T, src string, e *engine.Engine, values []string) (known bool) {
	t.Helper()
	args := func(nick, tag, city string) string {
		return fmt.Sprintf(`{"id":"i","nick":%s,"tags":[%s,"b"],"address":{"city":%s}}`, nick, tag, city)
	}
	q := policytest.Call("update_customer", args(`"[redacted]"`, `"[redacted]"`, `"[redacted]"`))
	doc, err := arguments.Decode(q.Arguments)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.DecideAround(q, hiddenIn(doc))
	if err != nil {
		return false
	}
	for _, nick := range values {
		for _, tag := range values {
			for _, city := range values {
				q.Arguments = json.RawMessage(args(nick, tag, city))
				want := e.Decide(q)
				if want.Allow != got.Allow || want.Reason != got.Reason || !slices.Equal(want.Duties, got.Duties) {
					t.Fatalf("around: %+v\nwith %s: %+v\n%s", got, q.Arguments, want, src)
				}
			}
		}
	}
	return true
}

func BenchmarkSimulate(b *testing.B) {
	d := recorded(b)
	var rows []audit.Record
	for r := range d.rows() {
		rows = append(rows, r)
	}
	many := func(yield func(audit.Record, error) bool) {
		for i := range b.N {
			if !yield(rows[i%len(rows)], nil) {
				return
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := Simulate(d.Engine(), many); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
