package identitytest

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/identity"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// WorkloadAPI is a SPIFFE Workload API server on a socket. It refuses callers
// without the security header and pushes every rotation.
type WorkloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	// Socket is its address, unix:///….
	Socket string

	mu      sync.Mutex
	current *workload.X509SVIDResponse // nil: no entry, PermissionDenied
	keys    map[string][]byte          // of JWT-SVIDs, by the SPIFFE ID of the trust domain; nil: no entry
	mint    func(audiences []string) identity.Secret
	changed chan struct{} // closed and replaced at each change
}

// NewWorkloadAPI starts a server that has no entry for anybody yet.
func NewWorkloadAPI(t testing.TB) *WorkloadAPI {
	t.Helper()
	dir, err := os.MkdirTemp("", "wl") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	path := filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", path) //nolint:noctx // a test's socket
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	w := &WorkloadAPI{Socket: "unix://" + path, changed: make(chan struct{})}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, w)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
		_ = os.RemoveAll(dir)
	})
	return w
}

// Push gives svid and the bundles to everybody who watches. The first bundle
// must be the SVID's own trust domain's; the rest are federated.
func (w *WorkloadAPI) Push(t testing.TB, svid *identity.SVID, own *identity.Bundle, federated ...*identity.Bundle) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(svid.Certificate.PrivateKey)
	if err != nil {
		t.Fatalf("encode a key: %v", err)
	}
	resp := &workload.X509SVIDResponse{
		Svids: []*workload.X509SVID{{
			SpiffeId: svid.ID, X509Svid: svid.Certificate.Leaf.Raw, X509SvidKey: key, Bundle: concat(own),
		}},
		FederatedBundles: map[string][]byte{},
	}
	for _, b := range federated {
		resp.FederatedBundles["spiffe://"+b.TrustDomain()] = concat(b)
	}
	w.set(resp)
}

// PushKeys gives the keys of the JWT-SVIDs of trust domains, as JWK sets, to
// everybody who watches.
func (w *WorkloadAPI) PushKeys(keys map[string][]byte) {
	byID := map[string][]byte{}
	for td, jwks := range keys {
		byID["spiffe://"+td] = jwks
	}
	w.change(func() { w.keys = byID })
}

// Forget removes the entry: watchers are cut off and everybody is refused.
func (w *WorkloadAPI) Forget() { w.set(nil) }

func (w *WorkloadAPI) set(resp *workload.X509SVIDResponse) { w.change(func() { w.current = resp }) }

func (w *WorkloadAPI) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

func concat(b *identity.Bundle) []byte {
	var out []byte
	for _, c := range b.Authorities() {
		out = append(out, c.Raw...)
	}
	return out
}

// FetchX509SVID implements the Workload API.
func (w *WorkloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return follow(w, stream, func() *workload.X509SVIDResponse { return w.current })
}

// Mint makes the JWT-SVIDs that are asked for.
func (w *WorkloadAPI) Mint(mint func(audiences []string) identity.Secret) {
	w.change(func() { w.mint = mint })
}

// FetchJWTSVID implements the Workload API.
func (w *WorkloadAPI) FetchJWTSVID(_ context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	w.mu.Lock()
	mint := w.mint
	w.mu.Unlock()
	if mint == nil {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: req.GetSpiffeId(), Svid: mint(req.GetAudience()).Reveal()}}}, nil
}

// FetchJWTBundles implements the Workload API.
func (w *WorkloadAPI) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return follow(w, stream, func() *workload.JWTBundlesResponse {
		if w.keys == nil {
			return nil
		}
		return &workload.JWTBundlesResponse{Bundles: w.keys}
	})
}

// follow sends what there is now, and again after each change.
func follow[R any](w *WorkloadAPI, stream grpc.ServerStreamingServer[R], now func() *R) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		w.mu.Lock()
		resp, changed := now(), w.changed
		w.mu.Unlock()
		if resp == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
