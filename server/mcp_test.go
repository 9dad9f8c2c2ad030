package server_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func withMCP(c *config.Config) { withHTTP(c); c.Server.MCP = true }

// tokenOf adds a person's token to each request.
type tokenOf string

func (t tokenOf) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", string(t))
	return http.DefaultTransport.RoundTrip(r)
}

// ide is an MCP client that a person uses.
func (w *world) ide(who person) *mcp.ClientSession {
	w.t.Helper()
	token := "Bearer " + w.token(w.idp, who, nil)
	c := mcp.NewClient(&mcp.Implementation{Name: "ide", Version: "1"}, nil)
	s, err := c.Connect(w.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: "http://" + w.http + "/mcp", HTTPClient: &http.Client{Transport: tokenOf(token)}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

func use(t *testing.T, s *mcp.ClientSession, tool string, args map[string]any) (text string, failed bool) {
	t.Helper()
	r, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Content {
		if tc, ok := c.(*mcp.TextContent); ok {
			text += tc.Text
		}
	}
	return text, r.IsError
}

// TestAnMCPClientUsesGovernedTools goes through the same identity, gate and record
// as gRPC.
func TestAnMCPClientUsesGovernedTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})
	ide := w.ide(alice)

	names := map[string]bool{}
	for tool, err := range ide.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		names[tool.Name] = true
	}
	if !names["get_customer"] || !names["agent-triage"] {
		t.Errorf("got %v, want the tools and the agents that alice may use", names)
	}
	if text, failed := use(t, ide, "get_customer", map[string]any{"customer_id": "C-1001"}); failed || !strings.Contains(text, "C-1001") {
		t.Errorf("got %s, %v", text, failed)
	}
	if text, failed := use(t, ide, "refund_order", map[string]any{"order_id": "o-5002", "amount_cents": 74900, "reason": "x"}); !failed || !strings.Contains(text, "POLICY_DENIED") {
		t.Errorf("got %s, %v, want the refund refused with its reason", text, failed)
	}
	if text, failed := use(t, ide, "agent-triage", map[string]any{"input": "hello"}); failed || text == "" {
		t.Errorf("got %s, %v, want the agent's answer", text, failed)
	}
	if text, failed := use(t, ide, "no_such", nil); !failed || !strings.Contains(text, "TOOL_UNKNOWN") {
		t.Errorf("got %s, %v", text, failed)
	}

	refunds := w.as(bob).records(t, &behalfv1.QueryAuditRequest{Tool: "refund_order"})
	if len(refunds) == 0 || refunds[0].GetUser().GetSubject() != alice.subject {
		t.Errorf("got %v, want alice's denial on record", refunds)
	}
}

// TestManyMCPClientsDoNotWaitForEachOther, not even where one connection would carry
// a single call.
func TestManyMCPClientsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	m, asked := modeltest.NewServer(t), make(chan struct{}, 1)
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		asked <- struct{}{}
		return modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: modeltest.Hang, FaultAfter: 1}
	})
	w := newWorld(t, setup{model: m, edit: func(c *config.Config) { withMCP(c); c.Server.Limits.StreamsPerConnection = 1 }})
	ctx, cancel := context.WithCancel(t.Context())
	ide, done := w.ide(alice), make(chan struct{})
	go func() {
		defer close(done)
		_, _ = ide.CallTool(ctx, &mcp.CallToolParams{Name: "agent-support", Arguments: map[string]any{"input": "hello"}})
	}()
	<-asked
	if text, failed := use(t, w.ide(bob), "get_customer", map[string]any{"customer_id": "C-1001"}); failed || !strings.Contains(text, "C-1001") {
		t.Errorf("got %s, %v, want bob's call while alice's agent works", text, failed)
	}
	cancel()
	<-done
}

// TestManyCallsOfAnMCPClientLeaveTheirPlaces makes more of each kind, one after the
// other, than there are places.
func TestManyCallsOfAnMCPClientLeaveTheirPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { withMCP(c); c.Server.Limits.StreamsPerConnection = 1 }})
	ide := w.ide(alice)
	for n := range 40 {
		for tool, args := range map[string]map[string]any{"get_customer": {"customer_id": "C-1001"}, "agent-support": {"input": "hello"}} {
			if text, failed := use(t, ide, tool, args); failed {
				t.Fatalf("call %d of %s: got %s", n, tool, text)
			}
		}
	}
}

