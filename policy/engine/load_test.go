package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

func TestLoadNamesWhatIsWrongWithAPolicy(t *testing.T) {
	const head = `(principal, action == Action::"call_tool", resource == Tool::"refund_order")`
	cases := []struct{ name, src, want string }{
		{"no id", `permit (principal, action, resource);`, `policies/base.cedar:1:1: the policy has no @id`},
		{"id without a value", `@id permit (principal, action, resource);`, `policies/base.cedar:1:1: `},
		{"odd id", `@id("a b") permit (principal, action, resource);`, `@id("a b") must be`},
		{"the same id twice", permitAll + permitAll, `policies/base.cedar:2:1: @id("all") is already used at policies/base.cedar:1:1`},
		{"unknown annotation", `@id("a") @aprove("x") forbid (principal, action, resource);`, `unknown annotation @aprove`},
		{"duty on a permit", `@id("a") @rate("1/1m") permit (principal, action, resource);`, `@rate stands on a permit`},
		{"rate without a window", `@id("a") @rate("60") forbid (principal, action, resource);`, `@rate("60"): want a number per duration`},
		{"rate of nothing", `@id("a") @rate("0/1m") forbid (principal, action, resource);`, `is not a whole number`},
		{"rate per nothing", `@id("a") @rate("1/0s") forbid (principal, action, resource);`, `is not a duration`},
		{"budget of apples", `@id("a") @budget("5 apples/1h") forbid (principal, action, resource);`, `want tokens per duration`},
		{"approval by nobody", `@id("a") @approve("manager") forbid (principal, action, resource);`, `want who approves`},
		{"approval by an unquoted role", `@id("a") @approve("Role::manager") forbid (principal, action, resource);`, `needs a quoted name`},
		{"approval of a run", `@id("a") @approve("Role::\"m\"") forbid (principal, action == Action::"run_agent", resource);`, `policies/base.cedar:1:1: @approve needs action == Action::"call_tool"`},
		{"approval of anything", permitAll + `@id("a") @approve("Role::\"m\"") forbid (principal, action, resource);`, `policies/base.cedar:2:1: @approve needs action == Action::"call_tool"`},
		{"approval of calls and runs", `@id("a") @approve("Role::\"m\"") forbid (principal, action in [Action::"call_tool", Action::"run_agent"], resource);`, `@approve needs`},
		{"step-up to nothing", `@id("a") @stepup("mfa") forbid (principal, action, resource);`, `want what the person must prove`},
		{"redaction of nothing", `@id("a") @redact("") forbid ` + head + `;`, `want args:$.path`},
		{"redaction of the root", `@id("a") @redact("result:$") forbid ` + head + `;`, `names something below it`},
		{"redaction by a filter", `@id("a") @redact("result:$.x[?(@.y == 1)]") forbid ` + head + `;`, `names, [*], indices`},
		{"redaction of an unknown argument", `@id("a") @redact("args:$.nope") forbid ` + head + `;`, `names nothing in the arguments`},
		{"redaction of a number", `@id("a") @redact("args:$.amount_cents") forbid ` + head + `;`, `is not a free string in the arguments of tool refund_order`},
		{"redaction of an enum", `@id("a") @redact("args:$.level") forbid (principal, action == Action::"call_tool", resource == Tool::"update_customer");`, `is not a free string`},
		{"redaction of an RPC", `@id("a") @redact("result:$.x") forbid (principal, action == Action::"run_agent", resource);`, `@redact needs action == Action::"call_tool"`},
		{"typo in an argument", `@id("a") forbid ` + head + ` when { context.args.amuont_cents > 5 };`, `(for tool refund_order)`},
		{"typo in has", `@id("a") forbid ` + head + ` when { context.args has amuont_cents };`, `no tool that the policy's head can match has an argument "amuont_cents"`},
		{"optional argument without has", `@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args.note == "x" };`, `(for tool get_customer)`},
		{"argument that only one of two tools has", `@id("a") forbid (principal, action == Action::"call_tool", resource in Toolset::"crm") when { context.args.vip };`, `(for tool get_customer)`},
		{"typo in the context", `@id("a") forbid (principal, action, resource) when { context.agnet == "x" };`, `agnet`},
		{"another type", `@id("a") forbid ` + head + ` when { context.args.amount_cents == "5" };`, `policies/base.cedar:1:1: `},
		{"unknown action", `@id("a") forbid (principal, action == Action::"call_tol", resource);`, `call_tol`},
		{"unknown entity type", `@id("a") forbid (principal in Group::"x", action, resource);`, `Group`},
		{"unknown tool", `@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_oder");`, `there is no Tool::"refund_oder"`},
		{"unknown toolset", `@id("a") forbid (principal, action == Action::"call_tool", resource in Toolset::"crn");`, `there is no Toolset::"crn"`},
		{"unknown agent", `@id("a") forbid (principal, action, resource == Agent::"suport");`, `there is no Agent::"suport"`},
		{"unknown tool in a condition", `@id("a") forbid (principal, action, resource) unless { resource == Tool::"x" };`, `there is no Tool::"x"`},
		{"a head that nothing matches", `@id("a") forbid (principal, action == Action::"call_tool", resource is Session);`, `match no action`},
		{"no Cedar at all", "\n  @id(\"a\") permit (principal, action);", `policies/base.cedar:2:38: cannot be parsed`},
		{"no semicolon at the end", `@id("a") permit (principal, action, resource)`, `cannot be parsed: the text ends, and ";" is missing`},
		{"no semicolon between two", "@id(\"a\") permit (principal, action, resource)\npermit (principal, action, resource);", `cannot be parsed: ";" is missing before "permit"`},
		{"the same annotation twice", `@id("a") @rate("1/1m") @rate("2/1m") forbid (principal, action, resource);`, `cannot be parsed`},
		{"deep nesting", `@id("a") permit (principal, action, resource) when { ` + strings.Repeat("(", 200) + `true` + strings.Repeat(")", 200) + ` };`, `nested too deeply`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { wantProblem(t, c.src, c.want) })
	}
}

