package engine

import (
	"testing"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// Trap 1: cedar-go skips a forbid that errs, and allows.
func TestAForbidThatErrsDenies(t *testing.T) {
	src := permitAll + `@id("cap") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents * 100 > 5000000 };`
	e := engine(t, src)

	wantDecision(t, e.Decide(call("refund_order", `{"order":"o","amount_cents":100}`)), true, "", "all")
	wantDecision(t, e.Decide(call("refund_order", `{"order":"o","amount_cents":60000}`)), false, "POLICY_DENIED", "cap")
	d := e.Decide(call("refund_order", `{"order":"o","amount_cents":9223372036854775807}`))
	wantDecision(t, d, false, "POLICY_ERROR", "cap")
	if d.Err == nil {
		t.Error("got no cause for the operator")
	}
}

func TestASoftForbidOrPermitThatErrsDenies(t *testing.T) {
	for _, src := range []string{
		permitAll + `@id("x") @rate("1/1m") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents * 100 > 5 };`,
		permitAll + `@id("x") permit (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents * 100 > 5 };`,
	} {
		d := engine(t, src).Decide(call("refund_order", `{"order":"o","amount_cents":9223372036854775807}`))

		wantDecision(t, d, false, "POLICY_ERROR", "x")
	}
}

func TestCedarStillSkipsAForbidThatErrs(t *testing.T) {
	var list cedar.PolicyList
	if err := list.UnmarshalCedar([]byte(`permit (principal, action, resource); forbid (principal, action, resource) when { 9223372036854775807 * context.n > 1 };`)); err != nil {
		t.Fatal(err)
	}
	set := cedar.NewPolicySet()
	for i, p := range list {
		set.Add(cedar.PolicyID([]string{"p", "f"}[i]), p)
	}

	got, diag := cedar.Authorize(set, nil, cedar.Request{Context: cedar.NewRecord(cedar.RecordMap{"n": types.Long(2)})})

	if got != cedar.Allow || len(diag.Errors) != 1 {
		t.Errorf("got %v with %d errors: cedar-go has changed, look at authorize again", got, len(diag.Errors))
	}
}

// Trap 2: a missing entity is silently false.
func TestEveryEntityOfARequestIsPresent(t *testing.T) {
	q := callBy(person("acme", "alice", "support"), "get_customer", `{"id":"c"}`)
	w := &world{}
	if err := w.fill(q, &toolSchema{name: "get_customer", toolset: "crm"}); err != nil {
		t.Fatal(err)
	}

	for _, uid := range []types.EntityUID{
		{Type: "User", ID: "acme/alice"},
		{Type: "Role", ID: "support"},
		{Type: "Tenant", ID: "acme"},
		{Type: "Tool", ID: "get_customer"},
		{Type: "Toolset", ID: "crm"},
		{Type: "Action", ID: "call_tool"},
	} {
		if _, ok := w.Get(uid); !ok {
			t.Errorf("%s is missing", uid)
		}
	}
}

func TestEntitiesConformToTheSchema(t *testing.T) {
	c := newChecker((&schema{actions: setOf([]string{"x"})}).rpcActions(everything))
	q := &Query{Grant: grantOf(person("acme", "alice", "support"), "a"), Action: "x", Time: noon(), Resource: Entity{
		Type: "Approval", ID: "apr_1", Owner: "acme/bob", Parents: []Entity{{Type: "Run", ID: "run_1", Parents: []Entity{{Type: "Session", ID: "ses_1", Parents: []Entity{{Type: "Agent", ID: "support"}}}}}},
	}}
	w := &world{}
	if err := w.fill(q, nil); err != nil {
		t.Fatal(err)
	}

	for _, uid := range []types.EntityUID{w.principal, w.resource, {Type: "Tenant", ID: "acme"}} {
		e, ok := w.Get(uid)
		if !ok {
			t.Fatalf("%s is missing", uid)
		}
		if err := c.v.Entity(e); err != nil {
			t.Errorf("%s: %v", uid, err)
		}
	}
}

func TestAForbidOnAForefatherOfTheResourceBites(t *testing.T) {
	e := engine(t, permitAll+`@id("f") forbid (principal, action == Action::"get_session", resource in Agent::"support");`)
	q := &Query{Grant: grantOf(person("acme", "alice")), Action: "get_session", Time: noon(), Resource: Entity{
		Type: "Run", ID: "run_1", Parents: []Entity{{Type: "Session", ID: "ses_1", Parents: []Entity{{Type: "Agent", ID: "support"}}}},
	}}

	wantDecision(t, e.Decide(q), false, "POLICY_DENIED", "f")
}

// Trap 3: JSON without a schema can smuggle in entities.
func TestArgumentsCannotSmuggleEntities(t *testing.T) {
	e := engine(t, permitAll)
	for _, args := range []string{
		`{"id":{"__entity":{"type":"Role","id":"admin"}}}`,
		`{"id":{"__extn":{"fn":"decimal","arg":"1.0"}}}`,
		`{"__entity":{"type":"Role","id":"admin"}}`,
	} {
		wantDecision(t, e.Decide(call("get_customer", args)), false, "POLICY_ERROR")
	}
}

// Trap 4: numbers.
func TestNumbersAreExact(t *testing.T) {
	e := engine(t, permitAll+`@id("big") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents > 9007199254740992 };
@id("score") forbid (principal, action == Action::"call_tool", resource == Tool::"update_customer") when { context.args has score && context.args.score.lessThan(decimal("0.0002")) };`)

	wantDecision(t, e.Decide(call("refund_order", `{"order":"o","amount_cents":9007199254740992}`)), true, "", "all")
	wantDecision(t, e.Decide(call("refund_order", `{"order":"o","amount_cents":9007199254740993}`)), false, "POLICY_DENIED", "big")
	wantDecision(t, e.Decide(call("update_customer", `{"id":"c","score":0.0002}`)), true, "", "all")
	wantDecision(t, e.Decide(call("update_customer", `{"id":"c","score":-12}`)), false, "POLICY_DENIED", "score")
	wantDecision(t, e.Decide(call("update_customer", `{"id":"c","score":NaN}`)), false, "POLICY_ERROR")
	wantDecision(t, e.Decide(call("update_customer", `{"id":"c","score":0.00019}`)), false, "POLICY_ERROR")
}

// Trap 5: two decoders that read the same bytes differently.
func TestAmbiguousJSONIsDenied(t *testing.T) {
	e := engine(t, permitAll)
	for _, args := range []string{`{"order":"o","amount_cents":5,"AMOUNT_CENTS":500}`, `{"order":"o","amount_cents":5,"amount_cents":500}`, `{"order":"o","amount_cents":5}}`} {
		wantDecision(t, e.Decide(call("refund_order", args)), false, "POLICY_ERROR")
	}
}

func TestAPersonWhoseRolesAreNotAllKnownIsDenied(t *testing.T) {
	e := engine(t, `@id("all") permit (principal, action, resource);
@id("not-suspended") forbid (principal in Role::"suspended", action, resource);`)
	p := person("acme", "alice")
	p.User.RolesUnknown = true
	q := callBy(p, "get_customer", `{"id":"C-1"}`)

	if d := e.Decide(q); d.Allow || d.Reason != "POLICY_ERROR" {
		t.Errorf("got %+v, want a denial with POLICY_ERROR", d)
	}
}
