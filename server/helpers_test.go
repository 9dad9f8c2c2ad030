package server_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

var update = flag.Bool("update", false, "write the golden files anew")

// patience is how long a test waits for something that comes at once.
const patience = time.Minute

// The two tenants of the tests: each has an authority and an issuer.
const (
	acmeDomain   = "acme.test"
	globexDomain = "globex.test"
	acmeIssuer   = "https://idp.acme.test"
	globexIssuer = "https://idp.globex.test"
	audience     = "behalf"
)

// setup says how a world differs from the plain one: client certificates are
// required, runs are kept in memory, and the desk's rules are the model.
type setup struct {
	optional bool              // client_certificate: optional
	embedded bool              // the run log on disk, for restarts
	model    *modeltest.Server // answers instead of the rules, as "scripted"
	spies    []tools.Tool      // a toolset "spy" that support may call and the staff's policies allow
	keys     http.HandlerFunc  // serves what acme's issuer has for keys; nil: they are in the config
	tested   bool              // the desk's policy tests must hold
	issuers  []identity.Issuer // besides the two
	policies map[string]string // further files of the policy folder
	bare     string            // the only policies, instead of the desk's
	edit     func(*config.Config)
	options  []behalf.Option
	wrap     func(*world) identity.Source // around the world's source; nil: that
	dir      string                       // empty: one of the test's own
	reread   bool                         // a reload reads the config again
	trust    bool                         // whose tokens count, and who may bring them, is in the config
}

// world is a real server on loopback with everything that it needs, and the
// credentials of everybody who calls it. Its methods may be used by many
// goroutines.
type world struct {
	t      *testing.T
	dir    string
	set    setup
	acme   *identity.DevCA
	globex *identity.DevCA
	source *identitytest.Source
	idp    *identity.DevIssuer
	other  *identity.DevIssuer
	jwks   *httptest.Server // of setup.keys
	serve  atomic.Pointer[http.HandlerFunc]
	log    *logBuffer
	addr   string
	http   string
	stop   func()

	mu     sync.Mutex
	tokens []string // all that were minted; none may ever be found in log or state
}

// person is who a token is for.
type person struct {
	subject string
	roles   []string
	scopes  string
}

var (
	alice = person{"alice", []string{"support"}, "crm.read orders.read orders.refund"}
	bob   = person{"bob", []string{"manager"}, "crm.read orders.read orders.refund audit.read ops"}
	carol = person{"carol", []string{"auditor"}, "audit.read"}
	dave  = person{"dave", []string{"support"}, "crm.read"}
	// mallory might do everything, if nobody had locked her.
	mallory = person{"mallory", []string{"support", "manager", "auditor"}, "crm.read orders.read orders.refund audit.read ops"}
	// erin may do everything, in the other tenant.
	erin = person{"erin", []string{"support", "manager", "auditor"}, "crm.read orders.read orders.refund audit.read ops"}
)

