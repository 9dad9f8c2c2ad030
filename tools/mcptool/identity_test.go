package mcptool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const issuer = "https://behalf.example"

// request is one that the backend got.
type request struct{ method, token, session string }

// stand is a backend behind mutual TLS that verifies call tokens.
type stand struct {
	*backend
	config mcptool.Config
	ca     *identity.DevCA
	ours   *identitytest.Source

	mu   sync.Mutex
	seen []request
}

func (s *stand) all() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.seen...)
}

func newStand(t testing.TB, wrap func(http.Handler) http.Handler) *stand {
	t.Helper()
	ca := identitytest.NewCA(t)
	s := &stand{backend: newBackend(), ca: ca, ours: identitytest.NewSource(t, ca, "/behalf")}
	t.Cleanup(func() { // what a client could not end
		for ss := range s.Sessions() {
			_ = ss.Close()
		}
	})
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{})
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	client := "spiffe://" + ca.TrustDomain() + "/behalf"
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: []string{client}})
	if err != nil {
		t.Fatal(err)
	}
	mcp.AddTool(s.Server, &mcp.Tool{Name: "whose", Description: "Who asks."}, func(_ context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		return text(r.Extra.Header.Get("X-Verified")), nil, nil
	})
	s.config = mcptool.Config{
		URL: "https://" + s.serve(t, s.guarded(v, wrap(s.handler(nil)))) + "/mcp", TrustOnFirstUse: true, Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall},
		Tokens: &tools.Tokens{Keys: keys, Issuer: issuer, Client: func() string { return client }},
	}
	if s.config.TLS, err = identity.ClientTLS(identity.ClientConfig{Source: s.ours, Servers: []string{"spiffe://" + ca.TrustDomain() + "/crm"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stand) serve(t testing.TB, h http.Handler) string {
	t.Helper()
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: identitytest.NewSource(t, s.ca, "/crm"), Tenants: map[string]string{s.ca.TrustDomain(): "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + s.ca.TrustDomain() + "/behalf"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: peers.ServerTLS(identity.CertificateRequired), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { srv.Close(); <-done })
	return l.Addr().String()
}

// guarded is the backend's rule: what has a token must be what the token says, and
// without one only the list is read.
func (s *stand) guarded(v *calltoken.Verifier, h http.Handler) http.Handler {
	verified := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := calltoken.FromContext(r.Context())
		r.Header.Set("X-Verified", c.Subject+" "+c.Tool)
		h.ServeHTTP(w, r)
	}), nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header.Del("X-Verified")
		var m struct{ Method string }
		_ = json.Unmarshal(body, &m)
		got := request{method: m.Method, token: r.Header.Get("Authorization"), session: r.Header.Get("Mcp-Session-Id")}
		s.mu.Lock()
		s.seen = append(s.seen, got)
		s.mu.Unlock()
		switch {
		case got.token != "":
			verified.ServeHTTP(w, r)
		case m.Method == "tools/call":
			http.Error(w, "who asks?", http.StatusUnauthorized)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

func TestABackendThatRefusesTheTokenIsThereAndTheCallIsNotToBeRepeated(t *testing.T) {
	s := newStand(t, func(h http.Handler) http.Handler { return h })
	s.config.Backend.Audience = "erp"
	w := newWorld(t, s.config).open("whose")

	reason, result := w.fails("whose", `{}`)

	if reason != fault.ToolUnavailable {
		t.Errorf("got %s", reason)
	}
	for _, part := range []string{"did not accept the call's token", "operator", "do not repeat this call"} {
		want(t, result, part)
	}
	without(t, result, s.config.URL)
	for _, part := range []string{s.config.URL, `for "erp"`, `issued by "` + issuer + `"`, "bound to our certificate", "401"} {
		want(t, w.reported(), part)
	}
}

func TestABackendVerifiesThePersonBehindEachCall(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{"newest": func(h http.Handler) http.Handler { return h }, "legacy": legacy} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, wrap)
			w := newWorld(t, s.config).open("whose")

			var wg sync.WaitGroup
			for _, who := range []string{"bob", "eve", "amy", "joe"} {
				wg.Go(func() {
					for range 5 {
						f := w.call(as(t.Context(), who), "whose", `{}`)
						want(t, f.Result, who+" whose")
					}
				})
			}
			wg.Wait()

			sessions, tokens := map[string]string{}, map[string]bool{}
			for _, r := range s.all() {
				if r.token == "" {
					if r.method == "tools/call" {
						t.Error("a call has no token")
					}
					continue
				}
				if tokens[r.token] {
					t.Errorf("%s has a token that was used before", r.method)
				}
				tokens[r.token] = true
				who := subject(t, r.token)
				if other := sessions[r.session]; r.session != "" && other != "" && other != who {
					t.Errorf("%s uses the session of %s", who, other)
				}
				sessions[r.session] = who
			}
			if name == "legacy" && len(sessions) != 5 { // and none, before there is one
				t.Errorf("got sessions %v, want one of each person", sessions)
			}
		})
	}
}

