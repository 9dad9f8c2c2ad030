package behalf_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
)

// A backend's parameter that looks like a person's id stops the start, until the config
// says whose it must be, or that it is none.
func TestNobodyStartsWithAParameterThatMayNameAnybody(t *testing.T) {
	for _, c := range []struct {
		waive []string
		owner map[string]string
		lacks string // what the error tells to do; empty: it starts
	}{
		{lacks: `waive "GetPerson.id"`},
		{waive: []string{"GetPerson.id"}, lacks: `waive "FindThings.filter.emails"`},
		{waive: []string{"FindThings.filter.emails", "GetPerson.id"}},
		{waive: []string{"FindThings.filter.emails"}, owner: map[string]string{"id": "subject"}},
		{waive: []string{"FindThings.filter.emails"}, owner: map[string]string{"name": "subject"}, lacks: "no parameter name"},
		{waive: []string{"FindThings.filter.emails", "GetPerson.id", "GetPerson.name"}, lacks: "no parameter GetPerson.name to waive"},
	} {
		err := people(t, c.waive, c.owner)

		if c.lacks == "" && err != nil {
			t.Errorf("%v, %v: got %v, want it to start", c.waive, c.owner, err)
		}
		if c.lacks != "" && (err == nil || !strings.Contains(err.Error(), c.lacks)) {
			t.Errorf("%v, %v: got %v, want %q", c.waive, c.owner, err, c.lacks)
		}
	}
}

// people builds a server with a backend about people, and ends it.
func people(t *testing.T, waive []string, owners map[string]string) error {
	t.Helper()
	dir := plainDir(t, "runs: { log: memory }\nstore: { dsn: 'sqlite://state/behalf.db' }\n")
	cfg, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Server.HTTP = "127.0.0.1:0", "127.0.0.1:0"
	cfg.CallTokens.Issuer = "https://behalf.test"
	set := config.Toolset{GRPC: &config.GRPC{
		Target: "127.0.0.1:1", Services: []string{"everything.v1.PeopleService"}, Audience: "people", Waive: waive,
		DescriptorSet: "tools/grpctool/testdata/everything.binpb",
	}}
	if owners != nil {
		set.Tools = map[string]config.Tool{"GetPerson": {Owners: owners}}
	}
	cfg.Tools = map[string]config.Toolset{"people": set}
	ca, err := identity.NewDevCA(identity.DevCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := behalf.New(t.Context(), cfg, behalf.WithIdentity(behalf.Identity{Source: ca, Tenants: map[string]string{ca.TrustDomain(): "acme"}}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	return nil
}
