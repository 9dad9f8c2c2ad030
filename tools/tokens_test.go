package tools_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/google/go-cmp/cmp"
)

// tokenTool gives the claims of the token that its backend would get.
func tokenTool(t testing.TB, b tools.Backend, sent tools.Sent) tools.Tool {
	t.Helper()
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	tokens := &tools.Tokens{Keys: keys, Issuer: "https://behalf.example", Client: func() string { return "spiffe://corp.example/behalf" }, Names: namesOf}
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

func TestATokenSaysHowThePersonSignedInAsTheirOwnDoes(t *testing.T) {
	w := newWorld(t, options{tools: []tools.Tool{tokenTool(t, tools.Backend{Audience: "crm", Type: calltoken.TypeCall}, tools.Sent{Digest: "d"})}})
	for name, c := range map[string]struct {
		own  identity.User
		want map[string]any
	}{
		"all of it": {
			identity.User{AuthTime: time.Unix(7, 0), ACR: "mfa", AMR: []string{"pwd", "otp"}},
			map[string]any{"auth_time": 7.0, "acr": "mfa", "amr": []any{"pwd", "otp"}},
		},
		"methods alone": {identity.User{AMR: []string{"hwk"}}, map[string]any{"amr": []any{"hwk"}}},
		"no methods":    {identity.User{ACR: "pwd", AMR: []string{}}, map[string]any{"acr": "pwd"}},
		"nothing":       {identity.User{}, map[string]any{}},
	} {
		p := w.person(scope)
		p.User.AuthTime, p.User.ACR, p.User.AMR = c.own.AuthTime, c.own.ACR, c.own.AMR

		var got map[string]any
		if err := json.Unmarshal([]byte(w.finished(w.as(p, nil), agents.ToolCall{ID: "run_1/7", Name: "whose", Arguments: "{}"}).Result), &got); err != nil {
			t.Fatal(err)
		}

		maps.DeleteFunc(got, func(claim string, _ any) bool { return claim != "auth_time" && claim != "acr" && claim != "amr" })
		if diff := cmp.Diff(got, c.want); diff != "" {
			t.Errorf("%s: got, want:\n%s", name, diff)
		}
	}
}

// namesOf is a key of each tenant.
func namesOf(tenant string) []byte { return []byte("the key of " + tenant) }

// Names of agents are words, and the tenant is in the token: without a key they are
// guessed in a few tries.
func TestAHashedChainCannotBeGuessedWithoutTheKey(t *testing.T) {
	backend, sent := tools.Backend{Audience: "crm", Type: calltoken.TypeCall, Chain: tools.ChainHashed}, tools.Sent{Digest: calltoken.Digest([]byte("{}"))}
	w := newWorld(t, options{tools: []tools.Tool{tokenTool(t, backend, sent)}})
	told := func(id string) string {
		var c calltoken.Claims
		if err := json.Unmarshal([]byte(w.finished(w.bob(), agents.ToolCall{ID: id, Name: "whose", Arguments: "{}"}).Result), &c); err != nil {
			t.Fatal(err)
		}
		return c.Actor.Subject
	}

	got := told("run_1/7")

	for name, text := range map[string]string{"the name": "support", "with the tenant": "acme\x00support"} {
		sum := sha256.Sum256([]byte(text))
		if strings.Contains(got, "support") || got == base64.RawURLEncoding.EncodeToString(sum[:12]) {
			t.Errorf("%s: %q can be guessed", name, got)
		}
	}
	m := hmac.New(sha256.New, namesOf("acme"))
	m.Write([]byte("chain\x00support"))
	if want := base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:12]); got != want || told("run_1/8") != want {
		t.Errorf("got %q, want %q each time", got, want)
	}
}

func TestNoTokenIsMintedWithNamesThatCannotBeHashed(t *testing.T) {
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]func(string) []byte{"no keys": nil, "none of the tenant": func(string) []byte { return nil }} {
		tokens := &tools.Tokens{Keys: keys, Issuer: "https://behalf.example", Client: func() string { return "spiffe://corp.example/behalf" }, Names: key}
		w := newWorld(t, options{tools: []tools.Tool{tools.Func("ask", "Asks.", func(ctx context.Context, _ struct{}) (string, error) {
			if token, err := tokens.For(ctx, tools.Backend{Audience: "crm", Type: calltoken.TypeCall, Chain: tools.ChainHashed}, tools.Sent{Digest: "d"}); err == nil || !token.IsZero() {
				t.Errorf("%s: got a token", name)
			}
			return "asked", nil
		}, tools.ReadOnly(), tools.Scopes(scope))}})
		if fin := w.finished(w.bob(), agents.ToolCall{ID: "run_1/7", Name: "ask", Arguments: "{}"}); fin.Failed {
			t.Error(fin.Result)
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
