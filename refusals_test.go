package behalf_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/behalf-dev/behalf/examples/teams"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

func TestCallersThatCannotBeIdentifiedAreSummarisedInTheSystemChain(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	s, ca := desk(t, dir)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	admin := behalfv1.NewAdminServiceClient(dial(t, ca, s.Addr()))

	for range 3 {
		bad := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer garbage")
		if _, err := admin.WhoAmI(bad, &behalfv1.WhoAmIRequest{}); err == nil {
			t.Fatal("a garbage token was accepted")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	db, err := store.OpenReadOnly(filepath.Join(dir, "behalf.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows []string
	for r, err := range db.Rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r.Tenant+" "+r.Action+" "+r.Decision)
	}
	if len(rows) != 1 || rows[0] != "system authenticate deny" {
		t.Errorf("got rows %q, want one summary", rows)
	}
}

// desk starts nothing yet: it builds a desk whose tools are in process, with its
// state in dir.
func desk(t *testing.T, dir string) (*behalf.Server, *identity.DevCA) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(dir, "desk"), teams.Files); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, "desk", "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Server.HTTP = "127.0.0.1:0", ""
	cfg.Store.DSN, cfg.Audit.Witness, cfg.Runs.Log = "sqlite://"+filepath.Join(dir, "behalf.db"), "", "memory"
	ca, err := identity.NewDevCA(identity.DevCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	tools, err := supportdesk.New()
	if err != nil {
		t.Fatal(err)
	}
	s, err := behalf.New(t.Context(), cfg, behalf.WithTools("supportdesk", tools.Tools()...),
		behalf.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		behalf.WithIdentity(behalf.Identity{
			Source: ca, Tenants: map[string]string{ca.TrustDomain(): "acme"},
			Grants: []identity.WorkloadGrant{{ID: "spiffe://" + ca.TrustDomain() + "/**"}},
		}))
	if err != nil {
		t.Fatal(err)
	}
	return s, ca
}

func dial(t *testing.T, ca *identity.DevCA, addr string) *grpc.ClientConn {
	t.Helper()
	c, err := identity.ClientTLS(identity.ClientConfig{Source: ca, Servers: []string{"spiffe://" + ca.TrustDomain() + "/**"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