// newWorld starts a server in a new folder.
func newWorld(t *testing.T, set setup) *world {
	t.Helper()
	w := &world{
		t: t, dir: cmp.Or(set.dir, t.TempDir()), set: set, log: &logBuffer{}, stop: func() {},
		acme: identitytest.NewCAOf(t, acmeDomain), globex: identitytest.NewCAOf(t, globexDomain),
		idp: newIssuer(t, acmeIssuer), other: newIssuer(t, globexIssuer),
	}
	w.source = identitytest.NewSource(t, w.acme, "/behalf")
	w.source.Trust(identitytest.BundleOf(t, w.globex))
	if err := os.CopyFS(w.path("desk"), supportdesk.Files); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"handbook.cedar", "handbook.policytest.yaml"} { // there is none here
		if err := os.Remove(w.path("desk", "policies", name)); err != nil {
			t.Fatal(err)
		}
	}
	if set.bare != "" {
		if err := os.RemoveAll(w.path("desk", "policies")); err != nil {
			t.Fatal(err)
		}
		w.policy("bare.cedar", set.bare)
		set.tested = true // there is no test file to remove
	}
	if !set.tested { // a test's own policies need not do what the desk's must
		if err := os.Remove(w.path("desk", "policies", "desk.policytest.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range set.policies {
		w.policy(name, text)
	}
	if len(set.spies) > 0 {
		w.policy("spy.cedar", `@id("staff-may-use-spies") permit (principal, action == Action::"call_tool", resource in Toolset::"spy")
			when { principal in Role::"support" || principal in Role::"manager" };`)
	}
	if set.trust {
		w.rewrite("models:\n", w.identities(w.idp, w.other))
	}
	t.Cleanup(w.checkNoSecrets)
	w.start()
	return w
}

func newIssuer(t *testing.T, url string) *identity.DevIssuer {
	t.Helper()
	i, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) db() string { return w.path("state", "behalf.db") }

// policy writes a file of the policy folder.
func (w *world) policy(name, text string) {
	w.t.Helper()
	file := w.path("desk", "policies", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) config() *config.Config {
	w.t.Helper()
	cfg, err := w.read()
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

// read is the config as the file and the setup say it now.
func (w *world) read() (*config.Config, error) {
	cfg, err := config.Load(w.path("desk", "behalf.yaml"), func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	cfg.Server.Listen, cfg.Server.HTTP, cfg.Server.Reflection, cfg.Server.OperatorTenant = "127.0.0.1:0", "", true, "acme"
	cfg.Store.DSN, cfg.Audit.Witness, cfg.Runs.Log = "sqlite://"+w.db(), w.path("state", "audit.witness"), "memory"
	cfg.Tools = map[string]config.Toolset{"desk": {Builtin: "supportdesk"}} // in process, and no handbook
	support := cfg.Agents["support"]
	support.Tools = slices.DeleteFunc(support.Tools, func(t string) bool { return t == "handbook/*" })
	cfg.Agents["support"] = support
	if w.set.optional {
		cfg.Server.ClientCertificate = "optional"
	}
	if w.set.embedded {
		cfg.Runs.Log, cfg.Runs.Dir = "embedded", w.path("state", "runs")
	}
	if w.set.model != nil {
		cfg.Models["default"] = config.Model{BaseURL: w.set.model.URL, Model: "scripted"}
	}
	if len(w.set.spies) > 0 {
		cfg.Tools["spy"] = config.Toolset{Builtin: "spies"}
		support.Tools = append(support.Tools, "spy/*")
		cfg.Agents["support"] = support
	}
	if w.set.edit != nil {
		w.set.edit(cfg)
	}
	return cfg, nil
}

// start runs a server on the world's folder; w.stop ends it in order.
func (w *world) start() {
	w.t.Helper()
	desk, err := supportdesk.New()
	if err != nil {
		w.t.Fatal(err)
	}
	var source identity.Source = w.source
	if w.set.wrap != nil {
		source = w.set.wrap(w)
	}
	options := append([]behalf.Option{
		behalf.WithTools("supportdesk", desk.Tools()...), behalf.WithTools("spies", w.set.spies...), behalf.WithVersion("test"),
		behalf.WithLogger(slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		behalf.WithIdentity(w.trusted(behalf.Identity{
			Source:    source,
			Issuers:   append([]identity.Issuer{w.issuer(), w.other.Issuer(audience, "globex")}, w.set.issuers...),
			Tenants:   map[string]string{acmeDomain: "acme", globexDomain: "globex"},
			Audiences: []string{audience},
			Grants: []identity.WorkloadGrant{
				{ID: "spiffe://" + acmeDomain + "/app", Issuers: []string{acmeIssuer}, Scopes: []string{"crm.read"}},
				{ID: "spiffe://" + acmeDomain + "/batch"},
				{ID: "spiffe://" + acmeDomain + "/frozen", Issuers: []string{acmeIssuer}, Scopes: []string{"crm.read"}},
				{ID: "spiffe://" + acmeDomain + "/gateway", Issuers: []string{acmeIssuer, globexIssuer}},
				{ID: "spiffe://" + globexDomain + "/app", Issuers: []string{globexIssuer}},
			},
		})),
	}, w.set.options...)
	if w.set.reread {
		options = append(options, behalf.WithReload(w.read))
	}
	s, err := behalf.New(context.Background(), w.config(), options...)
	if err != nil {
		w.t.Fatalf("start: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with stop
	w.addr, w.http = s.Addr(), s.HTTPAddr()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the server ended with %v", err)
		}
	})
	w.t.Cleanup(w.stop)
}

// trusted is what the setup leaves of an identity to be brought.
func (w *world) trusted(i behalf.Identity) behalf.Identity {
	if w.set.trust {
		i.Issuers, i.Grants = nil, nil
	}
	return i
}

// issuer is acme's, with its keys in the config or behind the handler of the setup.
func (w *world) issuer() identity.Issuer {
	w.t.Helper()
	i := w.idp.Issuer(audience, "acme")
	if w.set.keys == nil {
		return i
	}
	w.serveKeys(w.set.keys)
	w.jwks = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*w.serve.Load())(rw, r) }))
	w.t.Cleanup(w.jwks.Close)
	i.JWKS, i.JWKSURL = nil, w.jwks.URL
	return i
}

