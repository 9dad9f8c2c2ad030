package exchange_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/exchange"
)

const (
	idp        = "https://idp.example"
	ownID      = "spiffe://corp.example/behalf"
	thumbprint = "the-thumbprint-of-our-connection"
)

// sts is an authorization server over real TLS. What it answers the test says; what it
// was sent it keeps.
type sts struct {
	*httptest.Server
	signer *identitytest.Signer
	answer func(w http.ResponseWriter, form url.Values, req *http.Request)

	mu    sync.Mutex
	forms []url.Values
}

func (s *sts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "form", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.forms = append(s.forms, r.PostForm)
	answer := s.answer
	s.mu.Unlock()
	answer(w, r.PostForm, r)
}

func (s *sts) asked() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forms
}

// world is a gate whose one tool has its tokens issued by an sts.
type world struct {
	t      testing.TB
	clock  *identitytest.Clock
	sts    *sts
	signer *identitytest.Signer // of persons' tokens
	people *identity.Verifier
	key    *identity.ClientKey
	x      *exchange.Exchange
	gate   *tools.Gate
	guard  *policy.Guard
	log    *audit.Memory
	logged *strings.Builder
	tell   []error // what the operator learns

	mu     sync.Mutex
	got    []identity.Secret
	sent   tools.Sent
	before func(ctx context.Context) // a call asks for its token
}

// newWorld is one with a server that does all right, unless edit changes the config.
func newWorld(t testing.TB, edit func(*exchange.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: identitytest.NewClock(), signer: identitytest.NewSigner(t, "ES256", "k1"), logged: &strings.Builder{}, sent: tools.Sent{Thumbprint: thumbprint}}
	w.log = audit.NewMemory(w.clock.Now)
	var err error
	if w.people, err = identity.NewVerifier(identity.VerifierConfig{
		Now: w.clock.Now, Holds: func() bool { return true },
		Issuers: []identity.Issuer{{Issuer: idp, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, Tenant: "acme", SubjectPrefix: "idp|", JWKS: identitytest.KeySet(w.signer)}},
	}); err != nil {
		t.Fatal(err)
	}
	w.sts = &sts{signer: identitytest.NewSigner(t, "ES256", "s1")}
	w.sts.answer = func(rw http.ResponseWriter, form url.Values, _ *http.Request) { w.issue(rw, form, nil, nil) }
	w.sts.Server = httptest.NewUnstartedServer(w.sts)
	w.sts.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.sts.StartTLS()
	t.Cleanup(w.sts.Close)
	w.key = newKey(t, w.clock.Now)
	w.x = w.exchange(edit)
	w.govern()
	return w
}

func newKey(t testing.TB, now func() time.Time) *identity.ClientKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewClientKey(identity.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), "", now)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *world) exchange(edit func(*exchange.Config)) *exchange.Exchange {
	w.t.Helper()
	c := exchange.Config{
		Toolset: "crm", TokenURL: w.sts.URL + "/token", Audience: "crm", Client: exchange.Client{ID: "behalf", Key: w.key},
		TLS: w.sts.Client().Transport.(*http.Transport).TLSClientConfig, Name: func() string { return ownID },
		Timeout: 5 * time.Second, Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(w.logged, nil)),
	}
	if edit != nil {
		edit(&c)
	}
	x, err := exchange.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// issue answers as a server does that does all right, but for what a test changes.
