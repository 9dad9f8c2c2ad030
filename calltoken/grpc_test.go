package calltoken_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// backend is a service behind mutual TLS whose handlers say who asks.
type backend struct {
	grpc_health_v1.UnimplementedHealthServer

	asked chan string
}

func (b *backend) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	b.tell(ctx)
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func (b *backend) Watch(_ *grpc_health_v1.HealthCheckRequest, s grpc_health_v1.Health_WatchServer) error {
	b.tell(s.Context())
	return s.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING})
}

func (b *backend) List(ctx context.Context, _ *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	b.tell(ctx)
	return &grpc_health_v1.HealthListResponse{}, nil
}

func (b *backend) tell(ctx context.Context) {
	c, ok := calltoken.FromContext(ctx)
	if !ok {
		b.asked <- "nobody"
		return
	}
	b.asked <- c.Subject + " by " + c.Actor.Subject
}

// names are the backend's tools. Somebody forgot List.
func names(method string) string {
	return map[string]string{
		grpc_health_v1.Health_Check_FullMethodName: "check",
		grpc_health_v1.Health_Watch_FullMethodName: "watch",
	}[method]
}

// stand is both sides with everything in between.
type stand struct {
	*backend
	keys   *calltoken.Keys
	v      *calltoken.Verifier
	conn   grpc_health_v1.HealthClient
	svid   *identity.SVID
	server *tls.Config
	client *tls.Config
}

func newStand(t *testing.T) *stand {
	t.Helper()
	ca := identitytest.NewCA(t)
	s := &stand{backend: &backend{asked: make(chan string, 16)}, keys: newKeys(t, "", nil), svid: identitytest.Issue(t, ca, "/behalf")}
	jwks, err := s.keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	if s.v, err = calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKS: jwks, Clients: []string{s.svid.ID}}); err != nil {
		t.Fatal(err)
	}
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: identitytest.NewSource(t, ca, "/crm"), Tenants: map[string]string{ca.TrustDomain(): "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + ca.TrustDomain() + "/behalf"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server = peers.ServerTLS(identity.CertificateRequired)
	source := identitytest.NewSource(t, ca, "/behalf")
	source.Use(s.svid)
	if s.client, err = identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{"spiffe://" + ca.TrustDomain() + "/crm"}}); err != nil {
		t.Fatal(err)
	}
	s.serve(t)
	return s
}

func (s *stand) serve(t *testing.T, open ...string) {
	t.Helper()
	g := grpc.NewServer(append(s.v.ServerOptions(names, open...), grpc.Creds(credentials.NewTLS(s.server)))...)
	grpc_health_v1.RegisterHealthServer(g, s.backend)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }() // ends with Stop
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(s.client)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.conn = grpc_health_v1.NewHealthClient(conn)
}

