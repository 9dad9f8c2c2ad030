package grpctool_test

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

//go:embed testdata/everything.binpb
var everything []byte

const (
	echo   = "everything.v1.EverythingService"
	issuer = "https://behalf.example"
)

// parse gives the descriptor set, for a test to change.
func parse(t testing.TB, raw []byte) *descriptorpb.FileDescriptorSet {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	return &set
}

// fileOf is the file of a set that is the tests' own.
func fileOf(set *descriptorpb.FileDescriptorSet) *descriptorpb.FileDescriptorProto {
	for _, f := range set.GetFile() {
		if !strings.HasPrefix(f.GetName(), "google/") && !strings.HasPrefix(f.GetName(), "behalf/") {
			return f
		}
	}
	return nil
}

// backend is a real gRPC server behind mutual TLS that verifies tokens. What it
// answers the test says.
type backend struct {
	t        testing.TB
	set      *descriptorpb.FileDescriptorSet
	ca       *identity.DevCA
	verifier *calltoken.Verifier
	addr     string
	server   *grpc.Server
	done     chan error
	conns    atomic.Int64 // connections that came
	calls    atomic.Int64

	mu     sync.Mutex
	answer func(ctx context.Context, method string, in *dynamicpb.Message, send func(proto.Message) error) error
	claims []*calltoken.Claims
	mds    []metadata.MD

	named   func(method string) string          // instead of names
	tls     *tls.Config                         // instead of mutual TLS
	closed  bool                                // reflection needs a token
	reflect reflectionv1.ServerReflectionServer // instead of the real one
	offers  []string                            // the versions of reflection; nil: v1
}

// names are the tools' names as the backend knows them.
func names(method string) string {
	if !strings.HasPrefix(method, "/everything.v1.") {
		return ""
	}
	return map[string]string{"Echo": "echo", "Repeat": "repeat", "GiveStruct": "give_struct", "FindThings": "find_things", "GiveAny": "give_any", "GiveAnys": "give_anys", "TakeAny": "take_any", "BeAny": "be_any", "TakeStruct": "take_struct"}[method[strings.LastIndex(method, "/")+1:]]
}

