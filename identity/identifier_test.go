package identity_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// town has two tenants, a carrier for any of them, and one issuer for each.
type town struct {
	acme, lab, carrier *identity.DevCA
	idp, labIDP        *identity.DevIssuer
	peers              *identity.Peers
	verifier           *identity.Verifier
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{acme: identitytest.NewCAOf(t, "acme.example"), lab: identitytest.NewCAOf(t, "lab.example"), carrier: identitytest.NewCAOf(t, "gateway.example")}
	src := identitytest.NewSource(t, w.acme, "/server")
	src.Trust(identitytest.BundleOf(t, w.lab))
	src.Trust(identitytest.BundleOf(t, w.carrier))
	w.idp, w.labIDP = devIssuer(t, "https://idp.acme"), devIssuer(t, "https://idp.lab")
	both := []string{"https://idp.acme", "https://idp.lab"}
	w.peers = newPeers(t, identity.PeersConfig{
		Source:  src,
		Tenants: map[string]string{"acme.example": "acme", "lab.example": "lab", "gateway.example": identity.AnyTenant},
		Grants: []identity.WorkloadGrant{
			{ID: "spiffe://acme.example/web", Scopes: []string{"crm.read"}, Issuers: both},
			{ID: "spiffe://acme.example/job", Scopes: []string{"crm.read"}},
			{ID: "spiffe://lab.example/**", Issuers: both},
			{ID: "spiffe://gateway.example/edge", Scopes: []string{"crm.read"}, Issuers: both},
		},
	})
	w.verifier = newVerifier(t, nil, w.idp.Issuer("behalf", "acme"), w.labIDP.Issuer("behalf", "lab"))
	return w
}

func devIssuer(t testing.TB, url string) *identity.DevIssuer {
	t.Helper()
	d, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *town) identifier(t testing.TB, mode identity.ClientCertificate) *identity.Identifier {
	t.Helper()
	i, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: w.peers, Verifier: w.verifier, ClientCertificate: mode})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func ann() map[string]any { return map[string]any{"sub": "ann", "aud": "behalf", "scope": "crm.read"} }

