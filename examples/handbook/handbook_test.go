package handbook_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/handbook"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

var update = flag.Bool("update", false, "accept the tools as they are")

const issuer = "https://behalf.example"

// world is the server behind mutual TLS, and behalf's side of it.
type world struct {
	t    *testing.T
	ca   *identity.DevCA
	own  *identitytest.Source
	keys *calltoken.Keys
	url  string
	log  *text
}

// text is a log that a test can read.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: identitytest.NewCA(t), log: &text{}}
	w.own = identitytest.NewSource(t, w.ca, "/behalf")
	var err error
	if w.keys, err = calltoken.NewKeys(calltoken.KeysConfig{}); err != nil {
		t.Fatal(err)
	}
	jwks, err := w.keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	log := backend.NewLog(w.log, "handbook")
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "handbook", JWKS: jwks, Clients: []string{w.client()}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	h, err := handbook.New(handbook.Config{Verifier: v, Tenant: "acme", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	w.serve(h)
	return w
}

func (w *world) client() string { return "spiffe://" + w.ca.TrustDomain() + "/behalf" }

func (w *world) serve(h http.Handler) {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.ca.AuthorityPEM())
	s := &http.Server{Handler: h, TLSConfig: backend.Mutual(identitytest.Issue(w.t, w.ca, "/handbook").Certificate, pool), ReadHeaderTimeout: time.Second}
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l, "", "") }() // ends with Close
	w.t.Cleanup(func() { _ = s.Close(); <-done })
	w.url = "https://" + l.Addr().String() + "/mcp"
}