// serveKeys changes what is served; nil: the keys as they are.
func (w *world) serveKeys(h http.HandlerFunc) {
	if h == nil {
		h = func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write(w.idp.JWKS())
		}
	}
	w.serve.Store(&h)
}

// restart ends the server and starts another one on what it left.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// workload is an SVID of the tenant's authority.
func (w *world) workload(ca *identity.DevCA, path string) *identity.SVID {
	w.t.Helper()
	return identitytest.Issue(w.t, ca, path)
}

// dial connects with the SVID, or without a certificate when it is nil.
func (w *world) dial(svid *identity.SVID, opts ...grpc.DialOption) *grpc.ClientConn {
	w.t.Helper()
	source := identitytest.NewSource(w.t, w.acme, "/nobody")
	source.Use(svid)
	cfg, err := identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{"spiffe://" + acmeDomain + "/behalf"}})
	if err != nil {
		w.t.Fatal(err)
	}
	if svid == nil {
		cfg.GetClientCertificate = nil
	}
	conn, err := grpc.NewClient(w.addr, append(opts, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// token signs an access token; extra claims replace the usual ones.
func (w *world) token(i *identity.DevIssuer, p person, extra map[string]any) string {
	w.t.Helper()
	claims := map[string]any{
		"sub": p.subject, "aud": audience, "name": strings.ToUpper(p.subject), "email": p.subject + "@example.test", "email_verified": true,
		"roles": p.roles, "scope": p.scopes, "client_id": "test",
	}
	for k, v := range extra {
		claims[k] = v
	}
	s := identitytest.Token(w.t, i, claims).Reveal()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = append(w.tokens, s)
	return s
}

// logBuffer keeps what the server logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// checkNoSecrets runs after every test, when the server has stopped: no token
// that anybody sent, nor its payload or signature, is in the log or on the disk
// (SECURITY 7.1: canary tokens; DESIGN 5: raw tokens are never stored).
func (w *world) checkNoSecrets() {
	w.stop()
	places := map[string][]byte{"the log": []byte(w.log.String())}
	err := filepath.WalkDir(w.path("state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		places[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	for _, token := range w.tokens {
		for _, part := range strings.Split(token, ".") {
			for where, text := range places {
				if bytes.Contains(text, []byte(part)) {
					w.t.Errorf("%s holds part of a token that a caller sent", where)
				}
			}
		}
		claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if len(claims) > 0 && bytes.Contains(places["the log"], claims) {
			w.t.Error("the log holds the claims of a token")
		}
	}
	if t := w.t; t.Failed() && testing.Verbose() {
		t.Logf("the server's log:\n%s", w.log.String())
	}
}
