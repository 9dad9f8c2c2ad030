package mcptool_test

import (
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// BenchmarkGovernedCall is a call through the gate to a backend behind mutual TLS
// that verifies its token.
func BenchmarkGovernedCall(b *testing.B) {
	s := newStand(b, func(h http.Handler) http.Handler { return h })
	w := newWorld(b, s.config).open("whose")
	ctx := as(b.Context(), "bob")
	b.ReportAllocs()
	for b.Loop() {
		if f := w.call(ctx, "whose", `{}`); f.Failed {
			b.Fatal(f.Result)
		}
	}
}

// BenchmarkBareCall is the same by the SDK alone, without gate, token or
// verification.
func BenchmarkBareCall(b *testing.B) {
	s := newStand(b, func(h http.Handler) http.Handler { return h })
	addr := s.serve(b, s.handler(nil))
	t := &mcp.StreamableClientTransport{Endpoint: "https://" + addr + "/mcp", HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: s.config.TLS, ForceAttemptHTTP2: true}}, DisableStandaloneSSE: true}
	cs, err := mcp.NewClient(&mcp.Implementation{Name: "bare", Version: "1"}, nil).Connect(b.Context(), t, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer cs.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cs.CallTool(b.Context(), &mcp.CallToolParams{Name: "whose"}); err != nil {
			b.Fatal(err)
		}
	}
}
