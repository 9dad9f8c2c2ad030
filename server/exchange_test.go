package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// foreign is a backend that knows an authorization server and not us, and that server.
type foreign struct {
	crmv1.UnimplementedCustomersServiceServer

	w        *world
	listener net.Listener
	sts      *httptest.Server
	signer   *identitytest.Signer // of what the server issues
	verifier *identity.Verifier   // of the backend
	key      string               // the client's, in PEM

	mu    sync.Mutex
	asked []url.Values
	seen  []string // tokens that the backend got
	who   []string // whose calls it answered
	claim map[string]any
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{listener: listen(t), signer: identitytest.NewSigner(t, "ES256", "sts")}
	f.sts = httptest.NewServer(f)
	t.Cleanup(f.sts.Close)
	var err error
	f.verifier, err = identity.NewVerifier(identity.VerifierConfig{Issuers: []identity.Issuer{{
		Issuer: acmeIssuer, Audiences: []string{"crm"}, Algorithms: []string{"ES256"}, Tenant: "acme", SingleAudience: true, JWKS: identitytest.KeySet(f.signer),
	}}})
	succeed(t, err)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	succeed(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	succeed(t, err)
	f.key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return f
}

// ServeHTTP is the authorization server.
func (f *foreign) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(rw, "form", http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.PostForm)
	own, _, err := identity.Unverified(identity.NewSecret(r.PostForm.Get("subject_token")))
	var person struct{ Sub string }
	if err != nil || json.Unmarshal(own, &person) != nil {
		http.Error(rw, "token", http.StatusBadRequest)
		return
	}
	claims := map[string]any{
		"iss": acmeIssuer, "sub": person.Sub, "aud": r.PostForm.Get("audience"), "scope": r.PostForm.Get("scope"), "act": map[string]any{"sub": "behalf"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(), "jti": rand.Text(),
	}
	for k, v := range f.claim {
		claims[k] = v
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"access_token": f.signer.Token(claims), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 300,
	})
}

// GetCustomer is the backend's.
func (f *foreign) GetCustomer(ctx context.Context, r *crmv1.GetCustomerRequest) (*crmv1.GetCustomerResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	token, ok, err := identity.Credential(md)
	if err != nil || !ok {
		return nil, status.Error(codes.Unauthenticated, "who asks?")
	}
	u, err := f.verifier.Verify(ctx, token, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, token.Reveal())
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "not for me")
	}
	f.who = append(f.who, u.Subject)
	return &crmv1.GetCustomerResponse{CustomerId: r.GetCustomerId()}, nil
}

// edit has the customers behind the foreign backend.
func (f *foreign) edit(t *testing.T) func(*config.Config) {
	t.Helper()
	with := withCRM(t, f.listener.Addr().String(), false)
	return func(c *config.Config) {
		with(c)
		crm := c.Tools["crm"]
		crm.GRPC.Audience = ""
		crm.Exchange = &config.Exchange{
			TokenURL: f.sts.URL + "/token", Audience: "crm",
			Client: config.ExchangeClient{PrivateKeyJWT: &config.ClientKey{ClientID: "behalf", Key: config.NewSecret(f.key)}},
		}
		c.Tools["crm"] = crm
		support := c.Agents["support"]
		support.Tools = []string{"get_customer"}
		c.Agents["support"] = support
	}
}

// serve is the backend, behind mutual TLS.
func (f *foreign) serve(w *world) {
	w.t.Helper()
	f.w = w
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: identitytest.NewSource(w.t, w.acme, "/crm"), Tenants: map[string]string{acmeDomain: "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + acmeDomain + "/behalf"}},
	})
	succeed(w.t, err)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(peers.ServerTLS(identity.CertificateRequired))))
	crmv1.RegisterCustomersServiceServer(s, f)
	done := make(chan error, 1)
	go func() { done <- s.Serve(f.listener) }() // ends with Stop
	w.t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// counts are how often the server was asked and the backend answered.
func (f *foreign) counts() (asked, answered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked), len(f.who)
}

