package crm_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/crm"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/behalf-dev/behalf/fault"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const issuer = "https://behalf.example"

// place is the backend and behalf's side of it.
type place struct {
	t    testing.TB
	ca   *identity.DevCA
	own  *identitytest.Source
	keys *calltoken.Keys
	addr string
	log  *text
	gate *tools.Gate
	reg  *tools.Registry
	tls  *tls.Config
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

func (p *place) client() string { return "spiffe://" + p.ca.TrustDomain() + "/behalf" }

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{t: t, ca: identitytest.NewCA(t), log: &text{}}
	p.own = identitytest.NewSource(t, p.ca, "/behalf")
	p.keys = newKeys(t, nil)
	jwks, err := p.keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	logger := backend.NewLog(p.log, "crm")
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: []string{p.client()}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	p.serve(v, logger)
	if p.tls, err = p.tlsOf(p.own); err != nil {
		t.Fatal(err)
	}
	return p
}

func newKeys(t testing.TB, now func() time.Time) *calltoken.Keys {
	t.Helper()
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (p *place) tlsOf(s identity.Source) (*tls.Config, error) {
	return identity.ClientTLS(identity.ClientConfig{Source: s, Servers: []string{"spiffe://" + p.ca.TrustDomain() + "/crm"}})
}

// govern reads the backend's tools and puts them behind a gate.
func (p *place) govern(edit func(*grpctool.Config)) {
	p.t.Helper()
	c := grpctool.Config{
		Toolset: "crm", Target: p.addr, Services: []string{"crm.v1.CustomersService"}, TLS: p.tls,
		Tokens: &tools.Tokens{Keys: p.keys, Issuer: issuer, Client: p.client}, Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall},
	}
	if edit != nil {
		edit(&c)
	}
	src, err := grpctool.New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }() // ends with the test
	p.t.Cleanup(func() { cancel(); <-done })
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for src.Problem() != nil {
		select {
		case <-tick.C:
		case <-p.t.Context().Done():
			p.t.Fatal(src.Problem())
		}
	}
	list, err := src.Tools()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.reg, err = tools.NewRegistry(list...); err != nil {
		p.t.Fatal(err)
	}
	p.behindAGate(nil)
}

// behindAGate makes a gate with an audit log, or with another sink.
func (p *place) behindAGate(sink audit.Sink) {
	p.t.Helper()
	set, err := policy.Load(policy.Config{FS: fstest.MapFS{"p.cedar": {Data: []byte(`@id("all") permit (principal, action == Action::"call_tool", resource);
		@id("cap") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") unless { context.args has amount_cents && context.args.amount_cents <= 5000 };`)}}, Tools: p.reg.Schemas()})
	if err != nil {
		p.t.Fatal(err)
	}
	log := audit.NewMemory(time.Now)
	if sink == nil {
		sink = log
	}
	guard, err := policy.NewGuard(policy.GuardConfig{Sink: sink, DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		p.t.Fatal(err)
	}
	guard.Swap(policy.NewEngine(set))
	if p.gate, err = tools.NewGate(tools.GateConfig{Registry: p.reg, Guard: guard, Journal: log, Agent: "support", Tools: p.reg.Names()}); err != nil {
		p.t.Fatal(err)
	}
}

// as is a person who acts through the support agent.
func (p *place) as(subject string, scopes ...string) context.Context {
	p.t.Helper()
	who := identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: subject, Tenant: "acme", Scopes: identity.NewScopes(scopes...), Expires: time.Now().Add(time.Hour),
	}}
	g, err := identity.Root("grt_1", who, nil, "").Child("support", nil, 8)
	if err != nil {
		p.t.Fatal(err)
	}
	return identity.WithGrant(context.Background(), g)
}

func (p *place) call(ctx context.Context, tool, args string) agents.ToolCallFinished {
	p.t.Helper()
	var last agents.Event
	for ev, err := range p.gate.Call(ctx, agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: tool, Arguments: args}) {
		if err != nil {
			p.t.Fatal(err)
		}
		last = ev
	}
	fin, _ := last.Body.(agents.ToolCallFinished)
	return fin
}

