package calltoken_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
)

var update = flag.Bool("update", false, "write the vectors anew")

// vector is a token, the call that it comes with, and what a backend says.
type vector struct {
	Name      string   `json:"name"`
	Token     string   `json:"token"`
	Now       int64    `json:"now"`
	Tool      string   `json:"tool"`
	Arguments string   `json:"arguments"`
	Leaf      []byte   `json:"leaf"`
	Client    string   `json:"client"`
	Headers   []string `json:"authorization,omitzero"`
	Twice     bool     `json:"twice,omitempty"`
	Before    string   `json:"before,omitempty"`
	Accept    bool     `json:"accept"`
}

// about explains the file to who has nothing else.
var about = map[string]string{
	"issuer": "iss that the backend expects", "audience": "aud that it expects: its own name", "clients": "the workloads that may call it, by SPIFFE ID",
	"jwks": "the issuer's key set", "calls": "each is judged by a backend that has seen nothing yet", "about": "this",
	"name": "what the call is an example of", "token": "the call token", "now": "the time at which it came, in seconds since 1970",
	"tool": "what was called", "arguments": "the request as received, as text: args_s256 is about its bytes",
	"leaf":   "base64 of the client certificate in DER (here bytes that stand for one, so do not parse them); null: the connection had none",
	"client": "the SPIFFE ID in that certificate", "authorization": "all values of that header; absent: one, Bearer and the token",
	"twice":  "the same call came once before, at the same time, and was accepted",
	"before": "the same token came once before with these arguments, and was refused", "accept": "the verdict: true goes to the handler, false is refused",
}

// vectors are the file: who verifies, the keys, and the calls.
type vectors struct {
	About    map[string]string `json:"about"`
	Issuer   string            `json:"issuer"`
	Audience string            `json:"audience"`
	Clients  []string          `json:"clients"`
	JWKS     json.RawMessage   `json:"jwks"`
	Calls    []vector          `json:"calls"`
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
	all := vectors{About: about, Issuer: issuer, Audience: "crm", Clients: []string{caller}, JWKS: jwks}
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
	add("good, with how the person signed in", true, func(c *calltoken.Claims, v *vector) {
		c.AuthTime, c.ACR, c.AMR = v.Now-60, "mfa", []string{"pwd", "otp"}
	})
	add("good, no bytes at all", true, func(c *calltoken.Claims, v *vector) { c.Arguments, v.Arguments = calltoken.Digest(nil), "" })
	add("good, refused before and so not used", true, func(_ *calltoken.Claims, v *vector) { v.Before = `{"id":"8"}` })
	add("ended", false, func(_ *calltoken.Claims, v *vector) { v.Now += 91 })
	add("ended, 30 s ago exactly", false, func(_ *calltoken.Claims, v *vector) { v.Now += 90 })
	add("used before, and past exp now", false, func(_ *calltoken.Claims, v *vector) { v.Now, v.Twice = v.Now+75, true })
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
	all.Calls = append(all.Calls, unmintable(t, k, all.Calls[0])...)
	return all
}

