package server_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// client is one caller: a connection and what it sends with each call.
type client struct {
	*grpc.ClientConn
	md metadata.MD
}

// as is the person, who comes through the tenant's usual application.
func (w *world) as(p person) *client {
	w.t.Helper()
	if p.subject == erin.subject {
		return &client{w.dial(w.workload(w.globex, "/app")), bearer(w.token(w.other, p, nil))}
	}
	return &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.idp, p, nil))}
}

func bearer(token string) metadata.MD { return metadata.Pairs("authorization", "Bearer "+token) }

// ctx carries the caller's metadata and ends with the test.
func (c *client) ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return metadata.NewOutgoingContext(ctx, c.md)
}

// with is the same caller who sends more metadata.
func (c *client) with(pairs ...string) *client {
	return &client{c.ClientConn, metadata.Join(c.md, metadata.Pairs(pairs...))}
}

func (c *client) agents() behalfv1.AgentServiceClient     { return behalfv1.NewAgentServiceClient(c) }
func (c *client) runs() behalfv1.RunServiceClient         { return behalfv1.NewRunServiceClient(c) }
func (c *client) sessions() behalfv1.SessionServiceClient { return behalfv1.NewSessionServiceClient(c) }

func (c *client) tools() behalfv1.ToolServiceClient { return behalfv1.NewToolServiceClient(c) }

func (c *client) audit() behalfv1.AuditServiceClient { return behalfv1.NewAuditServiceClient(c) }

func (c *client) admin() behalfv1.AdminServiceClient { return behalfv1.NewAdminServiceClient(c) }

// hello runs triage, which answers by itself.
func (w *world) hello(c *client, session string) *behalfv1.RunAgentResponse {
	w.t.Helper()
	r, err := c.agents().RunAgent(c.ctx(w.t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: session})
	if err != nil {
		w.t.Fatalf("RunAgent: %v", err)
	}
	return r
}

// messages receives until the stream ends; the end of a stream that ended well is nil.
func messages[M any](stream interface{ Recv() (M, error) }) (all []M, err error) {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

// stream runs an agent to its end and gives its events.
func (c *client) stream(t *testing.T, r *behalfv1.StreamAgentRequest) ([]*behalfv1.Event, error) {
	t.Helper()
	s, err := c.agents().StreamAgent(c.ctx(t), r)
	if err != nil {
		t.Fatal(err)
	}
	all, err := messages(s)
	return eventsOf(all), err
}

func eventsOf[M interface{ GetEvent() *behalfv1.Event }](all []M) (out []*behalfv1.Event) {
	for _, m := range all {
		out = append(out, m.GetEvent())
	}
	return out
}

// records are the audit rows that the caller's query finds.
func (c *client) records(t *testing.T, q *behalfv1.QueryAuditRequest) []*behalfv1.AuditRecord {
	t.Helper()
	s, err := c.audit().QueryAudit(c.ctx(t), q)
	if err != nil {
		t.Fatal(err)
	}
	all, err := messages(s)
	if err != nil {
		t.Fatalf("QueryAudit: %v", err)
	}
	var out []*behalfv1.AuditRecord
	for _, m := range all {
		out = append(out, m.GetRecord())
	}
	return out
}

// reason is the ErrorInfo of an error that the service made; empty for gRPC's own.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == "behalf" {
			return i.GetReason()
		}
	}
	return ""
}

// wantError fails unless err has the code and the reason.
func wantError(t *testing.T, err error, code codes.Code, why string) {
	t.Helper()
	if status.Code(err) != code || reason(err) != why {
		t.Errorf("got %v (%q), want %s %q", err, reason(err), code, why)
	}
}

// until waits for something that another goroutine brings about.
func until[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}