func TestATokenBudgetThatNoRunTakesFromIsAWarning(t *testing.T) {
	for action, warns := range map[string]bool{
		`action == Action::"call_tool"`: true, `action in [Action::"call_tool", Action::"get_session"]`: true,
		`action`: false, `action == Action::"run_agent"`: false, `action in [Action::"call_tool", Action::"run_agent"]`: false,
	} {
		set := load(t, permitAll+`@id("t") @budget("1000 tokens/24h") forbid (principal, `+action+`, resource);`)

		w := set.Warnings()

		if warned := len(w) == 1 && strings.HasPrefix(w[0], "policies/base.cedar:2:1: t: ") && strings.Contains(w[0], "never used up"); warned != warns || len(w) > 1 {
			t.Errorf("%s: got %q, want a warning: %t", action, w, warns)
		}
	}
	if w := load(t, permitAll+`@id("c") @budget("9 calls/24h") forbid (principal, action == Action::"call_tool", resource);`).Warnings(); len(w) != 0 {
		t.Errorf("got %q for a budget of calls, want no warning", w)
	}
}

func TestLoadReportsEverythingAtOnce(t *testing.T) {
	got := problems(t, `@id("a") permit (principal, action, resource) when { context.typo };
permit (principal, action, resource);
@id("b") forbid (principal, action resource);
@id("a") @nope("x") permit (principal, action, resource); // a comment; with a semicolon
@id("c") permit (principal, action) ;
`)

	var lines []string
	for _, p := range got {
		lines = append(lines, strings.SplitN(p, ":", 3)[1])
	}
	want := []string{"1", "2", "3", "4", "4", "5"}
	if !slices.Equal(slices.Compact(lines), slices.Compact(want)) || len(got) < len(want) {
		t.Errorf("got %d problems\n%s\nwant them in lines %v", len(got), strings.Join(got, "\n"), want)
	}
}

func TestLoadRefusesPolicyFilesThatWouldHaveNoEffect(t *testing.T) {
	for name, want := range map[string]string{
		"more/a.cedar":           "policies/more:1:1: ",
		"tenants/a.cedar":        "policies/tenants/a.cedar:1:1: ",
		"tenants/Acme/a.cedar":   "policies/tenants/Acme:1:1: not the name of a tenant",
		"tenants/acme/x/a.cedar": "policies/tenants/acme/x:1:1: ",
	} {
		_, err := Load(deskConfig(map[string]string{name: permitAll}))

		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

func TestLoadBoundsTheNumberOfTenants(t *testing.T) {
	files := map[string]string{}
	for i := range maxTenants + 1 {
		files[fmt.Sprintf("tenants/t%d/README", i)] = ""
	}

	_, err := Load(deskConfig(files))

	if err == nil || !strings.Contains(err.Error(), "1001 tenants; at most 1000") {
		t.Errorf("got %v", err)
	}
}

func TestLoadBoundsTheNumberOfPolicies(t *testing.T) {
	most := func(n int) error {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "@id(\"p%d\") permit (principal, action, resource);\n", i)
		}
		_, err := Load(deskConfig(map[string]string{"a.cedar": text.String()}))
		return err
	}

	if err := most(maxPolicies + 1); err == nil || !strings.Contains(err.Error(), "10001 policies; at most 10000") {
		t.Errorf("got %v", err)
	}
	if err := most(maxPolicies); err != nil {
		t.Errorf("got %v for as many as there may be", err)
	}
}

