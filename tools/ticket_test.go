package tools_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

const executor = "spiffe://corp.example/executor"

// withTokens is a world in which callers of tools elsewhere get tokens.
func withTokens(t *testing.T, o options, sends *tools.Sends) *outside {
	t.Helper()
	type in struct {
		Owner  string `json:"owner"`
		Amount int    `json:"amount"`
		Note   string `json:"note,omitempty"`
	}
	type label struct {
		SSN string `json:"ssn"`
	}
	tool := tools.Func("ship", "Ships.", func(context.Context, in) (label, error) { return label{}, errors.New("not here") }, tools.Scopes(scope))
	tool.Audience, tool.Sends = "crm", sends
	o.tools = append(o.tools, tool)
	out := newOutside(t, o, 0)
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{Now: func() time.Time { return out.now }})
	if err != nil {
		t.Fatal(err)
	}
	out.e, err = tools.NewElsewhere(tools.ElsewhereConfig{
		Past: out.log, Clock: func() time.Time { return out.now },
		Tokens: &tools.Tokens{Keys: keys, Issuer: "https://behalf.example", Client: func() string { return "spiffe://corp.example/behalf" }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// through is bob, who comes through the executor with a certificate.
func (o *outside) through(thumbprint string, ends time.Duration) context.Context {
	p := o.person(scope)
	p.Workload = &identity.Workload{ID: executor, Thumbprint: thumbprint, NotAfter: o.now.Add(ends)}
	return identity.WithGrant(o.t.Context(), identity.Root("grt_1", p, nil, ""))
}

func claimsOf(t *testing.T, token identity.Secret) (c calltoken.Claims) {
	t.Helper()
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		t.Fatalf("got %d parts, want a token", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhoCallsElsewhereGetsATokenForThatCallAlone(t *testing.T) {
	o := withTokens(t, options{policies: `@id("hide") @redact("args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"ship");`},
		&tools.Sends{Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall}})

	id, c, err := o.check(o.through("print", time.Hour), "ship", `{"owner":"bob","amount":5,"note":"secret"}`)
	if err != nil {
		t.Fatal(err)
	}

	got := claimsOf(t, c.Token)
	if got.Subject != "bob" || got.Audience != "crm" || got.Tool != "ship" || got.Decision.ID != id || got.Scope != scope {
		t.Errorf("got %+v, want bob's call of ship", got)
	}
	if got.ClientID != executor || got.Confirmation.Thumbprint != "print" || chainOf(got.Actor) != executor {
		t.Errorf("got %+v, want it to be the executor's, for its certificate", got)
	}
	if got.Arguments != calltoken.Digest(c.Sent) || strings.Contains(string(c.Sent), "secret") || c.Payload != nil {
		t.Errorf("got the digest %s of %s, want that of the arguments as they are sent", got.Arguments, c.Sent)
	}
	if life := got.Expires - got.IssuedAt; life != 60 {
		t.Errorf("got a life of %d s, want 60", life)
	}
	_, c, err = o.check(o.through("print", 10*time.Second), "ship", `{"owner":"bob","amount":5}`)
	if err != nil || claimsOf(t, c.Token).Expires != o.now.Add(10*time.Second).Unix() {
		t.Errorf("got %v, want the token to end with the certificate", err)
	}
	p := o.person(scope)
	p.User.Expires, p.Workload = o.now.Add(20*time.Second), &identity.Workload{ID: executor, Thumbprint: "print", NotAfter: o.now.Add(time.Hour)}
	_, c, err = o.check(identity.WithGrant(t.Context(), identity.Root("grt_1", p, nil, "")), "ship", `{"owner":"bob","amount":5}`)
	if err != nil || claimsOf(t, c.Token).Expires != o.now.Add(20*time.Second).Unix() {
		t.Errorf("got %v, want the token to end with bob's own", err)
	}
}

func TestATokenIsForThePayloadOfTheBackendsProtocol(t *testing.T) {
	payload := func(args json.RawMessage) ([]byte, error) {
		if strings.Contains(string(args), "7") {
			return nil, errors.New("cannot be said")
		}
		return append([]byte("wire:"), args...), nil
	}
	o := withTokens(t, options{}, &tools.Sends{Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall}, Payload: payload})

	_, c, err := o.check(o.through("print", time.Hour), "ship", `{"owner":"bob","amount":5}`)
	if err != nil || string(c.Payload) != "wire:"+string(c.Sent) || claimsOf(t, c.Token).Arguments != calltoken.Digest(c.Payload) {
		t.Errorf("got %q, %v, want a token for the message of the protocol", c.Payload, err)
	}
	_, c, err = o.check(o.through("print", time.Hour), "ship", `{"owner":"bob","amount":7}`)
	if err != nil || !c.Token.IsZero() || c.Payload != nil || len(o.reports) != 1 || !strings.Contains(o.reports[0].Error(), "no token") {
		t.Errorf("got %v, %v, want no token where there is no message", c, err)
	}
}

func TestNobodyElseGetsATokenOfACallElsewhere(t *testing.T) {
	const forbid = `@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"ship") when { context.args.amount > 100 };`
	sends := &tools.Sends{Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall}}
	o := withTokens(t, options{policies: forbid}, sends)
	alone := identity.WithGrant(o.t.Context(), identity.Root("grt_1", o.person(scope), nil, ""))

	for name, c := range map[string]struct {
		ctx        context.Context
		tool, args string
		allowed    bool
	}{
		"a caller without a certificate": {o.through("", time.Hour), "ship", mine, true},
		"a person without a workload":    {alone, "ship", mine, true},
		"a tool without a backend":       {o.through("print", time.Hour), "post", mine, true},
		"a call that is denied":          {o.through("print", time.Hour), "ship", `{"owner":"bob","amount":101}`, false},
	} {
		if _, got, err := o.check(c.ctx, c.tool, c.args); (err == nil) != c.allowed || !got.Token.IsZero() || got.Payload != nil {
			t.Errorf("%s: got %v, %v, want no token", name, got, err)
		}
	}
}

// With a token the caller would have from the backend what is taken out here.
func TestNoTokenIsGivenWhereSomethingIsTakenOutOfTheResult(t *testing.T) {
	sends := &tools.Sends{Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall}}
	for duty, given := range map[string]bool{"result:$.ssn": false, "result:pii:card": false, "pii:card": false, "args:$.note": true, "stream:pii:card": true} {
		o := withTokens(t, options{policies: `@id("hide") @redact("` + duty + `") forbid (principal, action == Action::"call_tool", resource == Tool::"ship");`}, sends)

		_, c, err := o.check(o.through("print", time.Hour), "ship", mine)

		if err != nil || c.Token.IsZero() == given || c.Payload != nil {
			t.Errorf("%s: got a token %v, %v, want one %v", duty, !c.Token.IsZero(), err, given)
		}
	}
}

func TestATokenEndsWithTheApprovalOfItsCall(t *testing.T) {
	o := withTokens(t, options{policies: `@id("asks") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource == Tool::"ship");`},
		&tools.Sends{Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall}})
	_, _, err := o.check(o.through("print", time.Hour), "ship", mine)
	id := fault.From(err).Meta("approval_id")
	if !errors.Is(err, fault.ApprovalRequired) || id == "" {
		t.Fatalf("got %v, want it to wait for a manager", err)
	}
	a, reason := o.log.DecideApproval(t.Context(), "acme", id, true, audit.Answer{Approver: audit.User{Issuer: "https://idp.example", Subject: "eve"}, ApproverName: "Eve"}, o.now)
	if reason != "" {
		t.Fatal(reason)
	}
	o.now = time.Unix(0, a.Expires).Add(-10 * time.Second)

	c, err := o.e.Check(o.through("print", time.Hour), o.gate, agents.ToolCall{ID: "run_9/0", RunID: "run_9", Name: "ship", Arguments: mine, ApprovalID: id})
	if err != nil {
		t.Fatal(err)
	}

	if got := claimsOf(t, c.Token); got.Approval == nil || got.Approval.ID != id || got.Expires != time.Unix(0, a.Expires).Unix() {
		t.Errorf("got %+v, want the token to end with the approval, in 10 s", got)
	}
}
