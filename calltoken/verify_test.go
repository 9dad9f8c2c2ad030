package calltoken_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
)

const (
	issuer = "https://behalf.example"
	caller = "spiffe://corp.example/behalf"
)

var leaf = []byte("stands for a certificate in DER")

func claims() calltoken.Claims {
	return calltoken.Claims{
		Issuer: issuer, Subject: "alice", SubjectIssuer: "https://idp.example", ClientID: caller, Audience: "crm", Scope: "crm.read", Tenant: "acme",
		Transaction: "trace-1", Tool: "get_customer", ToolVersion: "v1", Arguments: calltoken.Digest([]byte(`{"id":"7"}`)),
		Decision:     calltoken.Decision{ID: "run_1/3", Revision: "rev-1"},
		Actor:        calltoken.Chain(caller, []calltoken.Actor{{Subject: "triage", Profile: "agent"}, {Subject: "billing", Profile: "agent"}}),
		Confirmation: calltoken.Confirmation{Thumbprint: calltoken.Thumbprint(leaf)},
	}
}

func received() calltoken.Received {
	return calltoken.Received{Tool: "get_customer", Arguments: []byte(`{"id":"7"}`), Leaf: leaf, Client: caller}
}

func decode(t testing.TB, part string, into any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestARefusedTokenIsNotUsedUp(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	v := newVerifier(t, k, now, 0)
	token, err := k.Mint(claims(), calltoken.TypeCall, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	other := received()
	other.Tool = "delete_customer"
	if _, err := v.Verify(t.Context(), token.Reveal(), other); err == nil {
		t.Fatal("the token served another tool")
	}
	if _, err := v.Verify(t.Context(), token.Reveal(), received()); err != nil {
		t.Errorf("got %v, want the good call let through", err)
	}
}

func newVerifier(t testing.TB, k *calltoken.Keys, now *clock, most int) *calltoken.Verifier {
	t.Helper()
	jwks, err := k.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: []string{caller}, Now: now.now, MaxSeen: most})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestABackendMustSayWhoMayCall(t *testing.T) {
	k := newKeys(t, "", nil)
	jwks, err := k.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		clients []string
		taken   bool // the config
		called  bool
	}{
		{nil, false, false},
		{[]string{""}, false, false},
		{[]string{calltoken.AnyClient, caller}, false, false},
		{[]string{calltoken.AnyClient}, true, true},
		{[]string{caller}, true, true},
		{[]string{"spiffe://corp.example/other"}, true, false},
	} {
		v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: c.clients})
		if (err == nil) != c.taken {
			t.Errorf("%q: got %v", c.clients, err)
		}
		if err != nil {
			continue
		}
		token, err := k.Mint(claims(), calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), token.Reveal(), received()); (err == nil) != c.called {
			t.Errorf("%q: got %v for a call of %s", c.clients, err, caller)
		}
	}
}

// The calls of one person must not shut the others out.
func TestTokensThatCannotBeRememberedAreRefusedUntilOthersEnd(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	v := newVerifier(t, k, now, 20)
	call := func(who string) error {
		c := claims()
		c.Subject = who
		token, err := k.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(t.Context(), token.Reveal(), received())
		return err
	}
	for n := range 10 { // a tenth of the room each
		who := string(rune('a' + n))
		for n, want := range []bool{true, true, false} {
			if err := call(who); (err == nil) != want {
				t.Errorf("call %d of %s: got %v", n, who, err)
			}
		}
	}
	if err := call("z"); err == nil {
		t.Error("a call was let through that cannot be remembered")
	}
	now.add(2 * time.Minute)
	for _, who := range []string{"a", "a", "z"} {
		if err := call(who); err != nil {
			t.Errorf("%s: got %v once the others have ended", who, err)
		}
	}
}