// source reads the server's tools, all of which are accepted.
func (w *world) source(pins mcptool.Pins, trust bool) *mcptool.Source {
	w.t.Helper()
	tls, err := identity.ClientTLS(identity.ClientConfig{Source: w.own, Servers: []string{"spiffe://" + w.ca.TrustDomain() + "/handbook"}})
	if err != nil {
		w.t.Fatal(err)
	}
	reads := mcptool.Known{Effect: tools.Read}
	src, err := mcptool.New(mcptool.Config{
		Name: "handbook", URL: w.url, TLS: tls, Tokens: &tools.Tokens{Keys: w.keys, Issuer: issuer, Client: w.client},
		Backend: tools.Backend{Audience: "handbook", Type: calltoken.TypeCall}, Pins: pins, TrustOnFirstUse: trust,
		Tools: map[string]mcptool.Known{"search_articles": reads, "read_article": reads},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }() // ends with the test
	w.t.Cleanup(func() { cancel(); <-done })
	select {
	case <-src.Changed():
	case <-time.After(time.Minute):
		w.t.Fatal("the tools were not read")
	}
	return src
}

// gate puts the server's tools behind a gate that allows everything.
func (w *world) gate() *tools.Gate {
	w.t.Helper()
	list, err := w.source(mcptool.NewFilePins(filepath.Join(w.t.TempDir(), "tools.lock")), true).Tools()
	if err != nil {
		w.t.Fatal(err)
	}
	reg, err := tools.NewRegistry(list...)
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := policy.Load(policy.Config{FS: fstest.MapFS{"p.cedar": {Data: []byte(`@id("all") permit (principal, action, resource);`)}}, Tools: reg.Schemas()})
	if err != nil {
		w.t.Fatal(err)
	}
	log := audit.NewMemory(time.Now)
	guard, err := policy.NewGuard(policy.GuardConfig{Sink: log, DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		w.t.Fatal(err)
	}
	guard.Swap(policy.NewEngine(set))
	g, err := tools.NewGate(tools.GateConfig{Registry: reg, Guard: guard, Journal: log, Agent: "support", Tools: reg.Names()})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) call(g *tools.Gate, tool, args string) agents.ToolCallFinished {
	w.t.Helper()
	who := identity.Principal{User: &identity.User{Issuer: "https://idp.example", Subject: "alice", Tenant: "acme", Expires: time.Now().Add(time.Hour)}}
	grant, err := identity.Root("grt_1", who, nil, "").Child("support", nil, 8)
	if err != nil {
		w.t.Fatal(err)
	}
	var last agents.Event
	for ev, err := range g.Call(identity.WithGrant(w.t.Context(), grant), agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: tool, Arguments: args}) {
		if err != nil {
			w.t.Fatal(err)
		}
		last = ev
	}
	fin, _ := last.Body.(agents.ToolCallFinished)
	return fin
}

func TestAnAgentReadsTheHandbookForAPerson(t *testing.T) {
	w := newWorld(t)
	g := w.gate()

	if fin := w.call(g, "search_articles", `{"query":"refunds"}`); fin.Failed || !strings.Contains(fin.Result, `"best":"refunds"`) {
		t.Errorf("got %s, want the article on refunds", fin.Result)
	}
	if fin := w.call(g, "read_article", `{"id":"refunds"}`); fin.Failed || !strings.Contains(fin.Result, "need a manager") {
		t.Errorf("got %s, want the article", fin.Result)
	}
	if fin := w.call(g, "read_article", `{"id":"salaries"}`); !fin.Failed || !strings.Contains(fin.Result, "no such article") {
		t.Errorf("got %s, want the server's own refusal", fin.Result)
	}
	if got, want := w.log.String(), "handbook: read_article for alice through support, decision run_1/7, txn run_1\n"; !strings.Contains(got, want) {
		t.Errorf("got the log %q, want %q in it", got, want)
	}
}

// post sends a request as whoever has a certificate may.
func (w *world) post(token, body string) (int, string) {
	w.t.Helper()
	tls, err := identity.ClientTLS(identity.ClientConfig{Source: w.own, Servers: []string{"spiffe://" + w.ca.TrustDomain() + "/handbook"}})
	if err != nil {
		w.t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: tls}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if token != "" {
		req.Header.Set(calltoken.Header, "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestTheHandbookRefusesForgedCalls(t *testing.T) {
	w := newWorld(t)
	svid, err := w.own.SVID()
	if err != nil {
		t.Fatal(err)
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_article","arguments":{"id":"refunds"}}}`
	mint := func(edit func(*calltoken.Claims)) string {
		c := calltoken.Claims{
			Issuer: issuer, Subject: "alice", ClientID: w.client(), Audience: "handbook", Tenant: "acme", Transaction: "t", Tool: "read_article", ToolVersion: "v",
			Arguments: calltoken.Digest([]byte(body)), Decision: calltoken.Decision{ID: "run_1/7"}, Confirmation: calltoken.Confirmation{Thumbprint: svid.Thumbprint},
		}
		if edit != nil {
			edit(&c)
		}
		token, err := w.keys.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	once := mint(nil)
	if code, text := w.post(once, body); code != http.StatusOK || !strings.Contains(text, "need a manager") {
		t.Fatalf("the good call: got %d %s", code, text)
	}
	for name, c := range map[string]struct{ token, body, why string }{
		"no token":          {"", body, "it has no token"},
		"second use":        {once, body, "the token was used before"},
		"changed arguments": {mint(nil), strings.Replace(body, "refunds", "privacy", 1), "the token is for other arguments"},
		"other tool":        {mint(func(c *calltoken.Claims) { c.Tool = "search_articles" }), body, "the token is for another tool"},
		"other audience":    {mint(func(c *calltoken.Claims) { c.Audience = "crm" }), body, "the token is for another audience"},
		"other certificate": {mint(func(c *calltoken.Claims) { c.Confirmation.Thumbprint = calltoken.Digest(nil) }), body, "the token is bound to another certificate"},
		"other tenant":      {mint(func(c *calltoken.Claims) { c.Tenant = "lab" }), body, "refused read_article for alice directly, tenant lab"},
	} {
		before := len(w.log.String())

		_, got := w.post(c.token, c.body)

		if strings.Contains(got, "need a manager") || !strings.Contains(got, "the call token was not accepted") || !strings.Contains(w.log.String()[before:], c.why) {
			t.Errorf("%s: got %s and the log %q, want it refused because %s", name, got, w.log.String()[before:], c.why)
		}
	}
}

// TestTheDeskAcceptsTheHandbookAsItIs holds the tools that the support desk's config
// has accepted against what the server offers.
func TestTheDeskAcceptsTheHandbookAsItIs(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "tools.lock")
	w.source(mcptool.NewFilePins(file), true)
	offered := pinned(t, mcptool.NewFilePins(file))
	if *update {
		for tool, p := range offered {
			p.Accepted = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			offered[tool] = p
		}
		if err := mcptool.NewFilePins(shipped).Save("handbook", offered); err != nil {
			t.Fatal(err)
		}
	}

	accepted := pinned(t, mcptool.NewFilePins(shipped))

	for tool, p := range offered {
		if accepted[tool].Hash != p.Hash {
			a, _ := json.Marshal(p)
			t.Errorf("the desk's tools.lock has another %s than the server: go test ./examples/handbook -update\n%s", tool, a)
		}
	}
	if len(accepted) != len(offered) {
		t.Errorf("got %d accepted tools, want %d", len(accepted), len(offered))
	}
}

const shipped = "../supportdesk/tools.lock"

func pinned(t *testing.T, pins mcptool.Pins) map[string]mcptool.Pin {
	t.Helper()
	all, err := pins.Load("handbook")
	if err != nil {
		t.Fatal(err)
	}
	return all
}