func TestLoadPassesOverHiddenAndForeignFiles(t *testing.T) {
	set := loadFiles(t, map[string]string{"a.cedar": permitAll, "README.md": "x", "..data/a.cedar": permitAll, "tenants/acme/.x/a.cedar": "?"})

	if got := set.Policies(); len(got) != 1 || got[0].ID != "all" {
		t.Errorf("got %v, want [all]", got)
	}
}

func TestLoadRefusesADirectoryThatIsNotThere(t *testing.T) {
	if _, err := Load(Config{Dir: "testdata/nowhere"}); err == nil {
		t.Error("got no error")
	}
}

func TestLoadRefusesToolSchemasThatItCannotType(t *testing.T) {
	for _, schema := range []string{`{"type":"string"}`, `nope`, `[]`} {
		_, err := Load(Config{FS: deskConfig(nil).FS, Tools: []ToolSchema{{Name: "x", Schema: json.RawMessage(schema)}}})

		if err == nil || !strings.Contains(err.Error(), "tool x: ") {
			t.Errorf("%s: got %v, want an error that names the tool", schema, err)
		}
	}
}

func TestPoliciesOfAnAbsentToolsetRest(t *testing.T) {
	src := permitAll + `@id("a") forbid (principal, action == Action::"call_tool", resource in Toolset::"files") when { context.args.path like "/etc/*" };
@id("b") forbid (principal, action == Action::"call_tool", resource == Tool::"read_file") when { context.args.path like "/etc/*" };`
	c := deskConfig(map[string]string{"base.cedar": src})
	c.Absent = []string{"files"}

	set, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	wantDecision(t, New(set).Decide(call("send_mail", `{"to":[]}`)), true, "", "all")
	wantDecision(t, New(set).Decide(call("read_file", `{"path":"/x"}`)), false, "POLICY_ERROR")
}

// TestOnlyToolsOfAnAbsentToolsetMayBeUnknown: the names of all else are in the config, so
// that a forbid of a misspelt one would forbid nothing for ever.
func TestOnlyToolsOfAnAbsentToolsetMayBeUnknown(t *testing.T) {
	for head, want := range map[string]string{
		`action == Action::"call_tool", resource == Tool::"raed_file"`:        "",
		`action == Action::"call_tool", resource in Toolset::"file"`:          `there is no Toolset::"file"; did you mean files?`,
		`action == Action::"run_agent", resource == Agent::"suport"`:          `there is no Agent::"suport"; did you mean support?`,
		`action == Action::"run_group_chat", resource == GroupChat::"nobody"`: `there is no GroupChat::"nobody"`,
	} {
		c := deskConfig(map[string]string{"base.cedar": permitAll + `@id("a") forbid (principal, ` + head + `);`})
		c.Absent, c.Agents, c.GroupChats = []string{"files"}, []string{"support"}, []string{"triage"}

		set, err := Load(c)

		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %s", head, err, want)
		}
		if want == "" && (err != nil || len(set.Warnings()) != 1 || !strings.Contains(set.Warnings()[0], `a: nobody has told of Tool::"raed_file" yet`)) {
			t.Errorf("%s: got %v, want a warning", head, err)
		}
	}
	c := deskConfig(map[string]string{"base.cedar": permitAll + `@id("a") forbid (principal, action == Action::"call_tool", resource in Toolset::"file");`})
	c.Absent, c.Lost = []string{"tools"}, true
	if _, err := Load(c); err != nil {
		t.Errorf("got %v where the config has lost its toolsets", err)
	}
}

func TestRevisionIsOfTheContentNotOfTheFiles(t *testing.T) {
	a := "@id(\"a\") permit (principal, action, resource);\n"
	b := "@id(\"b\") forbid (principal in Role::\"x\", action, resource);\n"
	one := loadFiles(t, map[string]string{"one.cedar": a + "// note\n" + b}).Revision()
	two := loadFiles(t, map[string]string{"p.cedar": b, "q.cedar": strings.ReplaceAll(a, ", ", ",\n   ")}).Revision()
	changed := load(t, a+strings.Replace(b, "x", "y", 1)).Revision()
	moved := loadFiles(t, map[string]string{"a.cedar": a, "tenants/acme/b.cedar": b}).Revision()

	if one != two || len(one) != 16 {
		t.Errorf("got %s and %s for the same policies", one, two)
	}
	if changed == one || moved == one {
		t.Errorf("got %s, %s and %s, want another revision after a change", one, changed, moved)
	}
}

func TestRevisionChangesWithATool(t *testing.T) {
	c := deskConfig(map[string]string{"a.cedar": permitAll})
	before, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Tools[0].Schema = json.RawMessage(`{"type":"object","properties":{"id":{"type":"integer"}}}`)

	after, err := Load(c)

	if err != nil || before.Revision() == after.Revision() {
		t.Errorf("got the same revision %s after a tool changed (%v)", before.Revision(), err)
	}
}