func TestIdentifierMatrix(t *testing.T) {
	w := newTown(t)
	md := identitytest.Metadata(identitytest.Token(t, w.idp, ann()))
	labMD := identitytest.Metadata(identitytest.Token(t, w.labIDP, ann()))
	web, job := identitytest.Issue(t, w.acme, "/web"), identitytest.Issue(t, w.acme, "/job")
	edge, lab := identitytest.Issue(t, w.carrier, "/edge"), identitytest.Issue(t, w.lab, "/x")
	bound := ann()
	bound["cnf"] = map[string]any{"x5t#S256": web.Thumbprint}
	boundMD := identitytest.Metadata(identitytest.Token(t, w.idp, bound))
	required, optional := identity.CertificateRequired, identity.CertificateOptional

	for name, row := range map[string]struct {
		mode     identity.ClientCertificate
		state    *tls.ConnectionState
		md       map[string][]string
		reason   fault.Reason // empty: accepted
		code     codes.Code
		subject  string
		tenant   string
		workload bool
	}{
		"both":                             {required, identitytest.State(web), md, "", 0, "ann", "acme", true},
		"workload alone":                   {required, identitytest.State(web), nil, "", 0, web.ID, "acme", true},
		"person alone, optional":           {optional, identitytest.State(nil), md, "", 0, "ann", "acme", false},
		"person alone, required":           {required, identitytest.State(nil), md, fault.CredentialRequired, codes.Unauthenticated, "", "", false},
		"nobody, optional":                 {optional, identitytest.State(nil), nil, fault.CredentialRequired, codes.Unauthenticated, "", "", false},
		"nobody, required":                 {required, identitytest.State(nil), nil, fault.CredentialRequired, codes.Unauthenticated, "", "", false},
		"no TLS":                           {optional, nil, md, fault.CredentialRequired, codes.Unauthenticated, "", "", false},
		"carrier with a person":            {required, identitytest.State(edge), md, "", 0, "ann", "acme", true},
		"carrier with a person of another": {required, identitytest.State(edge), labMD, "", 0, "ann", "lab", true},
		"carrier alone":                    {required, identitytest.State(edge), nil, fault.CredentialRequired, codes.Unauthenticated, "", "", false},
		"workload that carries nobody":     {required, identitytest.State(job), md, fault.CarrierNotAllowed, codes.PermissionDenied, "", "", false},
		"tenants disagree":                 {required, identitytest.State(web), labMD, fault.TenantMismatch, codes.PermissionDenied, "", "", false},
		"tenants disagree the other way":   {required, identitytest.State(lab), md, fault.TenantMismatch, codes.PermissionDenied, "", "", false},
		"workload without a grant":         {required, identitytest.State(identitytest.Issue(t, w.acme, "/other")), md, fault.PolicyDenied, codes.PermissionDenied, "", "", false},
		"bad workload, good person":        {optional, identitytest.State(identitytest.Issue(t, identitytest.NewCAOf(t, "acme.example"), "/web")), md, fault.CredentialInvalid, codes.Unauthenticated, "", "", false},
		"good workload, bad person":        {required, identitytest.State(web), identitytest.Metadata(identity.NewSecret("x.y.z")), fault.CredentialInvalid, codes.Unauthenticated, "", "", false},
		"bound to this certificate":        {required, identitytest.State(web), boundMD, "", 0, "ann", "acme", true},
		"bound to another certificate":     {required, identitytest.State(edge), boundMD, fault.CredentialInvalid, codes.Unauthenticated, "", "", false},
		"bound, without a certificate":     {optional, identitytest.State(nil), boundMD, fault.CredentialInvalid, codes.Unauthenticated, "", "", false},
		"forged headers say nothing": {
			required, identitytest.State(web), map[string][]string{"x-user-id": {"root"}, "x-forwarded-client-cert": {"By=x"}}, "", 0, web.ID, "acme", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := w.identifier(t, row.mode).Identify(t.Context(), row.state, row.md)

			if row.reason != "" {
				if f := fault.From(err); f.Reason != row.reason || f.Code != row.code {
					t.Fatalf("got %v, want %s %s", err, row.code, row.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject() != row.subject || got.Tenant() != row.tenant || (got.Workload != nil) != row.workload {
				t.Errorf("got %s of %s, workload %v, want %s of %s, workload %v",
					got.Subject(), got.Tenant(), got.Workload != nil, row.subject, row.tenant, row.workload)
			}
		})
	}
}

func TestIdentifierRefreshesFromATokenInTheStream(t *testing.T) {
	w := newTown(t)
	i := w.identifier(t, identity.CertificateRequired)
	state := identitytest.State(identitytest.Issue(t, w.acme, "/web"))

	got, err := i.IdentifyToken(t.Context(), state, identitytest.Token(t, w.idp, ann()))
	_, empty := i.IdentifyToken(t.Context(), state, identity.Secret{})

	if err != nil || got.Subject() != "ann" {
		t.Errorf("got %v, %v, want ann", got.Subject(), err)
	}
	if fault.From(empty).Reason != fault.CredentialRequired {
		t.Errorf("without a token: got %v, want CREDENTIAL_REQUIRED", empty)
	}
}

func TestIdentifierWithoutIssuersRefusesEveryToken(t *testing.T) {
	w := newTown(t)
	i, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: w.peers})
	if err != nil {
		t.Fatal(err)
	}

	_, err = i.Identify(t.Context(), identitytest.State(identitytest.Issue(t, w.acme, "/web")), identitytest.Metadata(identitytest.Token(t, w.idp, ann())))

	if fault.From(err).Reason != fault.CredentialInvalid {
		t.Errorf("got %v, want CREDENTIAL_INVALID", err)
	}
	if _, err := identity.NewIdentifier(identity.IdentifierConfig{}); err == nil {
		t.Error("without peers: got none, want an error")
	}
}

