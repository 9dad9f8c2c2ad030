package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/tools"
	"golang.org/x/net/http2"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// attack is something that no client of ours does, by somebody who may call, and
// what they are told. A reason after the code says that the chain refused it;
// without one HTTP/2 or gRPC did, before there was a call.
type attack struct {
	name string
	do   func(*wire)
	want string
}

// asked sends a request that is whole but for its headers.
func asked(name, want string, of fields) attack {
	return attack{name, func(k *wire) { k.request(of, peekCall()) }, want}
}

// said sends a request that is whole but for its body.
func said(name, want string, of fields, body []byte) attack {
	return attack{name, func(k *wire) { k.request(of, body) }, want}
}

// TestHostileRequestsReachNoHandler sends each attack on a connection of its own,
// with a good credential. Nothing reaches the tool, and somebody else's connection
// goes on being served.
func TestHostileRequestsReachNoHandler(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 64)
	w := newWorld(t, setup{spies: []tools.Tool{peek(out)}})
	app, good := w.workload(w.acme, "/app"), bearer(w.token(w.idp, alice, nil))
	neighbour := w.as(dave)
	k := w.wire(t, app)
	if k.request(right(callTool, good), peekCall()); k.outcome(1) != served || len(out) != 1 {
		t.Fatal("the right request is refused, so the test proves nothing")
	}
	<-out

	for _, a := range slices.Concat(oddPaths(good), oddHeaders(good), tooManyHeaders(good), oddCredentials(good), oddBodies(good), oddFrames(good), floods(good)) {
		t.Run(a.name, func(t *testing.T) {
			k := w.wire(t, app)
			k.t = t
			a.do(k)

			if got := k.outcome(1); !slices.Contains(strings.Split(a.want, "|"), got) {
				t.Errorf("got %q, want %q", got, a.want)
			}
			if len(out) > 0 {
				t.Errorf("it reached the tool as %v", (<-out).grant)
			}
			if err := neighbour.whoAmI(t); err != nil {
				t.Errorf("somebody else got %v", err)
			}
		})
	}
}

// TestOddRequestsThatAreRight are served: what is odd in them says nothing.
func TestOddRequestsThatAreRight(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 64)
	w := newWorld(t, setup{spies: []tools.Tool{peek(out)}})
	app, good := w.workload(w.acme, "/app"), bearer(w.token(w.idp, alice, nil))
	call := right(callTool, good)

	for name, of := range map[string]fields{
		"no scheme":             call.but(":scheme"),
		"no te":                 call.but("te"),
		"a content subtype":     call.but("content-type", "application/grpc+json"), // what it says is proto all the same
		"the latest deadline":   call.and("grpc-timeout", "99999999H"),
		"a name for the server": call.but(":authority", "evil.example"),
	} {
		t.Run(name, func(t *testing.T) {
			k := w.wire(t, app)
			k.request(of, peekCall())

			if got := k.outcome(1); got != served {
				t.Errorf("got %q, want it served", got)
			}
			if s := (<-out).grant.Principal().Subject(); s != "alice" {
				t.Errorf("got %q as who calls", s)
			}
		})
	}
}

// TestBodiesAreReadOnlyOfCallersWhoAreKnown sends what gRPC answers for by itself
// to methods of each kind, without a credential: it is not even read.
func TestBodiesAreReadOnlyOfCallersWhoAreKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	for _, a := range oddBodies(nil) {
		t.Run(a.name, func(t *testing.T) {
			k := w.wire(t, nil)
			k.t = t
			a.do(k)

			if got := k.outcome(1); got != "UNAUTHENTICATED CREDENTIAL_REQUIRED" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestARequestThatDoesNotComeIsNotWaitedFor opens calls and stops in the middle.
func TestARequestThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := newParts(t, payOnce{}, interceptors.Limits{FirstMessage: 50 * time.Millisecond})
	app, good := p.workload(p.acme, "/app"), bearer(p.token(p.idp, alice, nil))
	neighbour := p.as(bob)
	for method, path := range map[string]string{
		"unary": behalfv1.AgentService_RunAgent_FullMethodName, "stream": behalfv1.AgentService_StreamAgent_FullMethodName,
		"conversation": behalfv1.ConversationService_Converse_FullMethodName, "public": healthpb.Health_Check_FullMethodName,
	} {
		for name, body := range map[string][]byte{"nothing": nil, "half a length": {0, 0}, "half a message": framed(0, 100, []byte("x"))} {
			t.Run(method+" "+name, func(t *testing.T) {
				k := p.wire(t, app)
				k.t = t
				k.head(1, false, right(path, good))
				if body != nil {
					k.data(1, false, body)
				}

				if got := k.outcome(1); got != "DEADLINE_EXCEEDED DEADLINE_EXCEEDED" {
					t.Errorf("got %q", got)
				}
				if _, err := neighbour.agents().RunAgent(neighbour.ctx(t), &behalfv1.RunAgentRequest{Agent: "payer", Input: "pay"}); err != nil {
					t.Errorf("somebody else got %v", err)
				}
			})
		}
	}
}

// TestWhatIsNoHTTP2IsClosed greets in other ways than HTTP/2's.
func TestWhatIsNoHTTP2IsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	app := w.workload(w.acme, "/app")
	for name, greeting := range map[string]string{
		"HTTP/1.1": "POST " + callTool + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "nonsense": strings.Repeat("x", 64), "frames at once": "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 32),
		"no settings": http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
	} {
		t.Run(name, func(t *testing.T) {
			k := w.mute(t, app)
			k.t = t
			k.write([]byte(greeting))

			if got := k.outcome(1); got != "closed" {
				t.Errorf("got %q", got)
			}
			if err := w.as(dave).whoAmI(t); err != nil {
				t.Errorf("somebody else got %v", err)
			}
		})
	}
}
