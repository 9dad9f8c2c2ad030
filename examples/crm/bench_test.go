package crm_test

import (
	"slices"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/calltoken"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// BenchmarkGovernedCall is a call of the backend by its own client, with a token that
// was made beforehand so that both are verified, and in turn the same call through the
// gate, with policy, an audit log in memory and a token that is minted for it. What is
// over is the difference of the medians.
func BenchmarkGovernedCall(b *testing.B) {
	p := newPlace(b)
	p.govern(nil)
	svid := identitytest.Issue(b, p.ca, "/behalf")
	conn := p.connect(svid)
	var bare, governed []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		bare = append(bare, p.bare(b, conn, svid))
		governed = append(governed, p.governed(b))
	}
	slices.Sort(bare)
	slices.Sort(governed)
	mid := len(bare) / 2
	b.ReportMetric(float64(bare[mid].Microseconds()), "bare-µs")
	b.ReportMetric(float64(governed[mid].Microseconds()), "governed-µs")
	b.ReportMetric(float64((governed[mid] - bare[mid]).Microseconds()), "over-µs")
}

func (p *place) bare(b *testing.B, conn *grpc.ClientConn, svid *identity.SVID) time.Duration {
	b.Helper()
	q := &crmv1.GetCustomerRequest{CustomerId: "alice"}
	sent, err := proto.Marshal(q)
	if err != nil {
		b.Fatal(err)
	}
	token, err := p.keys.Mint(p.good(svid, sent), calltoken.TypeCall, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if err := p.ask(conn, token.Reveal(), q); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func (p *place) governed(b *testing.B) time.Duration {
	b.Helper()
	ctx := p.as("alice", "crm.read")
	start := time.Now()
	for ev, err := range p.gate.Call(ctx, agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: "get_customer", Arguments: `{"customer_id":"alice"}`}) {
		if err != nil {
			b.Fatal(err)
		}
		if fin, ok := ev.Body.(agents.ToolCallFinished); ok && fin.Failed {
			b.Fatal(fin.Result)
		}
	}
	return time.Since(start)
}
