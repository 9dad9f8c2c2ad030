package tools_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

func TestNoIdentityOrAnotherAgentsEndsTheRun(t *testing.T) {
	w := newWorld(t, options{})
	other, err := identity.Child(w.bob(), "billing", nil, 8)
	if err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{
		"none": t.Context(), "another agent": other,
		"no agent": identity.WithGrant(t.Context(), identity.Root("g", w.person(scope), nil, "")),
	} {
		if events, err := w.do(ctx, call("look", mine)); !errors.Is(err, fault.Internal) || len(events) != 0 {
			t.Errorf("%s: got %d events and %v, want an error", name, len(events), err)
		}
		for spec, err := range w.gate.Specs(ctx) {
			if err == nil {
				t.Errorf("%s: sees %s", name, spec.Name)
			}
		}
	}
	if len(w.trace.all()) != 0 {
		t.Errorf("got %q, want nothing", w.trace.all())
	}
}

func TestHostileArgumentsDoNotReachPolicyToolOrRecord(t *testing.T) {
	w := newWorld(t, options{})
	for name, text := range tools.Hostile {
		fin := w.finished(w.bob(), call("look", text))
		last := w.log.Records()[len(w.log.Records())-1]
		if fin.Reason != string(fault.ArgumentInvalid) || len(read(t, fin).Error.Fields) == 0 || last.RedactedArguments != "" {
			t.Errorf("%s: got %s, recorded %q", name, fin.Result, last.RedactedArguments)
		}
	}
	for _, name := range []string{"", "LOOK", "look ", "look\x00", "look/*", "*", strings.Repeat("x", 1<<20), "a\x1b[31m\u202e\xff"} {
		fin := w.finished(w.bob(), call(name, mine))
		last := w.log.Records()[len(w.log.Records())-1]
		if fin.Reason != string(fault.ToolUnknown) || len(last.Tool) > 64 || strings.ContainsAny(last.Tool, "\x00\x1b\u202e\xff") {
			t.Errorf("%.20q: got %s, recorded %q", name, fin.Result, last.Tool)
		}
	}
	if w.effects() != 0 {
		t.Errorf("got %d effects, want none", w.effects())
	}
}

func TestAnEmptySetOfScopesMeansNothing(t *testing.T) {
	w := newWorld(t, options{})
	for name, tc := range map[string]struct {
		person  []string
		ceiling *identity.Scopes
		want    fault.Reason
		names   bool
	}{
		"person has none":       {nil, nil, fault.ScopeMissing, false},
		"ceiling is empty":      {[]string{scope}, new(identity.Scopes{}), fault.DelegationScope, true},
		"ceiling is another":    {[]string{scope}, new(identity.NewScopes("x")), fault.DelegationScope, true},
		"both":                  {nil, new(identity.NewScopes(scope)), fault.ScopeMissing, false},
		"person has another":    {[]string{"crm.writer", "crm"}, nil, fault.ScopeMissing, false},
		"other case is another": {[]string{"CRM.WRITE"}, nil, fault.ScopeMissing, false},
	} {
		ctx := w.as(w.person(tc.person...), tc.ceiling)
		if fin := w.finished(ctx, call("refund", mine)); fault.Reason(fin.Reason) != tc.want {
			t.Errorf("%s: got %s, want %s", name, fin.Result, tc.want)
		}
		_, err := w.newGate("", w.registry.Names(), tools.Limits{}).Direct(ctx, call("refund", mine))
		if f := fault.From(err); f.Reason != tc.want || (f.Meta("missing_scope") == scope) != tc.names {
			t.Errorf("%s: direct: got %v with %q", name, err, f.Meta("missing_scope"))
		}
		for spec, err := range w.gate.Specs(ctx) {
			if err != nil || spec.Name == "refund" {
				t.Errorf("%s: sees refund (%v)", name, err)
			}
		}
	}
	if w.effects() != 0 {
		t.Errorf("got %d effects, want none", w.effects())
	}
}

func TestAnOwnerArgumentMustBeTheCallers(t *testing.T) {
	optional := tools.Func("maybe", "", func(context.Context, struct {
		Mail string `json:"mail,omitempty"`
	},
	) (string, error) {
		return "ok", nil
	}, tools.ReadOnly(), tools.OwnerParam("mail", tools.OwnerEmail))
	for name, tc := range map[string]struct {
		call     agents.ToolCall
		policies string
		want     fault.Reason
	}{
		"mine":               {call("refund", mine), "", ""},
		"theirs":             {call("refund", theirs), "", fault.OwnerMismatch},
		"other case":         {call("refund", `{"owner":"Bob","amount":5}`), "", fault.OwnerMismatch},
		"empty":              {call("refund", `{"owner":"","amount":5}`), "", fault.OwnerMismatch},
		"my mail":            {call("maybe", `{"mail":"bob@acme.example"}`), "", ""},
		"left out":           {call("maybe", `{}`), "", fault.OwnerMismatch},
		"permitted":          {call("refund", theirs), `@id("other") permit (principal, action == Action::"act_for_other", resource == Tool::"refund");`, ""},
		"permitted for more": {call("refund", `{"owner":"eve","amount":50}`), `@id("other") permit (principal, action == Action::"act_for_other", resource == Tool::"refund") when { context.args.amount < 10 };`, fault.OwnerMismatch},
		"permitted, then denied": {call("refund", theirs), `@id("other") permit (principal, action == Action::"act_for_other", resource == Tool::"refund");
			@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"refund");`, fault.PolicyDenied},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{
				only: true, tools: []tools.Tool{optional},
				policies: `@id("all") permit (principal, action == Action::"call_tool", resource);` + tc.policies,
			})

			fin := w.finished(w.bob(), tc.call)

			if fault.Reason(fin.Reason) != tc.want {
				t.Errorf("got %s, want %q", fin.Result, tc.want)
			}
			if strings.Contains(fin.Result, "eve") {
				t.Errorf("the refusal names somebody else: %s", fin.Result)
			}
		})
	}
}

func TestActingForAnotherIsOnRecordBesideTheCall(t *testing.T) {
	w := newWorld(t, options{})

	w.finished(w.bob(), call("refund", theirs))

	var got []string
	for _, r := range w.log.Records() {
		got = append(got, r.CallID+" "+string(r.Phase)+" "+r.Action+" "+r.Decision+r.Outcome)
	}
	want := []string{"read_run_1/7 decision act_for_other allow", "run_1/7 decision call_tool allow", "run_1/7 outcome call_tool succeeded"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatIsRedactedIsNeitherSentNorShown(t *testing.T) {
	w := newWorld(t, options{policies: `@id("less") @redact("result:$.ssn, args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"post");`})

	events, err := w.do(w.bob(), call("post", `{"owner":"bob","amount":5,"note":"CANARY"}`))
	if err != nil {
		t.Fatal(err)
	}
	fin := events[1].Body.(agents.ToolCallFinished)
	if fin.Failed || strings.Contains(fin.Result, "CANARY") || strings.Contains(fin.Result, "123-45") || !strings.Contains(fin.Result, `"amount":5`) {
		t.Errorf("the model reads %s", fin.Result)
	}
	if d := events[0].Body.(agents.ToolCallDecided); !slices.Equal(d.Duties, []string{`@redact("result:$.ssn, args:$.note")`}) {
		t.Errorf("duties: %q", d.Duties)
	}
	if row := w.log.Records()[0]; strings.Contains(row.RedactedArguments, "CANARY") {
		t.Errorf("recorded %s", row.RedactedArguments)
	}
}
