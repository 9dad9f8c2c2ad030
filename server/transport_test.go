package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// tlsConfig is a client's that shows svid, or nothing when it is nil.
func (w *world) tlsConfig(svid *identity.SVID) *tls.Config {
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
	cfg.NextProtos = []string{"h2"}
	return cfg
}

// handshake connects and reads: in TLS 1.3 the server's answer to the client's
// certificate comes with the first read.
func (w *world) handshake(cfg *tls.Config) error {
	w.t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.addr, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = http2.NewFramer(conn, conn).ReadFrame() // the server speaks first
	return err
}

func TestHandshakeAdmitsOnlyVerifiedWorkloadsOverTLS13(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	old := w.tlsConfig(w.workload(w.acme, "/app"))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	impostor := identitytest.NewCAOf(t, acmeDomain) // the right name, another authority
	unmapped := identitytest.NewCAOf(t, "elsewhere.test")

	for _, c := range []struct {
		name string
		cfg  *tls.Config
		want string // in the alert; empty: admitted
	}{
		{"a granted workload", w.tlsConfig(w.workload(w.acme, "/app")), ""},
		{"TLS 1.2", old, "protocol version"},
		{"no certificate", w.tlsConfig(nil), "certificate required"},
		{"an authority that only has the trust domain's name", w.tlsConfig(w.workload(impostor, "/app")), "bad certificate"},
		{"a trust domain without a tenant", w.tlsConfig(w.workload(unmapped, "/app")), "bad certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := w.handshake(c.cfg)

			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an alert with %q", err, c.want)
			}
		})
	}
}

func TestAnOptionalCertificateIsVerifiedWhenPresented(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})

	if err := w.handshake(w.tlsConfig(nil)); err != nil {
		t.Errorf("got %v without a certificate, want it admitted", err)
	}
	if err := w.handshake(w.tlsConfig(w.workload(identitytest.NewCAOf(t, acmeDomain), "/app"))); err == nil {
		t.Error("a forged certificate was admitted")
	}
}

func TestConnectionsAreNeverResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	cfg := w.tlsConfig(w.workload(w.acme, "/app"))
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)

	for range 2 {
		conn, err := tls.Dial("tcp", w.addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // tickets would have come by now
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume {
			t.Error("the session was resumed, so the peer was not verified")
		}
		conn.Close()
	}
}

// seen is what a spy tool found around it.
type seen struct {
	md    metadata.MD
	grant identity.Grant
}

type none struct{}

// peek is a tool that looks at its context.
func peek(out chan<- seen) tools.Tool {
	return tools.Func("peek", "Looks around.", func(ctx context.Context, _ none) (none, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		g, _ := identity.FromContext(ctx)
		out <- seen{md, g}
		return none{}, nil
	}, tools.ReadOnly())
}

func TestMetadataThatCouldBeTakenForIdentityEndsInTheChain(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 1)
	w := newWorld(t, setup{spies: []tools.Tool{peek(out)}})
	var pairs []string
	for _, key := range []string{
		"cookie", "dpop", "x-user-id", "x-user-email", "x-forwarded-for", "x-forwarded-user", "x-forwarded-client-cert", "forwarded",
		"x-real-ip", "x-client-cert", "x-spiffe-id", "x-goog-iap-jwt-assertion", "x-ms-client-principal-id", "x-amzn-oidc-data",
		"x-agent-id", "agent-chain", "txn-token", "baggage", "x-behalf-tenant", "behalf-tenant",
	} {
		pairs = append(pairs, key, "bob")
	}
	a := w.as(alice).with(append(pairs, "x-harmless", "stays")...)

	if _, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"}); err != nil {
		t.Fatal(err)
	}

	got := until(t, "the tool", out)
	for i := 0; i < len(pairs); i += 2 {
		if v := got.md.Get(pairs[i]); len(v) > 0 {
			t.Errorf("%s reached the handler with %q", pairs[i], v)
		}
	}
	if len(got.md.Get("authorization")) > 0 {
		t.Error("the access token reached the handler")
	}
	if len(got.md.Get("x-harmless")) == 0 {
		t.Error("harmless metadata is gone: the test proves nothing")
	}
	if s := got.grant.Principal().Subject(); s != "alice" {
		t.Errorf("got %q as who calls, want alice", s)
	}
}

func TestATokenIsOneValueInOnePlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, app := w.as(alice), w.dial(w.workload(w.acme, "/app"))
	token := strings.TrimPrefix(a.md.Get("authorization")[0], "Bearer ")
	second := w.token(w.idp, bob, nil)

	for _, c := range []struct {
		name string
		*client
		code codes.Code
		why  string
	}{
		{"two values", a.with("authorization", "Bearer "+second), codes.Unauthenticated, "CREDENTIAL_INVALID"},
		{"the same value twice", a.with("authorization", "Bearer "+token), codes.Unauthenticated, "CREDENTIAL_INVALID"},
		{"joined by a comma", &client{app, metadata.Pairs("authorization", "Bearer "+token+",Bearer "+second)}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
		{"two spaces", &client{app, metadata.Pairs("authorization", "Bearer  "+token)}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
		{"another scheme", &client{app, metadata.Pairs("authorization", "Basic "+token)}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
		{"authorization-bin", a.with("authorization-bin", "Bearer "+second), codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"authorization-bin alone", &client{app, metadata.Pairs("authorization-bin", "Bearer "+token)}, codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"x-user-id-bin", a.with("x-user-id-bin", "bob"), codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"a second place", a.with("x-access-token", second), codes.Unauthenticated, "CREDENTIAL_INVALID"},
		{"only a second place", &client{app, metadata.Pairs("x-forwarded-access-token", token)}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})

			wantError(t, err, c.code, c.why)
		})
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf("k-%d", i), "v")
	}

	for _, c := range []struct {
		name string
		*client
		code codes.Code
		why  string
	}{
		{"65 entries", a.with(many...), codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"a value over 8 KiB", a.with("k", strings.Repeat("v", 8<<10+1)), codes.InvalidArgument, "ARGUMENT_INVALID"},
		// The server announces its limit, so gRPC's own client does not even send these.
		{"more than 16 KiB", a.with("k", strings.Repeat("v", 8<<10), "l", strings.Repeat("v", 8<<10)), codes.Internal, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})

			wantError(t, err, c.code, c.why)
		})
	}
	t.Run("a message over 1 MiB", func(t *testing.T) {
		_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: strings.Repeat("x", 1<<20)})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want RESOURCE_EXHAUSTED", err)
		}
		_, err = a.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: strings.Repeat("x", 1<<20)})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v of a stream, want RESOURCE_EXHAUSTED", err)
		}
	})
	t.Run("a message that unpacks to more than 1 MiB", func(t *testing.T) {
		// This test brings gzip along; without it no compression is accepted at all.
		bomb := &behalfv1.RunAgentRequest{Agent: "triage", Input: strings.Repeat("x", 2<<20)}
		_, err := a.agents().RunAgent(a.ctx(t), bomb, grpc.UseCompressor(gzip.Name))
		if c := status.Code(err); c != codes.ResourceExhausted && c != codes.Unimplemented {
			t.Errorf("got %v, want it refused", err)
		}
	})
	t.Run("an input over 256 KiB", func(t *testing.T) {
		_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: strings.Repeat("x", 256<<10+1)})
		wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
	})
}

