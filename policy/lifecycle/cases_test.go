package lifecycle

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/behalf-dev/behalf/policy/engine"
	"github.com/behalf-dev/behalf/policy/policytest"
)

func TestTheDesksPoliciesPassTheirTests(t *testing.T) {
	c := policytest.Config(nil)
	c.Dir, c.FS = "testdata/desk", nil
	set, err := engine.Load(c)
	if err != nil {
		t.Fatal(err)
	}

	results, err := RunTests(set, os.DirFS("testdata/desk"))

	if err != nil || len(results) != 16 {
		t.Fatalf("got %d results (%v), want 16", len(results), err)
	}
	for _, r := range results {
		if len(r.Failures) > 0 {
			t.Errorf("%s: %s: %s", r.At, r.Case.Name, strings.Join(r.Failures, "; "))
		}
	}
	if cov := CoverageOf(set, results); len(cov.Undetermined) > 0 || !slices.Equal(cov.Unpaired, []string{"lookup-rate"}) {
		t.Errorf("got %+v, want only lookup-rate without a pair: it hits every call of its tool", cov)
	}
}

func runCases(t *testing.T, set *engine.Set, yaml string) ([]CaseResult, error) {
	t.Helper()
	return RunTests(set, fstest.MapFS{"a.policytest.yaml": {Data: []byte(yaml)}})
}

func TestACaseThatFailsSaysHow(t *testing.T) {
	set := policytest.Load(t, policytest.PermitAll+`@id("f") forbid (principal, action, resource == Tool::"get_customer");`)

	results, err := runCases(t, set, `
cases:
  - name: wrong
    user: {subject: alice, tenant: acme}
    tool: get_customer
    args: {id: c}
    expect: {decision: allow, reason: SCOPE_MISSING, policies: [all], duties: ["rate(1/1m)"]}
`)

	if err != nil || len(results) != 1 || results[0].At != "a.policytest.yaml:3" {
		t.Fatalf("got %+v (%v)", results, err)
	}
	got := strings.Join(results[0].Failures, "; ")
	if want := "decision: got deny, want allow (POLICY_DENIED by f); reason: got POLICY_DENIED, want SCOPE_MISSING; duties: got , want rate(1/1m); policies: got f, want all"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if cov := CoverageOf(set, results); !slices.Equal(cov.Undetermined, []string{"all"}) || !slices.Equal(cov.Unpaired, []string{"f"}) {
		t.Errorf("got %+v", cov)
	}
}

func TestTestFilesAreReadStrictly(t *testing.T) {
	set := policytest.Load(t, policytest.PermitAll)
	for name, c := range map[string]struct{ yaml, want string }{
		"unknown key":          {"cases:\n  - name: x\n    usr: {}\n", "usr"},
		"unknown key on top":   {"case: []\n", "case"},
		"no name":              {"cases:\n  - expect: {decision: allow}\n", "a.policytest.yaml:2:5: the case has no name"},
		"no decision":          {"cases:\n  - name: x\n", "expect.decision"},
		"nobody":               {"cases:\n  - name: x\n    expect: {decision: allow}\n", "needs a user"},
		"arguments no JSON":    {"cases:\n  - name: x\n    user: {subject: a, tenant: b}\n    args: '{'\n    expect: {decision: deny}\n", "JSON"},
		"number not of JSON":   {"cases:\n  - name: x\n    user: {subject: a, tenant: b}\n    args: {a: 0x10}\n    expect: {decision: deny}\n", "not a number in JSON"},
		"a key given twice":    {"cases:\n  - name: x\n    name: y\n", "name"},
		"nothing that is YAML": {"\t", "a.policytest.yaml"},
	} {
		if _, err := runCases(t, set, c.yaml); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestArgumentsOfACaseKeepTheirDigits(t *testing.T) {
	set := policytest.Load(t, policytest.PermitAll+`@id("f") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents == 9007199254740993 };`)

	results, err := runCases(t, set, `
cases:
  - name: exact
    workload: spiffe://corp.example/sa/x
    tenant: acme
    tool: refund_order
    args: {order: "1", amount_cents: 9007199254740993}
    expect: {decision: deny, policies: [f]}
`)

	if err != nil || len(results) != 1 || len(results[0].Failures) > 0 {
		t.Errorf("got %+v (%v)", results, err)
	}
}
