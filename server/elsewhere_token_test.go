package server_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/calltoken"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// raw is a codec that leaves messages as they are, as an executor needs that was
// handed the bytes to send.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("not bytes")
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errors.New("not bytes")
	}
	*b = data.Materialize()
	return nil
}

// crmOf connects to the customers as the executor that has the SVID.
func (w *world) crmOf(l net.Listener, svid *identity.SVID) *grpc.ClientConn {
	w.t.Helper()
	source := identitytest.NewSource(w.t, w.acme, "/nobody")
	source.Use(svid)
	cfg, err := identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{"spiffe://" + acmeDomain + "/crm"}})
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// orders asks for them, as an executor does with what its check gave.
func orders(t *testing.T, conn *grpc.ClientConn, method, token string, payload []byte) (*crmv1.ListOrdersResponse, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []byte
	err := conn.Invoke(metadata.AppendToOutgoingContext(ctx, calltoken.Header, "Bearer "+token), method, payload, &got, grpc.ForceCodecV2(raw{}))
	out := &crmv1.ListOrdersResponse{}
	return out, errors.Join(err, proto.Unmarshal(got, out))
}

const herOwn = `{"customer_id":"alice"}`

// executed is a world whose customers are asked by an executor outside.
func executed(t *testing.T) (*world, net.Listener, *logBuffer) {
	t.Helper()
	l := listen(t)
	w := newWorld(t, setup{optional: true, edit: withCRM(t, l.Addr().String(), false), bare: crmPolicies})
	said := w.crmBackend(l, func(v *calltoken.VerifierConfig) {
		v.Clients = []string{calltoken.AnyClient} // so that what refuses is not the list
	})
	return w, l, said
}

// secretCheck checks a call, and holds the token to what holds for all tokens: it may
// be nowhere in logs and state.
func (w *world) secretCheck(c *client, r *behalfv1.CheckToolCallRequest) *behalfv1.CheckToolCallResponse {
	w.t.Helper()
	got := c.check(w.t, r)
	if token := got.GetCallToken(); token != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tokens = append(w.tokens, token)
	}
	return got
}

// TestAnExecutorElsewhereCallsTheBackendInThePersonsName goes the whole way: alice's
// token and the executor's certificate, the check, and a backend that verifies what
// behalf gave for that certificate and knows alice.
func TestAnExecutorElsewhereCallsTheBackendInThePersonsName(t *testing.T) {
	t.Parallel()
	w, l, said := executed(t)
	app := w.workload(w.acme, "/app")
	a := &client{w.dial(app), bearer(w.token(w.idp, alice, nil))}
	ask := &behalfv1.CheckToolCallRequest{Tool: "list_orders", ArgumentsJson: herOwn}
	const method = crmv1.CustomersService_ListOrders_FullMethodName
	conn := w.crmOf(l, app)

	got := w.secretCheck(a, ask)
	r, err := orders(t, conn, method, got.GetCallToken(), got.GetSentPayload())
	if err != nil || len(r.GetOrders()) != 2 {
		t.Fatalf("got %v, %v, want alice's orders", r, err)
	}
	if shown, err := a.report(t, got.GetCallId(), false, `{"orders":["mug"]}`); err != nil || !strings.Contains(shown, "mug") {
		t.Errorf("got %s, %v", shown, err)
	}
	if text := said.String(); !strings.Contains(text, "list_orders for alice") || !strings.Contains(text, got.GetCallId()) {
		t.Errorf("the backend wrote %q, want that alice asked, and by which decision", text)
	}

	bobs, err := proto.Marshal(&crmv1.ListOrdersRequest{CustomerId: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() string {
		c := w.secretCheck(a, ask)
		if _, err := a.report(t, c.GetCallId(), true, `"not made"`); err != nil {
			t.Fatal(err)
		}
		return c.GetCallToken()
	}
	for name, c := range map[string]struct {
		conn    *grpc.ClientConn
		method  string
		token   string
		payload []byte
	}{
		"second use":                             {conn, method, got.GetCallToken(), got.GetSentPayload()},
		"other arguments":                        {conn, method, fresh(), bobs},
		"another tool":                           {conn, crmv1.CustomersService_GetCustomer_FullMethodName, fresh(), got.GetSentPayload()},
		"another workload":                       {w.crmOf(l, w.workload(w.acme, "/batch")), method, fresh(), got.GetSentPayload()},
		"another certificate of the same":        {w.crmOf(l, w.workload(w.acme, "/app")), method, fresh(), got.GetSentPayload()},
		"behalf itself, whose token this is not": {w.crmOf(l, w.workload(w.acme, "/behalf")), method, fresh(), got.GetSentPayload()},
	} {
		if r, err := orders(t, c.conn, c.method, c.token, c.payload); code(err) != codes.Unauthenticated {
			t.Errorf("%s: got %v, %v, want it refused", name, r, err)
		}
	}
}

// code is that of the first error that has one.
func code(err error) codes.Code {
	if s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return s.GRPCStatus().Code()
	}
	return status.Code(err)
}

func TestATokenOfACheckIsGivenOnceAndToNobodyWithoutACertificate(t *testing.T) {
	t.Parallel()
	w, _, _ := executed(t)
	token := bearer(w.token(w.idp, alice, nil))
	a := &client{w.dial(w.workload(w.acme, "/app")), token}
	ask := &behalfv1.CheckToolCallRequest{Tool: "list_orders", ArgumentsJson: herOwn, RequestId: "one"}

	got := w.secretCheck(a, ask)
	if got.GetCallToken() == "" || len(got.GetSentPayload()) == 0 {
		t.Fatalf("got %v, want a token", got)
	}
	if again := a.check(t, ask); again.GetCallId() != got.GetCallId() || again.GetCallToken() != "" || again.GetSentPayload() != nil {
		t.Errorf("got %v, want the same call, and no token of it again", again)
	}
	bare := &client{w.dial(nil), token}
	if c := bare.check(t, &behalfv1.CheckToolCallRequest{Tool: "list_orders", ArgumentsJson: herOwn}); c.GetCallToken() != "" || c.GetSentPayload() != nil {
		t.Errorf("got %v, want no token that anybody could use", c)
	}
	_, err := a.checks(t, &behalfv1.CheckToolCallRequest{Tool: "refund_order", ArgumentsJson: `{"customer_id":"alice","order_id":"forbidden","amount_cents":"1"}`})
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
}

// TestNobodyGetsByATokenWhatBehalfTakesOut: the backend would answer its bearer in full.
func TestNobodyGetsByATokenWhatBehalfTakesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true, edit: withCRM(t, "localhost:1", false), bare: crmPolicies + `
@id("no-items") @redact("result:$.orders[*].item") forbid (principal, action == Action::"call_tool", resource == Tool::"list_orders");`})
	a := &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.idp, alice, nil))}

	for tool, why := range map[string]string{"list_orders": "a policy redacts its result", "get_customer": "its answer has a field that is hidden"} {
		if got := a.check(t, &behalfv1.CheckToolCallRequest{Tool: tool, ArgumentsJson: herOwn}); got.GetCallToken() != "" || got.GetSentPayload() != nil {
			t.Errorf("%s: got a token, although %s", tool, why)
		}
	}
}
