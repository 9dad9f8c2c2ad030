package server_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/model/modeltest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// again listens where somebody listened before.
func again(t *testing.T, target string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// shut is an address at which nobody is.
func shut(t *testing.T) (target string) {
	t.Helper()
	l := listen(t)
	target = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return target
}

func (c *client) callTool(t *testing.T, name, args string) (*behalfv1.CallToolResponse, error) {
	t.Helper()
	return c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: name, ArgumentsJson: args})
}

// modelThatCalls is a model that calls a tool and then tells what came back.
func modelThatCalls(t *testing.T, tool, args string) *modeltest.Server {
	t.Helper()
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			return modeltest.Reply{Text: "Done."}
		}
		return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: tool, Arguments: args}}}
	})
	return m
}

// release is a backend as it was deployed: its descriptors say what it has.
type release struct {
	crmv1.UnimplementedCustomersServiceServer
	calls atomic.Int64
}

func (r *release) RefundOrder(context.Context, *crmv1.RefundOrderRequest) (*crmv1.RefundOrderResponse, error) {
	r.calls.Add(1)
	return &crmv1.RefundOrderResponse{}, nil
}

func (r *release) GetCustomer(context.Context, *crmv1.GetCustomerRequest) (*crmv1.GetCustomerResponse, error) {
	r.calls.Add(1)
	return &crmv1.GetCustomerResponse{}, nil
}

// deploy serves a release at a target until stop.
func (r *release) deploy(w *world, target string, edit func(*descriptorpb.FileDescriptorProto)) (stop func()) {
	w.t.Helper()
	var set descriptorpb.FileDescriptorSet
	raw, err := supportdesk.Files.ReadFile("crm.binpb")
	if err == nil {
		err = proto.Unmarshal(raw, &set)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range set.GetFile() {
		if f.GetPackage() == "crm.v1" {
			edit(f)
		}
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		w.t.Fatal(err)
	}
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: identitytest.NewSource(w.t, w.acme, "/crm"), Tenants: map[string]string{acmeDomain: "acme"}, Grants: []identity.WorkloadGrant{{ID: "spiffe://" + acmeDomain + "/**"}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(peers.ServerTLS(identity.CertificateRequired))))
	crmv1.RegisterCustomersServiceServer(s, r)
	reflectionv1.RegisterServerReflectionServer(s, reflection.NewServerV1(reflection.ServerOptions{Services: s, DescriptorResolver: files}))
	l, done := again(w.t, target), make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Stop
	stop = func() { s.Stop(); <-done }
	w.t.Cleanup(s.Stop)
	return stop
}

// visitors counts who comes, and who is still there.
type visitors struct {
	net.Listener
	n, here *atomic.Int64
}

func (v visitors) Accept() (net.Conn, error) {
	c, err := v.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v.n.Add(1)
	v.here.Add(1)
	return &visitor{Conn: c, leave: sync.OnceFunc(func() { v.here.Add(-1) })}, nil
}

type visitor struct {
	net.Conn
	leave func()
}

func (v *visitor) Close() error {
	v.leave()
	return v.Conn.Close()
}