func TestAPersonUsesTheBackendThroughTheGate(t *testing.T) {
	p := newPlace(t)
	p.govern(nil)
	alice := p.as("alice", "crm.read", "orders.read", "orders.refund")

	if fin := p.call(alice, "get_customer", `{"customer_id":"alice"}`); fin.Failed || !strings.Contains(fin.Result, `"name":"Alice"`) || strings.Contains(fin.Result, "works here") {
		t.Errorf("got %s, want Alice without what is said of her", fin.Result)
	}
	if fin := p.call(alice, "list_orders", `{"customer_id":"alice","limit":1}`); fin.Failed || !strings.Contains(fin.Result, `"order_id":"O-5005"`) || strings.Contains(fin.Result, "O-5004") {
		t.Errorf("got %s, want the newest order", fin.Result)
	}
	var invoices []struct {
		Due string `json:"due_cents"`
	}
	if fin := p.call(alice, "stream_invoices", `{"customer_id":"alice"}`); json.Unmarshal([]byte(fin.Result), &invoices) != nil || len(invoices) != 2 || invoices[0].Due != "74900" {
		t.Errorf("got %s, want two invoices", fin.Result)
	}
	if fin := p.call(alice, "refund_order", `{"customer_id":"alice","order_id":"O-5005","amount_cents":"400"}`); fin.Failed || !strings.Contains(fin.Result, `"left_cents":"1500"`) {
		t.Errorf("got %s, want it paid back", fin.Result)
	}
	if fin := p.call(alice, "refund_order", `{"customer_id":"alice","order_id":"O-5005","amount_cents":1501}`); !fin.Failed || !strings.Contains(fin.Result, "no more than is left") {
		t.Errorf("got %s, want the backend's own refusal", fin.Result)
	}
	for _, want := range []string{`get_customer for alice through support, customer alice, decision run_1/7`, `refund_order for alice through support`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("got the backend's log %q, want %q", p.log, want)
		}
	}
}

func TestTheGateRefusesBeforeTheBackendIsAsked(t *testing.T) {
	p := newPlace(t)
	p.govern(nil)
	for _, c := range []struct {
		who        context.Context
		tool, args string
		reason     fault.Reason
	}{
		{p.as("alice", "crm.read"), "get_customer", `{"customer_id":"bob"}`, fault.OwnerMismatch},
		{p.as("alice", "crm.read"), "get_customer", `{}`, fault.ArgumentInvalid},
		{p.as("alice"), "get_customer", `{"customer_id":"alice"}`, fault.ScopeMissing},
		{p.as("alice", "crm.read"), "refund_order", `{"customer_id":"alice","order_id":"O-5004","amount_cents":1}`, fault.ScopeMissing},
		{p.as("alice", "orders.refund"), "refund_order", `{"customer_id":"alice","order_id":"O-5004","amount_cents":5001}`, fault.PolicyDenied},
		{p.as("alice", "orders.refund"), "refund_order", `{"customer_id":"alice","order_id":"O-5004","amount_cents":"5001"}`, fault.PolicyDenied},
	} {
		if fin := p.call(c.who, c.tool, c.args); fin.Reason != string(c.reason) {
			t.Errorf("%s %s: got %s, want %s", c.tool, c.args, fin.Result, c.reason)
		}
	}
	if got := p.log.String(); got != "" {
		t.Errorf("the backend was asked: %s", got)
	}
}

func TestTheDescriptorSetHasTheComments(t *testing.T) {
	p := newPlace(t)
	set, err := supportdesk.Files.ReadFile("crm.binpb")
	if err != nil {
		t.Fatal(err)
	}
	p.govern(func(c *grpctool.Config) { c.DescriptorSet = set })

	d, ok := p.reg.Descriptor("refund_order")
	if !ok || d.Description != "Refunds an order of a customer, in part or in whole. It cannot be undone." || d.Risk != "high" || d.Effect != tools.Write || d.Scopes[0] != "orders.refund" || d.Owners["customer_id"] != tools.OwnerSubject {
		t.Errorf("got %+v, want what the proto file says", d)
	}
	if d, _ = p.reg.Descriptor("get_customer"); d.Effect != tools.Read || !strings.Contains(string(d.Schema), "Whose record it is") {
		t.Errorf("got %+v, want what the proto file says", d)
	}
	if fin := p.call(p.as("C-1001", "crm.read"), "get_customer", `{"customer_id":"C-1001"}`); fin.Failed {
		t.Errorf("got %s", fin.Result)
	}
}

// TestStaffSeeAnyCustomer holds that who is not staff of the backend's own list sees
// themselves only, whatever behalf allowed.
func TestStaffSeeAnyCustomer(t *testing.T) {
	p := newPlace(t)
	svid := identitytest.Issue(t, p.ca, "/behalf")
	conn := p.connect(svid)
	q := &crmv1.GetCustomerRequest{CustomerId: "alice"}
	sent, err := proto.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]codes.Code{"carol": codes.OK, "alice": codes.OK, "C-1001": codes.PermissionDenied} {
		c := p.good(svid, sent)
		c.Subject = subject
		token, err := p.keys.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.ask(conn, token.Reveal(), q); status.Code(err) != want {
			t.Errorf("%s: got %v, want %v", subject, err, want)
		}
	}
	if !strings.Contains(p.log.String(), "crm: refused get_customer for C-1001 through support, customer alice") {
		t.Errorf("got the log %q, want the refusal", p.log)
	}
}