// unmintable are made of a good call: what no service of ours signs, and what came
// with another header.
func unmintable(t *testing.T, k *calltoken.Keys, good vector) (out []vector) {
	t.Helper()
	add := func(name string, edit func(claims map[string]any)) {
		v, claims := good, map[string]any{}
		decode(t, strings.Split(good.Token, ".")[1], &claims)
		edit(claims)
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		v.Name, v.Accept = name, strings.HasPrefix(name, "good")
		if v.Token, err = k.Sign(calltoken.TypeCall, payload); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	for _, claim := range required {
		add("no "+claim, func(claims map[string]any) { delete(claims, claim) })
	}
	for _, claim := range []string{"sub", "tenant", "txn", "jti", "tool_ver"} {
		add("an empty "+claim, func(claims map[string]any) { claims[claim] = "" })
	}
	for _, claim := range []string{"iat", "nbf", "exp"} {
		add(claim+" as text", func(claims map[string]any) { claims[claim] = fmt.Sprintf("%.0f", claims[claim]) })
		add(claim+" with a fraction", func(claims map[string]any) { claims[claim] = claims[claim].(float64) - 0.5 })
	}
	for _, claim := range []string{"iat", "nbf"} {
		add(claim+" alone in the future", func(claims map[string]any) { claims[claim] = good.Now + 31 })
	}
	for name, dec := range map[string]map[string]any{
		"no dec.id": {"rev": "rev-1"}, "an empty dec.id": {"id": "", "rev": "rev-1"}, "effects that are no list": {"id": "run_1/3", "effects": "watermark"},
		"good, effects of which there is none": {"id": "run_1/3", "rev": "rev-1", "effects": []string{}},
	} {
		add(name, func(claims map[string]any) { claims["dec"] = dec })
	}
	add("good, only what is required", func(claims map[string]any) {
		maps.DeleteFunc(claims, func(claim string, _ any) bool { return !slices.Contains(required, claim) })
		claims["dec"] = map[string]any{"id": "run_1/3"}
	})
	add("sub is null", func(claims map[string]any) { claims["sub"] = nil })
	add("an audience that is a list", func(claims map[string]any) { claims["aud"] = []string{"crm"} })
	add("an audience of two", func(claims map[string]any) { claims["aud"] = []string{"crm", "billing"} })
	add("exp 61 s after iat", func(claims map[string]any) { claims["exp"] = good.Now + 61 })
	add("iat after exp", func(claims map[string]any) { claims["exp"] = good.Now - 1 })
	add("iat is exp", func(claims map[string]any) { claims["exp"] = good.Now })
	for name, headers := range map[string][]string{
		"no authorization": {}, "two authorizations": {"Bearer " + good.Token, "Bearer " + good.Token},
		"an authorization that is not Bearer": {"DPoP " + good.Token}, "a token alone": {good.Token}, "good, bearer in small letters": {"bearer " + good.Token},
	} {
		v := good
		v.Name, v.Headers, v.Accept = name, headers, strings.HasPrefix(name, "good")
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b vector) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// required are the claims without any of which a token is refused.
var required = []string{"iss", "sub", "aud", "client_id", "tenant", "txn", "jti", "tool", "tool_ver", "args_s256", "dec", "iat", "nbf", "exp", "cnf"}

func TestTheVectorsLackNoRequiredClaimAndExplainEveryKey(t *testing.T) {
	all := loadVectors(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"([a-z]+)":`).FindAllStringSubmatch(string(text), -1) {
		if all.About[m[1]] == "" && !strings.Contains(`"keys" "use" "kty" "kid" "crv" "alg" "x" "y"`, `"`+m[1]+`"`) {
			t.Errorf("the file does not explain %q", m[1])
		}
	}
	for _, claim := range required {
		if !slices.ContainsFunc(all.Calls, func(c vector) bool { return c.Name == "no "+claim && !c.Accept }) {
			t.Errorf("no call lacks %s", claim)
		}
	}
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

// TestVectors holds the verifier to the file that other languages are held to, by
// itself and as it stands before an HTTP handler.
func TestVectors(t *testing.T) {
	all := loadVectors(t)
	for _, c := range all.Calls {
		fresh := func(t *testing.T) *calltoken.Verifier {
			v, err := calltoken.NewVerifier(calltoken.VerifierConfig{
				Issuer: all.Issuer, Audience: all.Audience, Clients: all.Clients, JWKS: all.JWKS, Now: func() time.Time { return time.Unix(c.Now, 0) },
			})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		t.Run(c.Name, func(t *testing.T) {
			c.overHTTP(t, fresh(t))
			if c.Headers == nil { // they are above the verifier
				c.verify(t, fresh(t))
			}
		})
	}
}

func (c vector) verify(t *testing.T, v *calltoken.Verifier) {
	r := calltoken.Received{Tool: c.Tool, Arguments: []byte(c.Arguments), Leaf: c.Leaf, Client: c.Client}
	if c.Before != "" {
		other := r
		other.Arguments = []byte(c.Before)
		if _, err := v.Verify(t.Context(), c.Token, other); err == nil {
			t.Fatal("the call before was accepted")
		}
	}
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
}

func (c vector) overHTTP(t *testing.T, v *calltoken.Verifier) {
	asked := 0
	h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }), func(*http.Request) string { return c.Tool })
	call := func(body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Header["Authorization"] = c.Headers
		if c.Headers == nil {
			r.Header.Set("Authorization", "Bearer "+c.Token)
		}
		r.TLS = &tls.ConnectionState{}
		if client, err := url.Parse(c.Client); err != nil {
			t.Fatal(err)
		} else if c.Leaf != nil {
			r.TLS.PeerCertificates = []*x509.Certificate{{Raw: c.Leaf, URIs: []*url.URL{client}}}
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	want := 0
	if c.Accept {
		want++
	}
	if c.Before != "" {
		call(c.Before)
	}
	if c.Twice {
		want++
		call(c.Arguments)
	}
	call(c.Arguments)
	if asked != want {
		t.Errorf("the handler was asked %d times, want %d", asked, want)
	}
}