// TestTheMCPFaceOpensNoOtherDoor: who comes by a socket is asked for a certificate and
// held to whom it may bring, as without it.
func TestTheMCPFaceOpensNoOtherDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})
	a := w.as(alice)
	if r, err := a.admin().WhoAmI(a.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil || r.GetWorkload().GetSpiffeId() == "" {
		t.Errorf("got %v, %v, want the workload that brought alice", r, err)
	}
	stranger := &client{w.dial(w.workload(w.acme, "/nobody")), bearer(w.token(w.idp, alice, nil))}
	if err := stranger.whoAmI(t); err == nil {
		t.Error("a workload without a grant brought alice")
	}
}

func TestTheMCPFaceAsksWhoComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})
	post := func(change func(*http.Request)) (int, string, string) {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "http://"+w.http+"/mcp",
			strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		change(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate"), string(body)
	}
	good := "Bearer " + w.token(w.idp, alice, nil)
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"nobody":     {func(*http.Request) {}, 401},
		"garbage":    {func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401},
		"two tokens": {func(r *http.Request) { r.Header["Authorization"] = []string{good, good} }, 401},
		"a cookie":   {func(r *http.Request) { r.Header.Set("Cookie", "authorization="+good) }, 401},
		"another site": {func(r *http.Request) {
			r.Header.Set("Authorization", good)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}, 403},
		"another host":  {func(r *http.Request) { r.Header.Set("Authorization", good); r.Host = "evil.example" }, 403},
		"too large":     {func(r *http.Request) { r.Header.Set("Authorization", good); large(r) }, 413},
		"alice herself": {func(r *http.Request) { r.Header.Set("Authorization", good) }, 200},
	} {
		code, where, body := post(c.change)
		if code != c.want && !(c.want == 413 && code == 400) {
			t.Errorf("%s: got %d %s, want %d", name, code, body, c.want)
		}
		if c.want == 401 && !strings.Contains(where, "http://"+w.http+"/.well-known/oauth-protected-resource/mcp") {
			t.Errorf("%s: got %q, want where to get a token", name, where)
		}
	}
	code, text := w.get("/.well-known/oauth-protected-resource/mcp")
	if code != http.StatusOK || !strings.Contains(text, acmeIssuer) || !strings.Contains(text, "http://"+w.http+"/mcp") {
		t.Errorf("got %d %s, want the resource and its issuers", code, text)
	}
}

func large(r *http.Request) {
	r.Body = io.NopCloser(strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list","x":"` + strings.Repeat("x", 2<<20) + `"}`))
	r.ContentLength = -1
}

func TestNoMCPWithoutTheConfigSaying(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { withMCP(c); c.Server.MCP = false }})
	if code, _ := w.get("/mcp"); code != http.StatusNotFound {
		t.Errorf("got %d, want no such page", code)
	}
}

// TestABatchOfMessagesIsRefused: the limits count requests, and so must each be one
// call. Older versions of the protocol have batches.
func TestABatchOfMessagesIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})
	const one = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_customer","arguments":{"customer_id":"C-1001"}}}`
	post := func(body, version string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.http+"/mcp", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {version}, "Authorization": {"Bearer " + w.token(w.idp, alice, nil)}}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}

	for _, version := range []string{"2025-03-26", "2025-06-18"} {
		for _, body := range []string{"[" + one + "," + one + "]", " \r\n\t[" + one + "]", "[]"} {
			if code, text := post(body, version); code != http.StatusBadRequest || strings.Contains(text, "C-1001") || !strings.Contains(text, "batches are not taken") {
				t.Errorf("%s, %.20q: got %d %s", version, body, code, text)
			}
		}
		if code, text := post(" "+one, version); code != http.StatusOK || !strings.Contains(text, "C-1001") {
			t.Errorf("%s: one message: got %d %s", version, code, text)
		}
	}

	if rows := w.as(bob).records(t, &behalfv1.QueryAuditRequest{Tool: "get_customer", User: alice.subject}); len(rows) != 4 {
		t.Errorf("got %d records, want decision and outcome of two calls", len(rows))
	}
}