// look calls the tool directly.
func (c *client) look(t *testing.T, of person) (string, error) {
	t.Helper()
	r, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"` + of.subject + `"}`})
	return r.GetResultJson(), err
}

// TestABackendThatDoesNotKnowUsKnowsThePerson goes the whole way: alice's token, the
// gate, the policies, the authorization server, and a backend that trusts only that.
func TestABackendThatDoesNotKnowUsKnowsThePerson(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies})
	f.serve(w)
	a := w.as(alice)

	for range 2 {
		if got, err := a.look(t, alice); err != nil || !strings.Contains(got, `"customer_id":"alice"`) {
			t.Fatalf("got %s, %v, want alice's record", got, err)
		}
	}

	asked, answered := f.counts()
	if asked != 1 || answered != 2 || f.who[0] != "alice" {
		t.Errorf("asked %d times and answered %v, want one exchange for alice's two calls", asked, f.who)
	}
	own := strings.TrimPrefix(a.md.Get("authorization")[0], "Bearer ")
	if form := f.asked[0]; form.Get("subject_token") != own || form.Get("scope") != "crm.read" || form.Get("client_assertion") == "" {
		t.Errorf("got %d parameters, scope %q, want alice's token and what the tool needs", len(form), form.Get("scope"))
	}
	for _, token := range f.seen {
		if token == own {
			t.Error("the backend got alice's own token")
		}
		w.tokens = append(w.tokens, token) // which is in no log and no store either
	}
}

func TestAWrongExchangeIsADenialOnRecordAndNoCall(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies})
	f.serve(w)
	a := w.as(alice)
	f.claim = map[string]any{"scope": "crm.read admin"}

	got, err := a.look(t, alice)

	if err != nil || !strings.Contains(got, "TOOL_UNAVAILABLE") {
		t.Errorf("got %s, %v, want TOOL_UNAVAILABLE", got, err)
	}
	if _, answered := f.counts(); answered != 0 || len(f.seen) != 0 {
		t.Error("the backend was called")
	}
	rows := w.as(bob).records(t, &behalfv1.QueryAuditRequest{Tool: "get_customer", User: alice.subject})
	if len(rows) != 2 || rows[1].GetReason() != behalfv1.ErrorReason_ERROR_REASON_TOOL_UNAVAILABLE && rows[0].GetReason() != behalfv1.ErrorReason_ERROR_REASON_TOOL_UNAVAILABLE {
		t.Errorf("got %v, want the outcome with its reason", rows)
	}
	if !strings.Contains(w.log.String(), "more scopes than were asked for") {
		t.Error("the operator does not learn why")
	}
}

// TestACallElsewhereGetsNoTokenOfOursForAForeignBackend: a toolset has either.
func TestACallElsewhereGetsNoTokenOfOursForAForeignBackend(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies + `@id("checks") permit (principal, action, resource) when { principal in Role::"support" };`})
	f.serve(w)
	a := w.as(alice)

	r, err := a.tools().CheckToolCall(a.ctx(t), &behalfv1.CheckToolCallRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"alice"}`})

	if err != nil || r.GetCallId() == "" || r.GetCallToken() != "" {
		t.Errorf("got the call %q, %d bytes of a token and %v, want the call allowed and no token", r.GetCallId(), len(r.GetCallToken()), err)
	}
	if asked, _ := f.counts(); asked != 0 {
		t.Errorf("asked %d times, want none: an exchanged token is for our own connection", asked)
	}
}

func TestALockForgetsWhatWasIssued(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies + `@id("ops") permit (principal, action in [Action::"lock", Action::"unlock"], resource) when { principal in Role::"manager" };`})
	f.serve(w)
	a, b := w.as(alice), w.as(bob)
	if _, err := a.look(t, alice); err != nil {
		t.Fatal(err)
	}

	succeed(t, b.lock(t, lockUser("acme/dave")))
	if _, err := a.look(t, alice); err != nil {
		t.Fatal(err)
	}

	if asked, _ := f.counts(); asked != 2 {
		t.Errorf("asked %d times, want again after a lock", asked)
	}
	succeed(t, b.lock(t, lockUser("acme/alice")))
	_, err := a.look(t, alice)
	wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
	if asked, _ := f.counts(); asked != 2 {
		t.Errorf("asked %d times, want nothing for who is locked", asked)
	}
}

const runsToo = `@id("staff-runs") permit (principal, action in [Action::"watch_run", Action::"get_run"], resource);`

const approveLooking = runsToo + `
@id("looks-need-a-manager") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");` + mayApprove

// asksFor has the model call the tool once and then say what it read.
func asksFor(t *testing.T, of person) *modeltest.Server {
	t.Helper()
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		switch {
		case bytes.Contains(r.Body, []byte("CREDENTIAL_REQUIRED")):
			return modeltest.Reply{Text: "They must come back."}
		case bytes.Contains(r.Body, []byte(`"role":"tool"`)):
			return modeltest.Reply{Text: "Found."}
		}
		return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "get_customer", Arguments: `{"customer_id":"` + of.subject + `"}`}}}
	})
	return m
}

