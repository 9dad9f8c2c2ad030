package tools_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/tools"
)

// tokenTool gives the claims of the token that its backend would get.
func tokenTool(t testing.TB, b tools.Backend, sent tools.Sent) tools.Tool {
	t.Helper()
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	tokens := &tools.Tokens{Keys: keys, Issuer: "https://behalf.example", Client: func() string { return "spiffe://corp.example/behalf" }}
	type in struct{}
	return tools.Func("whose", "Tells who asks.", func(ctx context.Context, _ in) (calltoken.Claims, error) {
		token, err := tokens.For(ctx, b, sent)
		if err != nil {
			return calltoken.Claims{}, err
		}
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Reveal(), ".")[1])
		if err != nil {
			return calltoken.Claims{}, err
		}
		var c calltoken.Claims
		return c, json.Unmarshal(text, &c)
	}, tools.ReadOnly(), tools.Scopes(scope))
}

func TestATokenSaysForWhomAndWhatACallIsMade(t *testing.T) {
	sent := tools.Sent{Digest: calltoken.Digest([]byte("{}")), Thumbprint: "print"}
	for chain, want := range map[string]string{tools.ChainFull: "support spiffe://corp.example/behalf", tools.ChainOutermost: "support spiffe://corp.example/behalf"} {
		w := newWorld(t, options{tools: []tools.Tool{tokenTool(t, tools.Backend{Audience: "crm", Type: calltoken.TypeCall, Chain: chain}, sent)}})

		var c calltoken.Claims
		if err := json.Unmarshal([]byte(w.finished(w.bob(), agents.ToolCall{ID: "run_1/7", Name: "whose", Arguments: "{}"}).Result), &c); err != nil {
			t.Fatal(err)
		}

		if c.Subject != "bob" || c.Tenant != "acme" || c.Audience != "crm" || c.Tool != "whose" || c.ToolVersion == "" || c.Arguments != sent.Digest {
			t.Errorf("got %+v, want bob's call of whose for crm", c)
		}
		if c.Scope != scope || c.Decision.ID == "" || c.Decision.Revision == "" || c.Confirmation.Thumbprint != "print" || c.Transaction == "" {
			t.Errorf("got %+v, want its scope, decision and certificate", c)
		}
		if got := chainOf(c.Actor); got != want {
			t.Errorf("%s: got the chain %q, want %q", chain, got, want)
		}
	}
}

func chainOf(a *calltoken.Actor) string {
	var names []string
	for ; a != nil; a = a.Actor {
		names = append(names, a.Subject)
	}
	return strings.Join(names, " ")
}

func TestNoTokenIsMintedBesideACall(t *testing.T) {
	tokens := &tools.Tokens{Client: func() string { return "spiffe://corp.example/behalf" }}
	if _, err := tokens.For(t.Context(), tools.Backend{}, tools.Sent{}); err == nil {
		t.Error("a token was minted for no call")
	}
}
