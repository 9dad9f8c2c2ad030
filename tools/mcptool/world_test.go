package mcptool_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("MCPTOOL_TEST_ROLE"); role != "" {
		os.Exit(play(role))
	}
	goleak.VerifyTestMain(m)
}

// quick are limits under which nothing in a test waits for a clock, and none passes on
// a machine that is slow.
func quick() mcptool.Limits {
	return mcptool.Limits{Backoff: time.Millisecond, Relist: time.Millisecond, Call: time.Minute, Connect: 10 * time.Second}
}

// logs are what the operator reads.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// world is a source that runs and, once built, a gate in front of its tools.
type world struct {
	t       testing.TB
	source  *mcptool.Source
	pins    *mcptool.FilePins
	logs    *logs
	gate    *tools.Gate
	limits  map[string]time.Duration // of calls of a tool, where it is not the source's
	more    string                   // policies
	stop    func()                   // ends the source
	reports []error
	mu      sync.Mutex
}

// newWorld runs a source until the test ends.
func newWorld(t testing.TB, c mcptool.Config) *world {
	t.Helper()
	w := &world{t: t, logs: &logs{}, pins: mcptool.NewFilePins(filepath.Join(t.TempDir(), "pins.json"))}
	if c.Name == "" {
		c.Name = "ext"
	}
	if c.Pins == nil {
		c.Pins = w.pins
	}
	if c.Limits == (mcptool.Limits{}) {
		c.Limits = quick()
	}
	c.Logger = slog.New(slog.NewTextHandler(w.logs, nil))
	var err error
	if w.source, err = mcptool.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.source.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(w.stop)
	return w
}

// until waits for a change of the tools after which ok is true.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-w.source.Changed():
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("never: %s\n%s", what, w.logs)
		}
	}
}

// told waits for a line of the log: what it tells of is seen before it is written.
func (w *world) told(part string) {
	w.t.Helper()
	w.until("the log has "+part, func() bool { return strings.Contains(w.logs.String(), part) })
}

// open waits for a tool and puts a gate in front of all.
func (w *world) open(own string) *world {
	w.t.Helper()
	w.until(own+" is listed", func() bool { return w.has(own) })
	w.build()
	return w
}

func (w *world) all() []tools.Tool {
	w.t.Helper()
	all, err := w.source.Tools()
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) has(name string) bool {
	for _, t := range w.all() {
		if t.Name == name {
			return true
		}
	}
	return false
}

func (w *world) tool(name string) tools.Tool {
	w.t.Helper()
	for _, t := range w.all() {
		if t.Name == name {
			return t
		}
	}
	w.t.Fatalf("there is no tool %q", name)
	return tools.Tool{}
}

// build makes the gate of what Tools gives now, as a reload does.
func (w *world) build() {
	w.t.Helper()
	all := w.all()
	for i := range all {
		all[i].Timeout = cmp.Or(w.limits[all[i].Name], all[i].Timeout)
	}
	r, err := tools.NewRegistry(all...)
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := policy.NewGuard(policy.GuardConfig{Sink: audit.NewMemory(time.Now), DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := policy.Load(policy.Config{FS: fstest.MapFS{"p.cedar": {Data: []byte(`@id("all") permit (principal, action, resource) unless { action == Action::"act_for_other" };` + w.more)}}, Tools: r.Schemas()})
	if err != nil {
		w.t.Fatal(err)
	}
	g.Swap(policy.NewEngine(set))
	w.gate, err = tools.NewGate(tools.GateConfig{Registry: r, Guard: g, Tools: r.Names(), Report: func(_ context.Context, _ string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reports = append(w.reports, err)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reported() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.reports)
}

// as is a context of a person who calls by themselves.
func as(ctx context.Context, who string) context.Context {
	p := identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: who, Tenant: "acme", Email: who + "@acme.example", Expires: time.Now().Add(time.Hour),
	}}
	return identity.WithGrant(ctx, identity.Root("grt_"+who, p, nil, ""))
}

// call makes a call through the gate.
func (w *world) call(ctx context.Context, name, args string) agents.ToolCallFinished {
	w.t.Helper()
	var last agents.ToolCallFinished
	for ev, err := range w.gate.Call(ctx, agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: name, Arguments: args}) {
		if err != nil {
			w.t.Errorf("call %s: %v", name, err)
			return last
		}
		if f, ok := ev.Body.(agents.ToolCallFinished); ok {
			last = f
		}
	}
	return last
}

// bob makes a call that must work.
func (w *world) bob(name, args string) string {
	w.t.Helper()
	f := w.call(as(w.t.Context(), "bob"), name, args)
	if f.Failed {
		w.t.Fatalf("call %s: %s\n%s\n%s", name, f.Result, w.reported(), w.logs)
	}
	return f.Result
}

// fails makes a call that must not work, and gives its reason and text.
func (w *world) fails(name, args string) (fault.Reason, string) {
	w.t.Helper()
	f := w.call(as(w.t.Context(), "bob"), name, args)
	if !f.Failed {
		w.t.Fatalf("call %s: got %s, want a failure", name, f.Result)
	}
	return fault.Reason(f.Reason), f.Result
}

func want(t testing.TB, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("got %s, want %q in it", got, part)
	}
}

func without(t testing.TB, got, part string) {
	t.Helper()
	if strings.Contains(got, part) {
		t.Errorf("got %s, which must not have %q", got, part)
	}
}

// serve serves a handler over TLS with a certificate of its own.
func serve(t testing.TB, h http.Handler) mcptool.Config {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return mcptool.Config{URL: srv.URL + "/mcp", TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, TrustOnFirstUse: true}
}

// backend is a real MCP server.
type backend struct {
	*mcp.Server
	calls chan string
}

type greet struct {
	Name string `json:"name"`
	ID   int64  `json:"id,omitempty"`
}

func newBackend() *backend {
	b := &backend{Server: mcp.NewServer(&mcp.Implementation{Name: "backend", Version: "1"}, nil), calls: make(chan string, 64)}
	mcp.AddTool(b.Server, &mcp.Tool{Name: "sayHello", Description: "Greets."}, func(_ context.Context, _ *mcp.CallToolRequest, in greet) (*mcp.CallToolResult, any, error) {
		b.calls <- in.Name
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello " + in.Name}}}, nil, nil
	})
	order := json.RawMessage(`{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}},"required":["name"]}`)
	b.AddTool(&mcp.Tool{Name: "get-order", Description: "An order.", InputSchema: order, OutputSchema: order}, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{StructuredContent: r.Params.Arguments}, nil
	})
	return b
}

func (b *backend) handler(o *mcp.StreamableHTTPOptions) http.Handler {
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return b.Server }, o)
}

// raw adds a tool with a schema and a result of the test's making.
func (b *backend) raw(name, description, schema string, h mcp.ToolHandler) {
	b.AddTool(&mcp.Tool{Name: name, Description: description, InputSchema: json.RawMessage(schema)}, h)
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}