func TestOnePersonCannotHoldMoreThan20Streams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, d := w.as(alice), w.as(dave)
	watch := func(c *client) error {
		s, err := healthpb.NewHealthClient(c).Watch(c.ctx(t), &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	for i := range 20 {
		if err := watch(a); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}

	wantError(t, watch(a), codes.ResourceExhausted, "STREAM_LIMIT")
	wantError(t, watch(w.as(alice)), codes.ResourceExhausted, "STREAM_LIMIT") // nor by another connection
	if err := watch(d); err != nil {
		t.Errorf("got %v for somebody else, want their own count", err)
	}
}

// answer is what came back on a raw HTTP/2 stream.
type answer struct {
	status  string // grpc-status, empty when there was none
	http    string
	message string
	reset   bool
	data    []byte
}

// raw sends a request as a client would that gRPC's own would never be: with
// any path. It presents svid and md.
func (w *world) raw(t *testing.T, svid *identity.SVID, path string, md metadata.MD) answer {
	t.Helper()
	conn, err := tls.Dial("tcp", w.addr, w.tlsConfig(svid))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	field := func(k, v string) { _ = enc.WriteField(hpack.HeaderField{Name: k, Value: v}) }
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "https"},
		{":path", path},
		{":authority", "localhost"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		field(f[0], f[1])
	}
	for k, vs := range md {
		for _, v := range vs {
			field(k, v)
		}
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(err, f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		f.WriteData(1, true, make([]byte, 5)), // one empty message
	); err != nil {
		t.Fatal(err)
	}
	return hear(t, f)
}

func hear(t *testing.T, f *http2.Framer) (a answer) {
	t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		end := false
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range fr.Fields {
				switch h.Name {
				case "grpc-status":
					a.status = h.Value
				case ":status":
					a.http = h.Value
				case "grpc-message":
					a.message = h.Value
				}
			}
			end = fr.StreamEnded()
		case *http2.DataFrame:
			a.data = append(a.data, fr.Data()...)
			end = fr.StreamEnded()
		case *http2.RSTStreamFrame:
			a.reset, end = true, true
		case *http2.GoAwayFrame:
			t.Fatalf("the connection was closed: %v", fr)
		}
		if end {
			return a
		}
	}
}

// CVE-2026-33186: a path without its leading slash slipped past interceptors
// that match methods by their path.
func TestOddPathsReachNoHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	app, good := w.workload(w.acme, "/app"), bearer(w.token(w.idp, alice, nil))
	const whoAmI = "behalf.v1.AdminService/WhoAmI"
	if a := w.raw(t, app, "/"+whoAmI, good); a.status != "0" || len(a.data) == 0 {
		t.Fatalf("got %+v for the right path, so the test proves nothing", a)
	}

	for _, path := range []string{whoAmI, "//" + whoAmI, "/" + whoAmI + "/", "/" + whoAmI + "?x=1", "/BEHALF.V1.AdminService/WhoAmI", "", "/", "*"} {
		for name, md := range map[string]metadata.MD{"nobody": nil, "alice": good} {
			svid := app
			if name == "nobody" {
				svid = nil
			}
			a := w.raw(t, svid, path, md)

			if len(a.data) > 0 || a.status == "0" {
				t.Errorf("%q as %s was answered: %+v", path, name, a)
			}
		}
	}
}

func TestUnknownMethodsAreUnknownOnlyToThoseWhoAreIdentified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	a, nobody := w.as(alice), &client{w.dial(nil), nil}

	for _, name := range []string{"/no.such.Service/Method", "/behalf.v1.AdminService/NoSuchMethod"} {
		wantError(t, a.Invoke(a.ctx(t), name, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unimplemented, "UNIMPLEMENTED")
		wantError(t, nobody.Invoke(nobody.ctx(t), name, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	}
}

func TestATenantNamedInARequestMustBeTheCallers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	start := &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: "hello", Tenant: "globex"}
	for name, call := range map[string]func() error{
		"RunAgent": func() error {
			_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", Tenant: "globex"})
			return err
		},
		"StreamAgent": func() error {
			_, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: "hello", Tenant: "globex"})
			return err
		},
		"CreateRun": func() error { _, err := a.runs().CreateRun(a.ctx(t), start); return err },
		"CallTool": func() error {
			_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, Tenant: "globex"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, call(), codes.PermissionDenied, "TENANT_MISMATCH") })
	}
	t.Run("a workload that carries another tenant's person", func(t *testing.T) {
		// globex's application may present globex's people only; acme's may not present them at all.
		mixed := &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.other, erin, nil))}
		_, err := mixed.admin().WhoAmI(mixed.ctx(t), &behalfv1.WhoAmIRequest{})
		wantError(t, err, codes.PermissionDenied, "CARRIER_NOT_ALLOWED")
	})
	if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", Tenant: "acme"}); err != nil {
		t.Errorf("got %v for her own tenant, want it accepted", err)
	}
}

func TestScopesOfARequestOnlyNarrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, d := w.as(alice), w.as(dave)
	customer := func(c *client, s *behalfv1.Scopes) error {
		_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, Scopes: s})
		return err
	}
	list := func(c *client, s ...string) error {
		_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{
			Tool: "list_orders", ArgumentsJson: `{"customer_id":"C-1001"}`, Scopes: &behalfv1.Scopes{Values: s},
		})
		return err
	}

	if err := customer(a, nil); err != nil {
		t.Errorf("got %v without narrowing, want it allowed", err)
	}
	wantError(t, customer(a, &behalfv1.Scopes{}), codes.PermissionDenied, "DELEGATION_SCOPE") // present and empty: nothing
	wantError(t, customer(a, &behalfv1.Scopes{Values: []string{"orders.read"}}), codes.PermissionDenied, "DELEGATION_SCOPE")
	wantError(t, list(d, "orders.read", "crm.read"), codes.PermissionDenied, "SCOPE_MISSING") // dave has no orders.read to ask for
}

func TestARunWithEmptyScopesHasNoTools(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "get_customer", Arguments: `{"customer_id":"C-1001"}`}}}, modeltest.Reply{Text: "no"})
	w := newWorld(t, setup{model: m})
	a := w.as(alice)

	r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "look", Scopes: &behalfv1.Scopes{}})
	if err != nil {
		t.Fatal(err)
	}

	if len(r.GetToolCalls()) != 1 || r.GetToolCalls()[0].GetDecision() != behalfv1.Decision_DECISION_DENY {
		t.Errorf("got %v, want one call that was denied", r.GetToolCalls())
	}
	if q := string(m.Requests()[0].Body); strings.Contains(q, "get_customer") {
		t.Error("the model was offered a tool that the run has no scopes for")
	}
}

func TestOnlyTheServersOwnHealthIsPublic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	h, a := healthpb.NewHealthClient(w.dial(nil)), w.as(alice)
	check := func(c *client, service string) error {
		_, err := healthpb.NewHealthClient(c).Check(c.ctx(t), &healthpb.HealthCheckRequest{Service: service})
		return err
	}

	r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v, want SERVING", r, err)
	}
	nobody := &client{w.dial(nil), nil}
	wantError(t, check(nobody, "behalf.v1.AgentService"), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	wantError(t, check(nobody, "no.such.Service"), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	if err := check(a, "behalf.v1.AgentService"); err != nil {
		t.Errorf("got %v for alice, want an answer", err)
	}
	wantError(t, check(a, "no.such.Service"), codes.NotFound, "NOT_FOUND")
	s, err := h.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_REQUIRED")
}

func TestReflectionCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Reflection = false }})
	a := w.as(alice)

	err := a.Invoke(a.ctx(t), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &emptypb.Empty{}, &emptypb.Empty{})

	wantError(t, err, codes.Unimplemented, "UNIMPLEMENTED")
}

const canary = "canary-7f3a"

// panicking is a model that panics after its first word.
type panicking struct{}

func (panicking) Generate(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		if yield(agents.Chunk{Text: "so "}, nil) {
			panic(canary)
		}
	}
}

func TestAPanicShowsNothingAndStopsNobodyElse(t *testing.T) {
	t.Parallel()
	boom := tools.Func("boom", "Panics.", func(context.Context, none) (none, error) { panic(canary) }, tools.ReadOnly())
	w := newWorld(t, setup{spies: []tools.Tool{boom}, options: []behalf.Option{behalf.WithModel("default", panicking{})}})
	a := w.as(alice)

	r, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "boom", ArgumentsJson: "{}"})
	if err != nil || !r.GetFailed() || strings.Contains(r.String(), canary) {
		t.Errorf("got %v, %v of a tool that panics, want a failed result that says nothing", r, err)
	}
	events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})
	wantError(t, err, codes.Internal, "INTERNAL")
	if strings.Contains(status.Convert(err).String(), canary) || strings.Contains(fmt.Sprint(events), canary) {
		t.Errorf("got %v and %v, want nothing of the panic", err, events)
	}
	if f := events[len(events)-1].GetRunFinished(); f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_INTERNAL {
		t.Errorf("got %v as the run's end, want it failed", events[len(events)-1])
	}
	if _, err := a.admin().WhoAmI(a.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil {
		t.Errorf("got %v after the panics, want the server to go on", err)
	}
}