// token is one for a call of the check tool with a request, less what edit changes.
func (s *stand) token(t *testing.T, req *grpc_health_v1.HealthCheckRequest, edit func(*calltoken.Claims)) string {
	t.Helper()
	sent, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	c := claims()
	c.ClientID, c.Tool, c.Arguments, c.Confirmation.Thumbprint = s.svid.ID, "check", calltoken.Digest(sent), s.svid.Thumbprint
	if edit != nil {
		edit(&c)
	}
	token, err := s.keys.Mint(c, calltoken.TypeCall, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token.Reveal()
}

func with(t *testing.T, values ...string) context.Context {
	md := metadata.MD{}
	md.Append(calltoken.Header, values...)
	return metadata.NewOutgoingContext(t.Context(), md)
}

func TestABackendKnowsWhoAsks(t *testing.T) {
	s, req := newStand(t), &grpc_health_v1.HealthCheckRequest{Service: "seven"}

	if _, err := s.conn.Check(with(t, s.token(t, req, nil)), req); err != nil {
		t.Fatal(err)
	}
	w, err := s.conn.Watch(with(t, s.token(t, req, func(c *calltoken.Claims) { c.Tool = "watch" })), req)
	if err == nil {
		_, err = w.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"alice by billing", "alice by billing"} {
		if got := <-s.asked; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestABackendRefusesEveryCallThatWasNotDecided(t *testing.T) {
	s, req := newStand(t), &grpc_health_v1.HealthCheckRequest{Service: "seven"}
	used := s.token(t, req, nil)
	if _, err := s.conn.Check(with(t, used), req); err != nil {
		t.Fatal(err)
	}
	<-s.asked
	good := func(edit func(*calltoken.Claims)) []string { return []string{s.token(t, req, edit)} }
	for name, values := range map[string][]string{
		"no token":              nil,
		"two tokens":            append(good(nil), good(nil)...),
		"another scheme":        {strings.Replace(good(nil)[0], "Bearer", "Basic", 1)},
		"used before":           {used},
		"another workload":      good(func(c *calltoken.Claims) { c.ClientID = "spiffe://test.behalf/other" }),
		"another certificate":   good(func(c *calltoken.Claims) { c.Confirmation.Thumbprint = calltoken.Thumbprint([]byte("x")) }),
		"bound to nothing":      good(func(c *calltoken.Claims) { c.Confirmation = calltoken.Confirmation{} }),
		"another tool":          good(func(c *calltoken.Claims) { c.Tool = "watch" }),
		"changed arguments":     good(func(c *calltoken.Claims) { c.Arguments = calltoken.Digest([]byte("x")) }),
		"another audience":      good(func(c *calltoken.Claims) { c.Audience = "billing" }),
		"an unknown obligation": good(func(c *calltoken.Claims) { c.Decision.Effects = []string{"watermark"} }),
	} {
		_, unary := s.conn.Check(with(t, values...), req)
		var streamed error
		w, err := s.conn.Watch(with(t, values...), req)
		if err == nil {
			_, streamed = w.Recv()
		}
		for door, err := range map[string]error{"unary": unary, "stream": streamed} {
			if door == "stream" && name == "another tool" {
				continue // it is the stream's
			}
			if st := status.Convert(err); st.Code() != codes.Unauthenticated || st.Message() != "the call token was not accepted" {
				t.Errorf("%s, %s: got %v", name, door, err)
			}
		}
	}
	for len(s.asked) > 0 {
		if got := <-s.asked; got != "alice by billing" { // the stream's own tool
			t.Errorf("%s reached a handler", got)
		}
	}
}

// A method that nobody gave a name is not open: its service must be named for that.
func TestOnlyAServiceThatIsSaidToBeOpenNeedsNoToken(t *testing.T) {
	s, req := newStand(t), &grpc_health_v1.HealthListRequest{}
	good := s.token(t, &grpc_health_v1.HealthCheckRequest{}, func(c *calltoken.Claims) { c.Tool = "list"; c.Arguments = calltoken.Digest(nil) })
	for name, ctx := range map[string]context.Context{"no token": t.Context(), "a good token": with(t, good)} {
		if _, err := s.conn.List(ctx, req); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: got %v for a method without a name", name, err)
		}
	}

	s.serve(t, "grpc.health.v1.Health")
	if _, err := s.conn.List(t.Context(), req); err != nil {
		t.Errorf("got %v from a service that is open", err)
	}
	if got := <-s.asked; got != "nobody" {
		t.Errorf("got %q, want nobody named", got)
	}
}

func TestAnHTTPBackendRefusesTheSame(t *testing.T) {
	s := newStand(t)
	h := s.v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c, _ := calltoken.FromContext(r.Context())
		_, _ = io.WriteString(w, c.Subject+" sent "+string(body))
	}), func(r *http.Request) string {
		if body, _ := io.ReadAll(r.Body); len(body) == 0 {
			t.Error("who names the tool sees no body")
		}
		return strings.TrimPrefix(r.URL.Path, "/")
	})
	server := httptest.NewUnstartedServer(h)
	server.Listener = tls.NewListener(server.Listener, s.server) // it would bring a certificate of its own
	server.Start()
	defer server.Close()
	url := strings.Replace(server.URL, "http:", "https:", 1)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.client}}
	defer client.CloseIdleConnections()
	post := func(path, body, sent string) (int, string) {
		c := claims()
		c.ClientID, c.Tool, c.Arguments, c.Confirmation.Thumbprint = s.svid.ID, "pay", calltoken.Digest([]byte(sent)), s.svid.Thumbprint
		token, err := s.keys.Mint(c, calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(calltoken.Header, "Bearer "+token.Reveal())
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, strings.TrimSpace(string(text))
	}

	if code, text := post("/pay", `{"to":"bob"}`, `{"to":"bob"}`); code != http.StatusOK || text != `alice sent {"to":"bob"}` {
		t.Errorf("got %d %s, want it served with its body", code, text)
	}
	if code, _ := post("/pay", `{"to":"eve"}`, `{"to":"bob"}`); code != http.StatusUnauthorized {
		t.Errorf("got %d for another body", code)
	}
	if code, _ := post("/refund", `{"to":"bob"}`, `{"to":"bob"}`); code != http.StatusUnauthorized {
		t.Errorf("got %d for another tool", code)
	}
	if code, _ := post("/", `{"to":"bob"}`, `{"to":"bob"}`); code != http.StatusUnauthorized {
		t.Errorf("got %d for what is no tool", code)
	}
	for _, query := range []string{"?to=eve", "?"} {
		if code, _ := post("/pay"+query, `{"to":"bob"}`, `{"to":"bob"}`); code != http.StatusUnauthorized {
			t.Errorf("got %d for the query %q, which nobody decided about", code, query)
		}
	}
	large := strings.Repeat("x", 1<<20+1)
	if code, _ := post("/pay", large, large); code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d for a body that is too large", code)
	}
}
