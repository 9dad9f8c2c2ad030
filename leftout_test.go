package behalf_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// A method that cannot be a tool is not merely a name that nobody knows: who gave it to
// an agent reads why, also of a backend that has to be asked.
func TestTheStartSaysWhyAMethodThatAnAgentNamesIsNoTool(t *testing.T) {
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	dir := plainDir(t, "runs: { log: memory }\nstore: { dsn: 'sqlite://state/behalf.db' }\n")
	cfg, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Server.HTTP = "127.0.0.1:0", "127.0.0.1:0"
	cfg.CallTokens.Issuer = "https://behalf.test"
	cfg.Tools = map[string]config.Toolset{"all": {GRPC: &config.GRPC{
		Target: everything(t, ca), Services: []string{"everything.v1.EverythingService"}, Audience: "all", ServerID: "spiffe://dev.behalf/all",
	}}}
	for name, a := range cfg.Agents {
		a.Tools = []string{"echo", "take_struct"}
		cfg.Agents[name] = a
	}

	s, err := behalf.New(t.Context(), cfg, behalf.WithIdentity(behalf.Identity{Source: ca, Tenants: map[string]string{ca.TrustDomain(): "acme"}}))

	if s != nil || err == nil || !strings.Contains(err.Error(), "take_struct is left out: parameter") || !strings.Contains(err.Error(), `waive "TakeStruct.fields" to allow it`) {
		t.Errorf("got %v, %v, want the reason", s, err)
	}
	if err != nil && strings.Contains(err.Error(), "echo") {
		t.Errorf("got %v, want nothing about what is a tool", err)
	}
}

// everything is the address of a backend that describes a service with all sorts of
// methods.
func everything(t *testing.T, ca *identity.DevCA) string {
	t.Helper()
	data, err := os.ReadFile("tools/grpctool/testdata/everything.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := ca.Files("/all")
	if err != nil {
		t.Fatal(err)
	}
	mutual, err := backend.TLS(backend.Files{Cert: svid.Cert, Key: svid.Key, CA: svid.Bundle})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(mutual)))
	grpc_reflection_v1.RegisterServerReflectionServer(s, reflection.NewServerV1(reflection.ServerOptions{Services: s, DescriptorResolver: files}))
	go func() { _ = s.Serve(l) }() // ends with Stop
	t.Cleanup(s.Stop)
	return l.Addr().String()
}