func (w *world) issue(rw http.ResponseWriter, form url.Values, claim, member map[string]any) {
	own, _, err := identity.Unverified(identity.NewSecret(form.Get("subject_token")))
	var person struct{ Sub string }
	if err != nil || json.Unmarshal(own, &person) != nil {
		http.Error(rw, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	claims := map[string]any{
		"iss": idp, "sub": person.Sub, "aud": form.Get("audience"), "scope": form.Get("scope"), "act": map[string]any{"sub": form.Get("client_id")},
		"iat": w.clock.Now().Unix(), "exp": w.clock.Now().Add(10 * time.Minute).Unix(), "jti": rand.Text(),
	}
	maps.Copy(claims, claim)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	answer := map[string]any{
		"access_token": w.sts.signer.Token(claims), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"token_type": "Bearer", "expires_in": 600, "scope": form.Get("scope"),
	}
	maps.Copy(answer, member)
	maps.DeleteFunc(answer, func(_ string, v any) bool { return v == nil })
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(answer)
}

// answers makes the server change its claims and the members of its answers.
func (w *world) answers(claim, member map[string]any) {
	w.sts.mu.Lock()
	defer w.sts.mu.Unlock()
	w.sts.answer = func(rw http.ResponseWriter, form url.Values, _ *http.Request) { w.issue(rw, form, claim, member) }
}

func (w *world) govern() {
	w.t.Helper()
	type in struct{}
	tool := func(name string, opts ...tools.Option) tools.Tool {
		return tools.Func(name, "Asks the backend.", func(ctx context.Context, _ in) (string, error) {
			w.mu.Lock()
			sent, before := w.sent, w.before
			w.mu.Unlock()
			if before != nil {
				before(ctx)
			}
			token, err := w.x.For(ctx, tools.Backend{Audience: "crm"}, sent)
			if err != nil {
				return "", err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.got = append(w.got, token)
			return "ok", nil
		}, append(opts, tools.ReadOnly())...)
	}
	reg, err := tools.NewRegistry(tool("ask", tools.Scopes("crm.read")), tool("ask_more", tools.Scopes("crm.read", "crm.write")), tool("ask_nothing"))
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := policy.Load(policy.Config{FS: fstest.MapFS{"p.cedar": {Data: []byte(`@id("all") permit (principal, action, resource);`)}}, Tools: reg.Schemas()})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.guard, err = policy.NewGuard(policy.GuardConfig{Sink: w.log, Clock: w.clock.Now, DigestKey: func(string) []byte { return []byte("key") }}); err != nil {
		w.t.Fatal(err)
	}
	w.guard.Swap(policy.NewEngine(set))
	if w.gate, err = tools.NewGate(tools.GateConfig{
		Registry: reg, Guard: w.guard, Journal: w.log, Agent: "support", Tools: reg.Names(), Clock: w.clock.Now,
		Report: func(_ context.Context, _ string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.tell = append(w.tell, err)
		},
	}); err != nil {
		w.t.Fatal(err)
	}
}

// token is a person's own.
func (w *world) token(subject string, change map[string]any) string {
	claims := map[string]any{
		"iss": idp, "sub": subject, "aud": "behalf", "scope": "crm.read crm.write profile", "email": subject + "@acme.example", "email_verified": true,
		"iat": w.clock.Now().Unix(), "exp": w.clock.Now().Add(time.Hour).Unix(), "jti": rand.Text(),
	}
	maps.Copy(claims, change)
	return w.signer.Token(claims)
}

func (w *world) person(token string) identity.Principal {
	w.t.Helper()
	u, err := w.people.Verify(w.t.Context(), identity.NewSecret(token), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return identity.Principal{User: &u}
}

// grant is a person's, who acts through the support agent.
func (w *world) grant(p identity.Principal, via ...string) identity.Grant {
	w.t.Helper()
	g := identity.Root("grt_1", p, nil, "")
	for _, agent := range append(via, "support") {
		var err error
		if g, err = g.Child(agent, nil, 8); err != nil {
			w.t.Fatal(err)
		}
	}
	return g
}

// result is how a call ended.
type result struct {
	Reason, Message string
	failed          bool
	token           string // that the backend gets
}

func (w *world) call(g identity.Grant, tool string) result { return w.callIn(w.t.Context(), g, tool) }

func (w *world) callIn(ctx context.Context, g identity.Grant, tool string) result {
	w.t.Helper()
	w.mu.Lock()
	before := len(w.got)
	w.mu.Unlock()
	var fin agents.ToolCallFinished
	for ev, err := range w.gate.Call(identity.WithGrant(ctx, g), agents.ToolCall{ID: "run_1/" + rand.Text(), RunID: "run_1", Name: tool, Arguments: "{}"}) {
		if err != nil {
			w.t.Errorf("call: %v", err)
			return result{failed: true}
		}
		if f, ok := ev.Body.(agents.ToolCallFinished); ok {
			fin = f
		}
	}
	if !fin.Failed {
		w.mu.Lock()
		defer w.mu.Unlock()
		return result{token: w.got[before].Reveal()}
	}
	var out struct{ Error result }
	if err := json.Unmarshal([]byte(fin.Result), &out); err != nil {
		w.t.Errorf("result %s: %v", fin.Result, err)
	}
	out.Error.failed = true
	return out.Error
}

// why is the cause that the operator is told, newest first.
func (w *world) why() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tell) == 0 {
		return ""
	}
	err := w.tell[len(w.tell)-1]
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

// issued reads the claims of a token of the server.
func (w *world) issued(token string) map[string]any {
	w.t.Helper()
	raw, _, err := identity.Unverified(identity.NewSecret(token))
	if err != nil {
		w.t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// bound is a server that wants a client certificate and binds what it issues to it.
func (w *world) bound(t *testing.T, ca *identity.DevCA) {
	t.Helper()
	w.sts.Close()
	w.sts.Server = httptest.NewUnstartedServer(w.sts)
	w.sts.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	w.sts.StartTLS()
	t.Cleanup(w.sts.Close)
	w.sts.answer = func(rw http.ResponseWriter, form url.Values, req *http.Request) {
		leaf := req.TLS.PeerCertificates[0]
		id := ""
		for _, u := range leaf.URIs {
			id = u.String()
		}
		if !strings.HasPrefix(id, "spiffe://"+ca.TrustDomain()+"/") {
			http.Error(rw, "no", http.StatusUnauthorized)
			return
		}
		w.issue(rw, form, map[string]any{"cnf": map[string]any{"x5t#S256": identity.Thumbprint(leaf)}}, nil)
	}
}
