package crm_test

import (
	"context"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/calltoken"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
)

// BenchmarkGovernedCall is a call of the backend by its own client, with a deadline and a
// token of the same claims that was made beforehand, and in turn the same call through the gate, with policy, an
// audit log in memory and a token that is minted for it. What is over is the difference
// of the medians, and of the processor time of both sides, which other load hardly
// moves. The backend verifies both calls, or in the second case neither.
func BenchmarkGovernedCall(b *testing.B) {
	b.Run("verified", func(b *testing.B) { sideBySide(b, newPlace(b)) })
	b.Run("unverified", func(b *testing.B) {
		p := newPlace(b)
		p.addr = p.trusting(b)
		sideBySide(b, p)
	})
}

func sideBySide(b *testing.B, p *place) {
	b.Helper()
	p.govern(nil)
	svid := identitytest.Issue(b, p.ca, "/behalf")
	conn := p.connect(svid)
	var bare, governed measured
	b.ReportAllocs()
	for b.Loop() {
		token := p.token(b, svid)
		bare.add(b, func() { p.bare(b, conn, token) })
		ctx := p.as("alice", "crm.read")
		governed.add(b, func() { p.governed(b, ctx) })
	}
	b.ReportMetric(bare.median(), "bare-µs")
	b.ReportMetric(governed.median(), "governed-µs")
	b.ReportMetric(governed.median()-bare.median(), "over-µs")
	b.ReportMetric(bare.cpuEach(), "bare-cpu-µs")
	b.ReportMetric(governed.cpuEach()-bare.cpuEach(), "over-cpu-µs")
}

// measured is one kind of call.
type measured struct {
	wall []time.Duration
	cpu  time.Duration
}

func (m *measured) add(b *testing.B, call func()) {
	b.Helper()
	cpu, start := cpuNow(b), time.Now()
	call()
	m.wall = append(m.wall, time.Since(start))
	m.cpu += cpuNow(b) - cpu
}

func (m *measured) median() float64 {
	slices.Sort(m.wall)
	return float64(m.wall[len(m.wall)/2].Nanoseconds()) / 1e3
}

func (m *measured) cpuEach() float64 {
	return float64(m.cpu.Nanoseconds()) / 1e3 / float64(len(m.wall))
}

func cpuNow(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// trusting is a backend that asks for no token: what is left of a call without any
// verification.
type trusting struct {
	crmv1.UnimplementedCustomersServiceServer
}

func (trusting) GetCustomer(_ context.Context, q *crmv1.GetCustomerRequest) (*crmv1.GetCustomerResponse, error) {
	return &crmv1.GetCustomerResponse{CustomerId: q.GetCustomerId(), Name: "Alice", Email: "alice@acme.example", Ssn: "457-55-5462", Tier: "standard", Notes: "works here"}, nil
}

func (p *place) trusting(b *testing.B) (addr string) {
	b.Helper()
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: identitytest.NewSource(b, p.ca, "/crm"), Tenants: map[string]string{p.ca.TrustDomain(): "acme"}, Grants: []identity.WorkloadGrant{{ID: p.client()}},
	})
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(peers.ServerTLS(identity.CertificateRequired))))
	crmv1.RegisterCustomersServiceServer(s, trusting{})
	reflection.RegisterV1(s)
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Stop
	b.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

func (p *place) token(b *testing.B, svid *identity.SVID) string {
	b.Helper()
	sent, err := proto.Marshal(&crmv1.GetCustomerRequest{CustomerId: "alice"})
	if err != nil {
		b.Fatal(err)
	}
	token, err := p.keys.Mint(p.good(svid, sent), calltoken.TypeCall, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	return token.Reveal()
}

func (p *place) bare(b *testing.B, conn *grpc.ClientConn, token string) {
	b.Helper()
	if err := p.ask(conn, token, &crmv1.GetCustomerRequest{CustomerId: "alice"}); err != nil {
		b.Fatal(err)
	}
}

func (p *place) governed(b *testing.B, ctx context.Context) {
	b.Helper()
	for ev, err := range p.gate.Call(ctx, agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: "get_customer", Arguments: `{"customer_id":"alice"}`}) {
		if err != nil {
			b.Fatal(err)
		}
		if fin, ok := ev.Body.(agents.ToolCallFinished); ok && fin.Failed {
			b.Fatal(fin.Result)
		}
	}
}
