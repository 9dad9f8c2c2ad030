package tools_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/google/go-cmp/cmp"
)

// both is bob's call, which eve must be allowed too.
func (w *world) both(change func(eve *identity.User)) context.Context {
	w.t.Helper()
	p := w.person(scope)
	p.User.Subject = "eve"
	if change != nil {
		change(p.User)
	}
	g, err := identity.Root("grt_1", w.person(scope), nil, "").With(identity.Root("grt_2", p, nil, "")).Child("support", nil, 8)
	if err != nil {
		w.t.Fatal(err)
	}
	return identity.WithGrant(w.t.Context(), g)
}

func TestACallForSeveralPeopleIsAllowedToAll(t *testing.T) {
	const rules = `@id("calls") permit (principal, action == Action::"call_tool", resource);
		@id("eve-hides") @redact("result:$.ssn") forbid (principal == User::"acme/eve", action == Action::"call_tool", resource == Tool::"post");
		@id("eve-rarely") @rate("1/1h") forbid (principal == User::"acme/eve", action == Action::"call_tool", resource == Tool::"put");
		@id("bob-not-dear") forbid (principal == User::"acme/bob", action == Action::"call_tool", resource == Tool::"put") when { context.args.amount > 10 };
		@id("eve-other") @redact("args:$.note") forbid (principal == User::"acme/eve", action == Action::"call_tool", resource == Tool::"look");`
	w := newWorld(t, options{only: true, policies: rules})

	if got := w.finished(w.both(nil), call("post", mine)); got.Failed || strings.Contains(got.Result, "123") {
		t.Errorf("got %+v, want what is hidden from eve hidden", got)
	}
	if diff := cmp.Diff([]string{"row decision allow", "row decision allow", "decided allow", "effect post", "row outcome succeeded"}, w.trace.all()); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		what string
		ctx  context.Context
		tool string
		args string
		want fault.Reason
	}{
		{"eve has not the scope", w.both(func(u *identity.User) { u.Scopes = identity.NewScopes() }), "refund", mine, fault.DelegationScope},
		{"eve's credential has ended", w.both(func(u *identity.User) { u.Expires = w.now.Add(-time.Second) }), "put", mine, fault.CredentialExpired},
		{"eve is not the owner", w.both(nil), "refund", mine, fault.OwnerMismatch},
		{"bob is denied", w.both(nil), "put", `{"owner":"bob","amount":50}`, fault.PolicyDenied},
		{"eve still has her one", w.both(nil), "put", mine, ""},
		{"eve has had hers", w.both(nil), "put", mine, fault.RateLimited},
		{"what eve may not send is not sent", w.both(nil), "look", `{"owner":"bob","amount":5,"note":"x"}`, ""},
	} {
		if got := w.finished(c.ctx, call(c.tool, c.args)); got.Reason != string(c.want) {
			t.Errorf("%s: got %+v, want %q", c.what, got, c.want)
		}
	}
	if n := w.effects(); n != 3 {
		t.Errorf("%d calls were made, want 3", n)
	}
}
