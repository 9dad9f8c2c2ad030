package calltoken_test

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
)

var update = flag.Bool("update", false, "write the vectors anew")

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

// vector is a token, the call that it comes with, and what a backend says.
type vector struct {
	Name      string `json:"name"`
	Token     string `json:"token"`
	Now       int64  `json:"now"`
	Tool      string `json:"tool"`
	Arguments string `json:"arguments"` // as received
	Leaf      []byte `json:"leaf"`      // base64 of the client certificate
	Client    string `json:"client"`
	Twice     bool   `json:"twice,omitempty"` // it has come before
	Accept    bool   `json:"accept"`
}

// vectors are the file: who verifies, the keys, and the calls.
type vectors struct {
	Issuer   string          `json:"issuer"`
	Audience string          `json:"audience"`
	Clients  []string        `json:"clients"`
	JWKS     json.RawMessage `json:"jwks"`
	Calls    []vector        `json:"calls"`
}

const file = "testdata/vectors.json"

// makeVectors mints what the file holds.
func makeVectors(t *testing.T) vectors {
	t.Helper()
	now := newClock()
	k, strangers := newKeys(t, "", now.now), newKeys(t, "", now.now)
	jwks, err := k.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	all := vectors{Issuer: issuer, Audience: "crm", Clients: []string{caller}, JWKS: jwks}
	add := func(name string, accept bool, edit func(*calltoken.Claims, *vector)) {
		c, v := claims(), vector{Name: name, Now: now.t.Unix(), Tool: "get_customer", Arguments: `{"id":"7"}`, Leaf: leaf, Client: caller, Accept: accept}
		by, typ := k, calltoken.TypeCall
		if edit != nil {
			edit(&c, &v)
		}
		switch name {
		case "signed by a stranger":
			by = strangers
		case "a token of another class":
			typ = calltoken.TypeAccess
		}
		token, err := by.Mint(c, typ, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		v.Token = token.Reveal()
		switch parts := strings.Split(v.Token, "."); name {
		case "without a signature":
			v.Token = parts[0] + "." + parts[1] + "."
		case "algorithm none":
			v.Token = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"agent-call+jwt"}`)) + "." + parts[1] + "."
		case "claims changed":
			v.Token = parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`)) + "." + parts[2]
		}
		all.Calls = append(all.Calls, v)
	}
	add("good", true, nil)
	add("good, at the end of the skew", true, func(_ *calltoken.Claims, v *vector) { v.Now += 89 })
	add("good, a clock that is behind", true, func(_ *calltoken.Claims, v *vector) { v.Now -= 30 })
	add("good, no agent", true, func(c *calltoken.Claims, _ *vector) { c.Actor = calltoken.Chain(caller, nil) })
	add("ended", false, func(_ *calltoken.Claims, v *vector) { v.Now += 91 })
	add("not valid yet", false, func(_ *calltoken.Claims, v *vector) { v.Now -= 31 })
	add("used before", false, func(_ *calltoken.Claims, v *vector) { v.Twice = true })
	add("another tool", false, func(_ *calltoken.Claims, v *vector) { v.Tool = "delete_customer" })
	add("changed arguments", false, func(_ *calltoken.Claims, v *vector) { v.Arguments = `{"id":"8"}` })
	add("arguments with a space more", false, func(_ *calltoken.Claims, v *vector) { v.Arguments = `{"id": "7"}` })
	add("another audience", false, func(c *calltoken.Claims, _ *vector) { c.Audience = "billing" })
	add("another issuer", false, func(c *calltoken.Claims, _ *vector) { c.Issuer = "https://evil.example" })
	add("another certificate", false, func(_ *calltoken.Claims, v *vector) { v.Leaf = []byte("another") })
	add("no certificate", false, func(_ *calltoken.Claims, v *vector) { v.Leaf = nil })
	add("bound to nothing", false, func(c *calltoken.Claims, _ *vector) { c.Confirmation = calltoken.Confirmation{} })
	add("another workload", false, func(_ *calltoken.Claims, v *vector) { v.Client = "spiffe://corp.example/other" })
	add("a workload that may not call", false, func(c *calltoken.Claims, v *vector) {
		c.ClientID, v.Client = "spiffe://corp.example/other", "spiffe://corp.example/other"
	})
	add("an obligation that nobody knows", false, func(c *calltoken.Claims, _ *vector) { c.Decision.Effects = []string{"watermark"} })
	add("signed by a stranger", false, nil)
	add("a token of another class", false, nil)
	add("without a signature", false, nil)
	add("algorithm none", false, nil)
	add("claims changed", false, nil)
	return all
}

func loadVectors(t *testing.T) (all vectors) {
	t.Helper()
	if *update {
		text, err := json.MarshalIndent(makeVectors(t), "", "  ")
		if err == nil {
			err = os.WriteFile(file, append(text, '\n'), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestVectors holds the verifier to the file that other languages are held to.
func TestVectors(t *testing.T) {
	all := loadVectors(t)
	for _, c := range all.Calls {
		t.Run(c.Name, func(t *testing.T) {
			v, err := calltoken.NewVerifier(calltoken.VerifierConfig{
				Issuer: all.Issuer, Audience: all.Audience, Clients: all.Clients, JWKS: all.JWKS, Now: func() time.Time { return time.Unix(c.Now, 0) },
			})
			if err != nil {
				t.Fatal(err)
			}
			r := calltoken.Received{Tool: c.Tool, Arguments: []byte(c.Arguments), Leaf: c.Leaf, Client: c.Client}
			if c.Twice {
				if _, err := v.Verify(t.Context(), c.Token, r); err != nil {
					t.Fatal(err)
				}
			}

			got, err := v.Verify(t.Context(), c.Token, r)

			if (err == nil) != c.Accept {
				t.Errorf("got %v, want accept %v", err, c.Accept)
			}
			if err == nil && (got.Subject != "alice" || got.Tenant != "acme") {
				t.Errorf("got %+v, want alice of acme", got)
			}
			if err != nil && strings.Contains(err.Error(), c.Token) {
				t.Errorf("the refusal tells the token: %v", err)
			}
		})
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
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Now: now.now, MaxSeen: most})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTokensThatCannotBeRememberedAreRefusedUntilOthersEnd(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	v := newVerifier(t, k, now, 2)
	call := func() error {
		token, err := k.Mint(claims(), calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(t.Context(), token.Reveal(), received())
		return err
	}
	for n, want := range []bool{true, true, false} {
		if err := call(); (err == nil) != want {
			t.Errorf("call %d: got %v", n, err)
		}
	}
	now.add(2 * time.Minute)
	if err := call(); err != nil {
		t.Errorf("got %v once the others have ended", err)
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