func TestLoadWarnsOfArithmeticInForbids(t *testing.T) {
	set := load(t, `@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents * 100 > 5 };
@id("b") permit (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents * 100 > 5 };`)

	if w := set.Warnings(); len(w) != 1 || !strings.Contains(w[0], "base.cedar:1:1: a: multiplication") {
		t.Errorf("got %q, want one warning about a", w)
	}
}

func TestLoadWarnsOfArithmeticUnlessItIsBounded(t *testing.T) {
	for cond, want := range map[string]int{
		`context.args.amount_cents * 100 > 5`:                                                                                                1,
		`context.args.amount_cents <= 1000 && context.args.amount_cents * 100 > 5`:                                                           1, // very negative
		`context.args.amount_cents >= 0 && context.args.amount_cents <= 1000 && context.args.amount_cents * 100 > 5`:                         0,
		`0 <= context.args.amount_cents && 1000 >= context.args.amount_cents && context.args.amount_cents * 100 + 7 > 5`:                     0,
		`context.args.amount_cents * 100 > 5 && context.args.amount_cents >= 0 && context.args.amount_cents <= 1000`:                         1, // too late
		`(context.args.amount_cents >= 0 || context.args.amount_cents <= 1000) && context.args.amount_cents * 100 > 5`:                       1,
		`context.args.amount_cents >= 0 && context.args.amount_cents <= 9000000000000000000 && context.args.amount_cents * 100 > 5`:          1,
		`context.args.amount_cents >= 0 && context.args.amount_cents <= 1000 && context.args.amount_cents * 9000000000000000000 > 5`:         1,
		`(if context.args.amount_cents >= 0 && context.args.amount_cents < 9 then context.args.amount_cents * 2 else 1 - context.depth) > 5`: 1, // the else
		`context.args.amount_cents >= 0 } when { context.args.amount_cents <= 9 } when { context.args.amount_cents * 2 > 5`:                  0,
		`context.args.amount_cents >= 0 } unless { context.args.amount_cents <= 9 } when { context.args.amount_cents * 2 > 5`:                1,
		`context.depth >= 0 && context.depth <= 9 && context.args.amount_cents + 2 > 5`:                                                      1, // another one's bound
	} {
		set := load(t, `@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { `+cond+` };`)
		if w := set.Warnings(); len(w) != want {
			t.Errorf("%s: got %q, want %d warnings", cond, w, want)
		}
	}
}

func TestTheValidatorsWrapperTurnsAPanicIntoAFinding(t *testing.T) {
	c := newChecker(nil)

	got := c.policy(&ast.Policy{}) // no scopes: the validator's type assertions fail

	if len(got) != 1 || !strings.HasPrefix(got[0], "panic: ") {
		t.Errorf("got %q, want a finding that tells of the panic", got)
	}
}

func TestTheValidatorIsStrict(t *testing.T) {
	wantProblem(t, `@id("a") forbid (principal, action, resource) when { [1, "x"].contains(1) };`, "base.cedar:1:1")
	wantProblem(t, `@id("a") forbid (principal, action, resource) when { context.agent == 5 };`, "base.cedar:1:1")
}

func FuzzLoadNeverPanicsAndNeverLoadsWithoutID(f *testing.F) {
	f.Add(permitAll)
	f.Add(`@id("a") @redact("result:$.ssn, args:$.note, pii:card, stream:pii:card") forbid (principal in Role::"s", action == Action::"call_tool", resource in Toolset::"crm");`)
	f.Add(`@id("a") forbid (principal, action, resource) when { context.args has x && "\"; // " == "x" };`)
	f.Add("@id(\"a\") permit (principal, action, resource) unless { if true then context.depth > 1 else [] == [] };\n;;")
	f.Fuzz(func(t *testing.T, src string) {
		set, err := Load(deskConfig(map[string]string{"base.cedar": src}))
		if err != nil {
			return
		}
		for _, p := range set.Policies() {
			id := p.ID
			if !validID(id) {
				t.Errorf("loaded a policy with id %q", id)
			}
		}
		New(set).Decide(call("get_customer", `{"id":"c"}`))
	})
}

func TestARedactionOfAResultThatCannotBeThereIsALoadError(t *testing.T) {
	c := deskConfig(map[string]string{"p.cedar": `@id("no-ssn") @redact("result:$.snn")
forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`})
	for i := range c.Tools {
		c.Tools[i].Result = []byte(`{"type":"object","properties":{"ssn":{"type":"string"}},"additionalProperties":false}`)
	}

	if _, err := Load(c); err == nil || !strings.Contains(err.Error(), "result:$.snn names nothing") {
		t.Errorf("got %v, want the typing error named", err)
	}
}