// good are the claims of a token for one call of get_customer.
func (p *place) good(svid *identity.SVID, sent []byte) calltoken.Claims {
	return calltoken.Claims{
		Issuer: issuer, Subject: "alice", SubjectIssuer: "https://idp.example", Actor: calltoken.Chain(p.client(), []calltoken.Actor{{Subject: "support", Profile: "agent", Grant: "grt_1"}}), ClientID: p.client(), Audience: "crm",
		Scope: "crm.read", Tenant: "acme", Transaction: "run_1", Tool: "get_customer", ToolVersion: strings.Repeat("0", 64), Arguments: calltoken.Digest(sent),
		Decision: calltoken.Decision{ID: "run_1/7", Revision: strings.Repeat("0", 16)}, Confirmation: calltoken.Confirmation{Thumbprint: svid.Thumbprint},
	}
}

// ask calls the backend with a token, as whoever has one would.
func (p *place) ask(conn *grpc.ClientConn, token string, q *crmv1.GetCustomerRequest) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, calltoken.Header, "Bearer "+token)
	_, err := crmv1.NewCustomersServiceClient(conn).GetCustomer(ctx, q)
	return err
}

func (p *place) connect(s *identity.SVID) *grpc.ClientConn {
	p.t.Helper()
	source := identitytest.NewSource(p.t, p.ca, "/behalf")
	source.Use(s)
	config, err := p.tlsOf(source)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestForgedCallsAreRefused(t *testing.T) {
	p := newPlace(t)
	svid := identitytest.Issue(t, p.ca, "/behalf")
	q := &crmv1.GetCustomerRequest{CustomerId: "alice"}
	sent, err := proto.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	mint := func(keys *calltoken.Keys, edit func(*calltoken.Claims)) string {
		c := p.good(svid, sent)
		if edit != nil {
			edit(&c)
		}
		token, err := keys.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	conn := p.connect(svid)

	once := mint(p.keys, nil)
	if err := p.ask(conn, once, q); err != nil {
		t.Fatalf("the good call: %v", err)
	}
	for name, c := range map[string]struct {
		conn  *grpc.ClientConn
		token string
		q     *crmv1.GetCustomerRequest
		want  codes.Code
	}{
		"second use":             {conn, once, q, codes.Unauthenticated},
		"other tool":             {conn, mint(p.keys, func(c *calltoken.Claims) { c.Tool = "list_orders" }), q, codes.Unauthenticated},
		"changed arguments":      {conn, mint(p.keys, nil), &crmv1.GetCustomerRequest{CustomerId: "bob"}, codes.Unauthenticated},
		"other audience":         {conn, mint(p.keys, func(c *calltoken.Claims) { c.Audience = "erp" }), q, codes.Unauthenticated},
		"other key":              {conn, mint(newKeys(t, nil), nil), q, codes.Unauthenticated},
		"other client id":        {conn, mint(p.keys, func(c *calltoken.Claims) { c.ClientID = "spiffe://" + p.ca.TrustDomain() + "/other" }), q, codes.Unauthenticated},
		"no certificate claimed": {conn, mint(p.keys, func(c *calltoken.Claims) { c.Confirmation.Thumbprint = "" }), q, codes.Unauthenticated},
		"other certificate":      {p.connect(identitytest.Issue(t, p.ca, "/behalf")), mint(p.keys, nil), q, codes.Unauthenticated},
		"other workload":         {p.connect(identitytest.Issue(t, p.ca, "/other")), mint(p.keys, nil), q, codes.Unauthenticated},
		"no token":               {conn, "", q, codes.Unauthenticated},
		"somebody else's record": {conn, mint(p.keys, func(c *calltoken.Claims) { c.Subject = "bob" }), q, codes.PermissionDenied},
		"without the scope":      {conn, mint(p.keys, func(c *calltoken.Claims) { c.Scope = "" }), q, codes.PermissionDenied},
		"other tenant":           {conn, mint(p.keys, func(c *calltoken.Claims) { c.Tenant = "lab" }), q, codes.PermissionDenied},
	} {
		if err := p.ask(c.conn, c.token, c.q); status.Code(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func (p *place) serve(v *calltoken.Verifier, logger *slog.Logger) {
	p.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.ca.AuthorityPEM())
	own := identitytest.Issue(p.t, p.ca, "/crm")
	s, err := crm.NewServer(crm.Config{TLS: backend.Mutual(own.Certificate, pool), Tenant: "acme", Verifier: v, Staff: []string{"carol"}, Logger: logger})
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(p.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Stop
	p.t.Cleanup(func() { s.Stop(); <-done })
	p.addr = l.Addr().String()
}