func TestARunThatIsWokenWithoutItsPersonsTokenAsksForThem(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies + approveLooking, model: asksFor(t, alice)})
	f.serve(w)
	a, b := w.as(alice), w.as(bob)
	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "look me up"})
	wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")

	succeed(t, b.decide(t, about(err, "approval_id"), true))

	end := a.finished(t, about(err, "run_id")).GetRunFinished()
	if end.GetOutput() != "They must come back." {
		t.Errorf("got %v, want the agent to say that the person is needed", end)
	}
	if asked, answered := f.counts(); asked != 0 || len(f.seen) != 0 || answered != 0 {
		t.Errorf("asked %d times and called %d times, want nothing: not with bob's token either", asked, len(f.seen))
	}
}

func TestADetachedRunExchangesTheTokenThatItBeganWith(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies + runsToo, model: asksFor(t, alice), embedded: true})
	f.serve(w)
	a := w.as(alice)

	r, err := a.runs().CreateRun(a.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "look me up"})
	succeed(t, err)

	if end := a.finished(t, r.GetRunId()).GetRunFinished(); end.GetOutput() != "Found." {
		t.Errorf("got %v, want the record", end)
	}
	if asked, answered := f.counts(); asked != 1 || answered != 1 {
		t.Errorf("asked %d times and answered %d times, want both once", asked, answered)
	}
}

func TestAConversationExchangesTheTokenOfItsRefresh(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	m := modeltest.NewServer(t)
	w := newWorld(t, setup{edit: f.edit(t), bare: crmPolicies + runsToo, model: m})
	f.serve(w)
	call := modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "get_customer", Arguments: `{"customer_id":"alice"}`}}}
	m.Queue("scripted", call, modeltest.Reply{Text: "Found."}, call, modeltest.Reply{Text: "Again."})
	k := w.as(alice).converse(t)
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{Target: &behalfv1.OpenConversation_Agent{Agent: "support"}}}})
	k.say("look me up")
	k.until(finished)
	fresh := w.token(w.idp, alice, map[string]any{"jti": "fresh"})

	k.refresh(fresh)
	k.say("again")
	k.until(finished)

	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) != 2 || f.asked[0].Get("subject_token") == fresh || f.asked[1].Get("subject_token") != fresh || len(f.who) != 2 {
		t.Errorf("got %d exchanges and %d answers, want the second with the fresh token", len(f.asked), len(f.who))
	}
}

// TestAnMCPServerGetsAnExchangedToken is the same seam for the other kind of source.
func TestAnMCPServerGetsAnExchangedToken(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	wiki := mcp.NewServer(&mcp.Implementation{Name: "wiki", Version: "1"}, nil)
	type page struct {
		Page string `json:"page"`
	}
	mcp.AddTool(wiki, &mcp.Tool{Name: "getPage", Description: "Reads a page."}, func(ctx context.Context, r *mcp.CallToolRequest, _ page) (*mcp.CallToolResult, any, error) {
		u, err := f.verifier.Verify(ctx, identity.NewSecret(strings.TrimPrefix(r.Extra.Header.Get("Authorization"), "Bearer ")), "")
		if err != nil {
			return nil, nil, errors.New("who asks?")
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: u.Subject + " asks"}}}, nil, nil
	})
	server := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return wiki }, nil))
	t.Cleanup(server.Close)
	with := f.edit(t)
	w := newWorld(t, setup{bare: `@id("staff") permit (principal, action == Action::"call_tool", resource in Toolset::"wiki");`, edit: func(c *config.Config) {
		with(c)
		x := c.Tools["crm"].Exchange
		c.Tools = map[string]config.Toolset{"wiki": {
			MCP:      &config.MCP{URL: server.URL, Pins: t.TempDir() + "/tools.lock", TrustOnFirstUse: true},
			Tools:    map[string]config.Tool{"getPage": {Scopes: []string{"crm.read"}, Effect: "read"}},
			Exchange: x,
		}}
		for name, a := range c.Agents {
			a.Tools, a.Handoffs = nil, nil
			c.Agents[name] = a
		}
	}})
	a := w.as(alice)

	r, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_page", ArgumentsJson: `{"page":"start"}`})

	if err != nil || !strings.Contains(r.GetResultJson(), "alice asks") {
		t.Errorf("got %s, %v, want an answer for alice", r.GetResultJson(), err)
	}
	if asked, _ := f.counts(); asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}