// TestARefusalSaysWhatCameAndWhatIsExpected is for whoever sets up a backend: the text
// is for its log. What a token says is anybody's text until it is verified.
func TestARefusalSaysWhatCameAndWhatIsExpected(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	v := newVerifier(t, k, now, 10)
	hostile := "https://evil.example/\x1b[31m\n\u202e" + strings.Repeat("x", 4_000)
	for name, c := range map[string]struct {
		change func(*calltoken.Claims, *calltoken.Received)
		want   []string
	}{
		"a trailing slash": {func(c *calltoken.Claims, _ *calltoken.Received) { c.Issuer += "/" }, []string{strconv.Quote(issuer + "/"), strconv.Quote(issuer)}},
		"a hostile issuer": {func(c *calltoken.Claims, _ *calltoken.Received) { c.Issuer = hostile }, []string{`"https://evil.example/\x1b[31m\n\u202e`, strconv.Quote(issuer)}},
		"an audience":      {func(c *calltoken.Claims, _ *calltoken.Received) { c.Audience = "billing" }, []string{`another audience`, `"billing"`, `"crm"`}},
		"a tool":           {func(c *calltoken.Claims, _ *calltoken.Received) { c.Tool = "drop" }, []string{`"drop"`, strconv.Quote(received().Tool)}},
		"a workload":       {func(_ *calltoken.Claims, r *calltoken.Received) { r.Client = "spiffe://corp.example/x" }, []string{strconv.Quote(caller), `"spiffe://corp.example/x"`}},
		"no certificate":   {func(c *calltoken.Claims, _ *calltoken.Received) { c.Confirmation.Thumbprint = "" }, []string{"bound to no certificate", "server_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			sent, r := claims(), received()
			c.change(&sent, &r)
			token, err := k.Mint(sent, calltoken.TypeCall, time.Time{})
			if err != nil {
				t.Fatal(err)
			}

			_, err = v.Verify(t.Context(), token.Reveal(), r)

			if err == nil || len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\x1b\n\u202e") {
				t.Fatalf("got %q, want a refusal that is bounded and clean", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %s in it", err, part)
				}
			}
		})
	}
}

func TestTheChainHasTheActingAgentOutermost(t *testing.T) {
	c := claims()
	var names []string
	for a := c.Actor; a != nil; a = a.Actor {
		names = append(names, a.Subject)
	}
	if got := strings.Join(names, " "); got != "billing triage "+caller {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(c.Agents(), " "); got != "billing triage" {
		t.Errorf("got agents %s", got)
	}
}

func BenchmarkMint(b *testing.B) {
	k := newKeys(b, "", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Mint(claims(), calltoken.TypeCall, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	now := newClock()
	k := newKeys(b, "", now.now)
	v := newVerifier(b, k, now, b.N+1_000_000)
	token, err := k.Mint(claims(), calltoken.TypeCall, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Read(b.Context(), token.Reveal()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAQueryIsTakenOnlyWhereABackendSaysThatNobodyReadsIt(t *testing.T) {
	k := newKeys(t, "", nil)
	jwks, err := k.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for allow, want := range map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized} {
		v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: []string{caller}, Unbound: true, AllowQuery: allow})
		if err != nil {
			t.Fatal(err)
		}
		c := claims()
		c.Confirmation = calltoken.Confirmation{}
		token, err := k.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/?id=8", strings.NewReader(`{"id":"7"}`))
		r.Header.Set(calltoken.Header, "Bearer "+token.Reveal())
		w := httptest.NewRecorder()
		v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("allowed %v: got %d, want %d", allow, w.Code, want)
		}
	}
}

func TestNoTokenHasANameThatIsNoText(t *testing.T) {
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c := claims()
	c.Subject = "a\xff"

	if _, err := keys.Mint(c, calltoken.TypeCall, time.Time{}); err == nil {
		t.Error("a token was made, whose subject is that of others too")
	}
}

// What is logged can be found in behalf's audit log, if the token was behalf's.
func TestARefusedCallIsLoggedWithWhatItCouldBeFoundBy(t *testing.T) {
	ours, strange := newKeys(t, "", nil), newKeys(t, "", nil)
	jwks, err := ours.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{
		Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: []string{caller}, Unbound: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(*http.Request) string { return "another_tool" })
	for keys, known := range map[*calltoken.Keys]bool{ours: true, strange: false} {
		c := claims()
		c.Confirmation = calltoken.Confirmation{}
		token, err := keys.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		log.Reset()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"id":"7"}`))
		r.Header.Set("Authorization", "Bearer "+token.Reveal())

		h.ServeHTTP(httptest.NewRecorder(), r)

		if got := log.String(); strings.Contains(got, "sub=alice decision=run_1/3") != known || !strings.Contains(got, "tool=another_tool why=") {
			t.Errorf("of our own token: %v; got %s", known, got)
		}
	}
}
