package server_test

import (
	"context"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/metadata"
)

// seen is what a spy tool found around it.
type seen struct {
	md    metadata.MD
	grant identity.Grant
}

type none struct{}

// peek is a tool that looks at its context.
func peek(out chan<- seen) tools.Tool {
	return tools.Func("peek", "Looks around.", func(ctx context.Context, _ none) (none, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		g, _ := identity.FromContext(ctx)
		out <- seen{md, g}
		return none{}, nil
	}, tools.ReadOnly())
}

func TestMetadataThatCouldBeTakenForIdentityEndsInTheChain(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 1)
	w := newWorld(t, setup{spies: []tools.Tool{peek(out)}})
	var pairs []string
	for _, key := range []string{
		"cookie", "dpop", "x-user-id", "x-user-email", "x-forwarded-for", "x-forwarded-user", "x-forwarded-client-cert", "forwarded",
		"x-real-ip", "x-client-cert", "x-spiffe-id", "x-goog-iap-jwt-assertion", "x-ms-client-principal-id", "x-amzn-oidc-data",
		"x-agent-id", "agent-chain", "txn-token", "baggage", "x-behalf-tenant", "behalf-tenant",
	} {
		pairs = append(pairs, key, "bob")
	}
	a := w.as(alice).with(append(pairs, "x-harmless", "stays")...)

	if _, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"}); err != nil {
		t.Fatal(err)
	}

	got := until(t, "the tool", out)
	for i := 0; i < len(pairs); i += 2 {
		if v := got.md.Get(pairs[i]); len(v) > 0 {
			t.Errorf("%s reached the handler with %q", pairs[i], v)
		}
	}
	if len(got.md.Get("authorization")) > 0 {
		t.Error("the access token reached the handler")
	}
	if len(got.md.Get("x-harmless")) == 0 {
		t.Error("harmless metadata is gone: the test proves nothing")
	}
	if s := got.grant.Principal().Subject(); s != "alice" {
		t.Errorf("got %q as who calls, want alice", s)
	}
}

// A caller who could choose the id that joins the records could hide in somebody
// else's trace, or collide with it (SECURITY 4.7).
func TestACallersTraceIsNotOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	theirs := strings.Repeat("ab", 16)
	a := w.as(alice).with("traceparent", "00-"+theirs+"-00f067aa0ba902b7-01", "tracestate", "vendor="+theirs)
	for range 2 {
		succeed(t, a.customer(t))
	}

	ours := map[string]int{}
	for _, r := range w.as(bob).records(t, &behalfv1.QueryAuditRequest{Tool: "get_customer"}) {
		ours[r.GetTraceId()]++
	}
	if len(ours) != 2 || ours[theirs] > 0 || ours[""] > 0 {
		t.Errorf("got traces %v, want one for each call, and not the caller's", ours)
	}
}