// identifying is an interceptor as the server has it, around a health service.
func identifying(i *identity.Identifier, seen chan<- identity.Principal) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		p, _ := peer.FromContext(ss.Context())
		info, _ := p.AuthInfo.(credentials.TLSInfo)
		md, _ := metadata.FromIncomingContext(ss.Context())
		principal, err := i.Identify(ss.Context(), &info.State, md)
		if err != nil {
			return err
		}
		seen <- principal
		return handler(srv, ss)
	}
}

func TestOpenGRPCStreamSurvivesRotationAndNewConnectionsSeeTheNewLeaf(t *testing.T) {
	w := newTown(t)
	src := identitytest.NewSource(t, w.acme, "/server")
	peers := newPeers(t, identity.PeersConfig{
		Source: src, Tenants: map[string]string{"acme.example": "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://acme.example/web", Issuers: []string{"https://idp.acme"}}},
	})
	i, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: peers, Verifier: w.verifier})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan identity.Principal, 4)
	checks := health.NewServer()
	address := serve(t, peers, identifying(i, seen), checks)
	client := identitytest.NewSource(t, w.acme, "/web")
	token := identitytest.Token(t, w.idp, ann()).Reveal()
	old := watch(t, address, client, token)
	first := <-seen

	next := identitytest.Issue(t, w.acme, "/server")
	src.Use(next)
	client.Use(identitytest.Issue(t, w.acme, "/web"))
	fresh := watch(t, address, client, token)
	second := <-seen
	checks.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)

	for name, stream := range map[string]healthpb.Health_WatchClient{"old": old, "new": fresh} {
		if got, err := stream.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("%s stream: got %v, %v", name, got, err)
		}
	}
	p, _ := peer.FromContext(fresh.Context())
	info, _ := p.AuthInfo.(credentials.TLSInfo)
	if got := identity.Thumbprint(info.State.PeerCertificates[0]); got != next.Thumbprint {
		t.Errorf("got leaf %s, want the new one", got)
	}
	if first.Workload.Thumbprint == second.Workload.Thumbprint || first.Subject() != "ann" || second.Subject() != "ann" {
		t.Errorf("got %v and %v, want ann over two leaves", first, second)
	}
}

func serve(t *testing.T, peers *identity.Peers, interceptor grpc.StreamServerInterceptor, checks healthpb.HealthServer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(peers.ServerTLS(identity.CertificateRequired))), grpc.StreamInterceptor(interceptor))
	healthpb.RegisterHealthServer(server, checks)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return l.Addr().String()
}

// watch opens a stream on a new connection and takes its first message.
func watch(t *testing.T, address string, src identity.Source, token string) healthpb.Health_WatchClient {
	t.Helper()
	cfg, err := identity.ClientTLS(identity.ClientConfig{Source: src, Servers: []string{"spiffe://acme.example/server"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token), time.Minute)
	t.Cleanup(func() {
		cancel()
		_ = conn.Close()
	})
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("first message: got %v, %v", got, err)
	}
	return stream
}

func TestRefusedCallersAreCountedByTheIssuersThatAreConfigured(t *testing.T) {
	w := newTown(t)
	id, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: w.peers, Verifier: w.verifier, ClientCertificate: identity.CertificateOptional})
	if err != nil {
		t.Fatal(err)
	}
	late, err := w.idp.Mint(map[string]any{"sub": "ana", "aud": "somebody else"})
	if err != nil {
		t.Fatal(err)
	}

	for _, token := range []string{late.Reveal(), "garbage", ""} {
		md := map[string][]string{}
		if token != "" {
			md["authorization"] = []string{"Bearer " + token}
		}
		if _, err := id.Identify(t.Context(), &tls.ConnectionState{}, md); err == nil {
			t.Fatalf("%q was accepted", token)
		}
	}

	got := id.Refused()
	if got["https://idp.acme"] != 1 || got["unknown"] != 1 || got[""] != 1 || len(got) != 3 {
		t.Errorf("got %v, want one each for the issuer, unknown and none", got)
	}
	if again := id.Refused(); len(again) != 0 {
		t.Errorf("got %v a second time, want nothing", again)
	}
}