// refund is a write whose effect the test sees.
func refund(effects *atomic.Int64) tools.Tool {
	return tools.Func("pay", "Pays.", func(context.Context, none) (none, error) {
		effects.Add(1)
		return none{}, nil
	})
}

// breakAudit takes the database's file away, which the writer notices before it
// writes; mend puts it back.
func (w *world) breakAudit() (mend func()) {
	w.t.Helper()
	away := w.db() + ".away"
	if err := os.Rename(w.db(), away); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		if err := os.Rename(away, w.db()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestNothingHappensThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}})
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}})
	b := w.as(bob)
	w.hello(&client{b.ClientConn, b.md}, "")
	mend := w.breakAudit()

	_, err := b.tools().CallTool(b.ctx(t), &behalfv1.CallToolRequest{Tool: "pay", ArgumentsJson: "{}"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if len(events) > 0 {
		t.Errorf("got %v before the decision was durable, want nothing", events)
	}
	_, err = b.runs().CreateRun(b.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = w.as(carol).agents().RunAgent(w.as(carol).ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"})
	if status.Code(err) == codes.OK {
		t.Error("a denial that could not be recorded became an answer")
	}
	if effects.Load() > 0 {
		t.Errorf("the tool acted %d times without a record", effects.Load())
	}

	mend()
	if _, err := b.tools().CallTool(b.ctx(t), &behalfv1.CallToolRequest{Tool: "pay", ArgumentsJson: "{}"}); err != nil || effects.Load() != 1 {
		t.Errorf("got %v and %d effects once the log is back, want one", err, effects.Load())
	}
	if v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}

func TestAToolCallOfARunThatCannotBeRecordedEndsTheRun(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}})
	b := w.as(bob)
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		w.breakAudit() // the run is on record already; the call will not be
		return modeltest.Reply{Text: "paying", Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
	})

	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay"})

	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if effects.Load() > 0 {
		t.Error("the tool acted without a record")
	}
	if f := events[len(events)-1].GetRunFinished(); f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_AUDIT_UNAVAILABLE {
		t.Errorf("got %v as the run's end, want AUDIT_UNAVAILABLE", events[len(events)-1])
	}
	if slices.ContainsFunc(events, func(e *behalfv1.Event) bool {
		return e.GetToolCallFinished() != nil && !e.GetToolCallFinished().GetFailed()
	}) {
		t.Error("a result was shown")
	}
}

// A limit on runs denies; what was denied must not have happened (DESIGN 8: the
// run_agent decision is durable before the first tool effect).
func TestARunThatIsOverItsRateHasNoEffect(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			return modeltest.Reply{Text: "done"}
		}
		return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
	})
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}, policies: map[string]string{
		"rate.cedar": `@id("two-runs") @rate("2/1h") forbid (principal, action == Action::"run_agent", resource);`,
	}})
	b := w.as(bob)
	run := func() error {
		_, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"})
		return err
	}
	for range 2 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}

	wantError(t, run(), codes.ResourceExhausted, "RATE_LIMITED")

	if effects.Load() != 2 {
		t.Errorf("the tool acted %d times, want 2: the third run was refused", effects.Load())
	}
	denied := slices.DeleteFunc(b.records(t, &behalfv1.QueryAuditRequest{User: "bob"}), func(r *behalfv1.AuditRecord) bool {
		return r.GetReason() != behalfv1.ErrorReason_ERROR_REASON_RATE_LIMITED
	})
	if len(denied) != 1 || denied[0].GetPhase() != behalfv1.AuditPhase_AUDIT_PHASE_DECISION {
		t.Errorf("got %v, want the one denial and no outcome of it", denied)
	}
}