func subject(t testing.TB, bearer string) string {
	t.Helper()
	return calltokenSubject(t, strings.TrimPrefix(bearer, "Bearer "))
}

func TestATokenNamesTheCertificateOfItsConnection(t *testing.T) {
	s := newStand(t, legacy)
	w := newWorld(t, s.config).open("whose")
	want(t, w.bob("whose", `{}`), "bob whose")

	s.ours.Use(identitytest.Issue(t, s.ca, "/behalf")) // another leaf, and old connections stand

	for range 3 {
		want(t, w.bob("whose", `{}`), "bob whose")
	}
}

func TestConfiguredHeadersGoAlongAndNothingSecretIsLogged(t *testing.T) {
	s := newStand(t, legacy)
	s.config.Headers = map[string]identity.Secret{"X-Api-Key": identity.NewSecret("canary-key")}
	keys := make(chan string, 64)
	inner := legacy(s.handler(nil))
	s.config.URL = "https://" + s.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("X-Api-Key")
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && len(s.calls) > 0 {
			http.Error(w, r.Header.Get("Authorization"), http.StatusForbidden) // says what it got
			return
		}
		inner.ServeHTTP(w, r)
	})) + "/mcp"
	w := newWorld(t, s.config).open("whose")
	w.bob("say_hello", `{"name":"bob"}`)

	_, got := w.fails("whose", `{}`)

	if key := <-keys; key != "canary-key" {
		t.Errorf("got the header %q", key)
	}
	for _, where := range []string{got, w.logs.String(), w.reported()} {
		without(t, where, "canary-key")
		without(t, where, "eyJ")
	}
}

func TestATokenDoesNotFollowARedirect(t *testing.T) {
	s := newStand(t, legacy)
	elsewhere := make(chan string, 8)
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere <- r.Header.Get("Authorization") }))
	defer other.Close()
	var away chanSwitch
	h := s.handler(nil)
	s.config.URL = "https://" + s.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.on() {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			return
		}
		legacy(h).ServeHTTP(w, r)
	})) + "/mcp"
	w := newWorld(t, s.config).open("whose")
	away.set(true)

	reason, got := w.fails("whose", `{}`)

	if reason != fault.ToolUnavailable {
		t.Errorf("got %s", got)
	}
	if len(elsewhere) > 0 {
		t.Errorf("another host was asked, with the authorization %q", <-elsewhere)
	}
}

func TestASessionThatTheServerForgotIsOpenedAgain(t *testing.T) {
	s := newStand(t, legacy)
	var forget chanSwitch
	h := legacy(s.handler(nil))
	s.config.Backend.Audience = ""
	s.config.URL = "https://" + s.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Session-Id") != "" && forget.on() && r.Method == http.MethodPost {
			forget.set(false)
			http.Error(w, "no such session", http.StatusNotFound)
			return
		}
		h.ServeHTTP(w, r)
	})) + "/mcp"
	w := newWorld(t, s.config).open("whose")
	w.bob("say_hello", `{"name":"a"}`)
	forget.set(true)

	w.bob("say_hello", `{"name":"b"}`)

	if len(s.calls) != 2 {
		t.Errorf("the tool was called %d times, want 2", len(s.calls))
	}
}

func TestSessionsOfPersonsAreBounded(t *testing.T) {
	b, release := newBackend(), make(chan struct{})
	b.raw("hold", "Holds.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		b.calls <- "held"
		<-release
		return text("ok"), nil
	})
	c := serve(t, b.handler(nil))
	c.Limits = quick()
	c.Limits.Sessions = 1
	w := newWorld(t, c).open("hold")
	var wg sync.WaitGroup
	wg.Go(func() { w.bob("hold", `{}`) })
	<-b.calls

	f := w.call(as(t.Context(), "eve"), "say_hello", `{"name":"x"}`)
	close(release)
	wg.Wait()

	want(t, f.Result, "too many persons")
	if f := w.call(as(t.Context(), "eve"), "say_hello", `{"name":"x"}`); f.Failed {
		t.Errorf("got %s, want room after the other left", f.Result)
	}
}
