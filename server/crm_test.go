package server_test

import (
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/crm"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
)

const tokenIssuer = "https://behalf.test"

// withCRM has the customers behind gRPC, and nothing in process. Their methods are
// known by the descriptor set, or by asking.
func withCRM(t *testing.T, target string, ask bool) func(*config.Config) {
	t.Helper()
	set, err := supportdesk.Files.ReadFile("crm.binpb")
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/crm.binpb"
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	if ask {
		file = ""
	}
	return func(c *config.Config) {
		withHTTP(c)
		c.CallTokens.Issuer = tokenIssuer
		c.Tools = map[string]config.Toolset{"crm": {GRPC: &config.GRPC{
			Target: target, Services: []string{"crm.v1.CustomersService"}, Audience: "crm", ServerID: "spiffe://" + acmeDomain + "/crm", DescriptorSet: file,
		}}}
		for name := range c.Agents {
			a := c.Agents[name]
			a.Tools = nil
			c.Agents[name] = a
		}
		helper := c.Agents["triage"]
		helper.Tools = []string{"get_customer"}
		c.Agents["triage"] = helper
	}
}

const crmPolicies = `
@id("staff-run") permit (principal, action in [Action::"run_agent", Action::"get_agent", Action::"list_tools"], resource) when { principal in Role::"support" || principal in Role::"manager" };
@id("staff-crm") permit (principal, action == Action::"call_tool", resource in Toolset::"crm") when { principal in Role::"support" || principal in Role::"manager" };
@id("no-large-refunds") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args has order_id && context.args.order_id == "forbidden" };
@id("auditors-read") permit (principal in Role::"manager", action in [Action::"query_audit", Action::"verify_audit"], resource);
`

// crmBackend serves the customers on l to whom behalf calls for, unless it is edited.
func (w *world) crmBackend(l net.Listener, edit ...func(*calltoken.VerifierConfig)) *logBuffer {
	w.t.Helper()
	c := calltoken.VerifierConfig{
		Issuer: tokenIssuer, Audience: "crm", JWKSURL: "http://" + w.http + "/.well-known/jwks.json", Clients: []string{"spiffe://" + acmeDomain + "/behalf"},
	}
	for _, f := range edit {
		f(&c)
	}
	v, err := calltoken.NewVerifier(c)
	if err != nil {
		w.t.Fatal(err)
	}
	said := &logBuffer{}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.acme.AuthorityPEM())
	own := identitytest.Issue(w.t, w.acme, "/crm")
	s, err := crm.NewServer(crm.Config{TLS: backend.Mutual(own.Certificate, pool), Tenant: "acme", Verifier: v, Logger: backend.NewLog(said, "crm")})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Stop
	w.t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return said
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestABackendSeesWhoIsBehindEachCall goes the whole way: alice's token, the gate, the
// policies, a token for this call, and a backend that verifies it and knows her.
func TestABackendSeesWhoIsBehindEachCall(t *testing.T) {
	t.Parallel()
	l := listen(t)
	w := newWorld(t, setup{edit: withCRM(t, l.Addr().String(), false), bare: crmPolicies})
	said := w.crmBackend(l)
	a := w.as(alice)

	own, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"` + alice.subject + `"}`})
	if err != nil || own.GetFailed() {
		t.Fatalf("got %v, %v", own, err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(own.GetResultJson()), &got); err != nil || !strings.Contains(own.GetResultJson(), alice.subject) {
		t.Errorf("got %s, %v, want alice's record", own.GetResultJson(), err)
	}
	_, err = a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"bob"}`})
	wantError(t, err, codes.PermissionDenied, "OWNER_MISMATCH")

	if text := said.String(); strings.Count(text, alice.subject) == 0 || strings.Contains(text, "bob") {
		t.Errorf("the backend wrote %q, want that alice asked, and nobody else", text)
	}
	rows := w.as(bob).records(t, &behalfv1.QueryAuditRequest{Tool: "get_customer", User: alice.subject})
	if len(rows) < 3 {
		t.Errorf("got %v, want the call and the refusal on record", rows)
	}
}

// TestABackendThatIsDownStopsNobody begins without the backend: the server starts, its
// tools are not there, and with a descriptor set they are and say that it is away.
func TestABackendThatIsDownStopsNobody(t *testing.T) {
	t.Parallel()
	l := listen(t)
	target := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{edit: withCRM(t, target, false), bare: crmPolicies})
	a := w.as(alice)

	r, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"` + alice.subject + `"}`})

	if err == nil && (!r.GetFailed() || !strings.Contains(r.GetResultJson(), "TOOL_UNAVAILABLE")) {
		t.Errorf("got %v, want a failed result that says that it is away", r)
	}
}