func (b *backend) start(t testing.TB) {
	t.Helper()
	linked, err := protodesc.NewFiles(b.set)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: identitytest.NewSource(t, b.ca, "/backend"), Tenants: map[string]string{b.ca.TrustDomain(): "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + b.ca.TrustDomain() + "/**"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := peers.ServerTLS(identity.CertificateRequired)
	if b.tls != nil {
		config = b.tls
	}
	if b.named == nil {
		b.named = names
	}
	open := []string{"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
	if b.closed {
		open = nil
	}
	b.server = grpc.NewServer(append(b.verifier.ServerOptions(b.named, open...), grpc.Creds(credentials.NewTLS(config)))...)
	b.register(linked)
	if b.addr == "" {
		b.addr = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	b.addr, b.done = l.Addr().String(), make(chan error, 1)
	server, done := b.server, b.done
	go func() { done <- server.Serve(&counted{l, &b.conns}) }() // ends with stop
}

func (b *backend) stop() {
	if b.server != nil {
		b.server.Stop()
		<-b.done
		b.server = nil
	}
}

type counted struct {
	net.Listener
	n *atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// register serves all services of the test's file by dynamic messages.
func (b *backend) register(linked *protoregistry.Files) {
	fd, err := linked.FindFileByPath(fileOf(b.set).GetName())
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range fd.Services().Len() {
		sd := fd.Services().Get(i)
		d := &grpc.ServiceDesc{ServiceName: string(sd.FullName()), HandlerType: (*any)(nil), Metadata: fd.Path()}
		for j := range sd.Methods().Len() {
			b.method(d, sd.Methods().Get(j))
		}
		b.server.RegisterService(d, b)
	}
	b.describe(linked)
}

func (b *backend) method(d *grpc.ServiceDesc, md protoreflect.MethodDescriptor) {
	name := string(md.Name())
	if md.IsStreamingServer() || md.IsStreamingClient() {
		d.Streams = append(d.Streams, grpc.StreamDesc{
			StreamName: name, ServerStreams: md.IsStreamingServer(), ClientStreams: md.IsStreamingClient(),
			Handler: func(_ any, ss grpc.ServerStream) error {
				in := dynamicpb.NewMessage(md.Input())
				if err := ss.RecvMsg(in); err != nil {
					return err
				}
				return b.serve(ss.Context(), name, in, func(m proto.Message) error { return ss.SendMsg(m) })
			},
		})
		return
	}
	d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := dynamicpb.NewMessage(md.Input())
		if err := dec(in); err != nil {
			return nil, err
		}
		var out proto.Message
		handle := func(ctx context.Context, _ any) (any, error) {
			err := b.serve(ctx, name, in, func(m proto.Message) error { out = m; return nil })
			return out, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: b, FullMethod: "/" + d.ServiceName + "/" + name}, handle)
	}})
}

func (b *backend) serve(ctx context.Context, name string, in *dynamicpb.Message, send func(proto.Message) error) error {
	b.calls.Add(1)
	b.mu.Lock()
	answer := b.answer
	if c, ok := calltoken.FromContext(ctx); ok {
		b.claims = append(b.claims, c)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	b.mds = append(b.mds, md)
	b.mu.Unlock()
	if answer == nil {
		return send(in)
	}
	return answer(ctx, name, in, send)
}

// say sets what the backend answers; nil: what it was asked.
func (b *backend) say(f func(ctx context.Context, method string, in *dynamicpb.Message, send func(proto.Message) error) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = f
}

func (b *backend) last(t testing.TB) (*calltoken.Claims, metadata.MD) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.claims) == 0 {
		t.Fatal("the backend was asked by nobody")
	}
	return b.claims[len(b.claims)-1], b.mds[len(b.mds)-1]
}

// world is a gate with a real guard, a source and its backend.
type world struct {
	t       testing.TB
	ca      *identity.DevCA
	own     *identitytest.Source // our SVIDs
	backend *backend
	keys    *calltoken.Keys
	tls     *tls.Config
	source  *grpctool.Source
	guard   *policy.Guard
	log     *audit.Memory
	gate    *tools.Gate
	reg     *tools.Registry
	rules   string // more than to permit all
	told    lines  // of failed calls, to the operator
}

// newWorld makes all but the source.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ca: identitytest.NewCA(t), log: audit.NewMemory(time.Now)}
	w.own = identitytest.NewSource(t, w.ca, "/behalf")
	var err error
	if w.keys, err = calltoken.NewKeys(calltoken.KeysConfig{}); err != nil {
		t.Fatal(err)
	}
	jwks, err := w.keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "everything", JWKS: jwks, Clients: []string{w.client()}})
	if err != nil {
		t.Fatal(err)
	}
	w.backend = &backend{t: t, set: parse(t, everything), ca: w.ca, verifier: v}
	if w.tls, err = identity.ClientTLS(identity.ClientConfig{Source: w.own, Servers: []string{"spiffe://" + w.ca.TrustDomain() + "/backend"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.backend.stop() })
	return w
}

func (w *world) client() string { return "spiffe://" + w.ca.TrustDomain() + "/behalf" }

func (w *world) config(edit func(*grpctool.Config)) grpctool.Config {
	c := grpctool.Config{
		Toolset: "everything", Target: w.backend.addr, Services: []string{echo}, TLS: w.tls,
		Tokens:  &tools.Tokens{Keys: w.keys, Issuer: issuer, Client: w.client},
		Backend: tools.Backend{Audience: "everything", Type: calltoken.TypeCall},
	}
	if edit != nil {
		edit(&c)
	}
	return c
}

// open makes the source, and runs it until the test ends.
func (w *world) open(edit func(*grpctool.Config)) {
	w.t.Helper()
	var err error
	if w.source, err = grpctool.New(w.config(edit)); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.source.Run(ctx) }() // ends with the test
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// reading waits until the tools are known, and puts them behind a gate.
func (w *world) reading(policies string) *world {
	w.t.Helper()
	select {
	case <-w.source.Changed():
	case <-time.After(time.Minute):
		w.t.Fatal("the descriptors were not read")
	}
	w.govern(policies)
	return w
}

func (w *world) govern(text string) {
	w.t.Helper()
	list, err := w.source.Tools()
	if err != nil {
		w.t.Fatal(err)
	}
	w.rules = text
	w.behind(list...)
}

// behind puts tools behind a gate.
func (w *world) behind(list ...tools.Tool) {
	w.t.Helper()
	var err error
	if w.reg, err = tools.NewRegistry(list...); err != nil {
		w.t.Fatal(err)
	}
	set, err := policy.Load(policy.Config{FS: policies(`@id("all") permit (principal, action, resource);` + w.rules), Tools: w.reg.Schemas()})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.guard, err = policy.NewGuard(policy.GuardConfig{Sink: w.log, DigestKey: func(string) []byte { return []byte("key") }}); err != nil {
		w.t.Fatal(err)
	}
	w.guard.Swap(policy.NewEngine(set))
	if w.gate, err = tools.NewGate(tools.GateConfig{
		Registry: w.reg, Guard: w.guard, Journal: w.log, Agent: "support", Tools: w.reg.Names(), Trace: func(context.Context) string { return trace },
		Report: func(_ context.Context, _ string, err error) { _, _ = w.told.Write([]byte(err.Error())) },
	}); err != nil {
		w.t.Fatal(err)
	}
}

const trace = "0af7651916cd43dd8448eb211c80319c"

// started is a world whose backend runs and whose tools are known.
func started(t testing.TB, edit func(*grpctool.Config)) *world {
	t.Helper()
	w := newWorld(t)
	w.backend.start(t)
	w.open(edit)
	return w.reading("")
}

// bob is a person who acts through the support agent.
func (w *world) bob(ctx context.Context) context.Context {
	w.t.Helper()
	return w.person(ctx, "bob")
}

// call makes a governed call as bob.
func (w *world) call(tool, args string) agents.ToolCallFinished {
	w.t.Helper()
	return w.callIn(w.t.Context(), tool, args)
}

// callIn makes it within a context.
func (w *world) callIn(ctx context.Context, tool, args string) agents.ToolCallFinished {
	w.t.Helper()
	return w.callOf(w.bob(ctx), tool, args)
}

// said is what the model reads of a failure.
func said(t testing.TB, fin agents.ToolCallFinished) string {
	t.Helper()
	var r struct {
		Error struct{ Message string }
	}
	if err := json.Unmarshal([]byte(fin.Result), &r); err != nil {
		t.Fatalf("result %q: %v", fin.Result, err)
	}
	return r.Error.Message
}

func policies(text string) fstest.MapFS { return fstest.MapFS{"p.cedar": {Data: []byte(text)}} }
