package identity_test

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/google/go-cmp/cmp"
)

func person(sub string, scopes ...string) identity.Principal {
	return identity.Principal{User: &identity.User{
		Issuer: issuerName, Subject: sub, Tenant: "acme", Scopes: identity.NewScopes(scopes...), Expires: time.Unix(1000, 0),
	}}
}

func process(id string, scopes ...string) identity.Principal {
	return identity.Principal{Workload: &identity.Workload{
		ID: id, Tenant: "lab", Scopes: identity.NewScopes(scopes...), NotAfter: time.Unix(2000, 0),
	}}
}

func TestPrincipalSpeaksForThePersonFirst(t *testing.T) {
	both := person("ann", "a")
	both.Workload = process("spiffe://x/y", "b").Workload
	alone := process("spiffe://x/y", "b")
	for name, row := range map[string]struct {
		p               identity.Principal
		subject, tenant string
		scopes          []string
		expires         int64
	}{
		"both":     {both, "ann", "acme", []string{"a"}, 1000},
		"workload": {alone, "spiffe://x/y", "lab", []string{"b"}, 2000},
	} {
		if row.p.Subject() != row.subject || row.p.Tenant() != row.tenant || row.p.Expires().Unix() != row.expires {
			t.Errorf("%s: got %s, %s, %s", name, row.p.Subject(), row.p.Tenant(), row.p.Expires())
		}
		if diff := cmp.Diff(row.p.Scopes().Names(), row.scopes); diff != "" {
			t.Errorf("%s: got, want: %s", name, diff)
		}
	}
	var nobody identity.Principal
	if nobody.Subject() != "" || nobody.Tenant() != "" || nobody.Scopes().Len() != 0 || !nobody.Expires().IsZero() || nobody.Same(nobody) {
		t.Error("the zero principal is somebody")
	}
}

func TestSameMeansTheSamePersonOrWithoutOneTheSameWorkload(t *testing.T) {
	otherIssuer, otherTenant, carried := person("ann"), person("ann"), person("ann")
	otherIssuer.User.Issuer, otherTenant.User.Tenant = "https://other", "lab"
	carried.Workload = process("spiffe://x/y").Workload
	for name, row := range map[string]struct {
		a, b identity.Principal
		want bool
	}{
		"same":                       {person("ann", "a"), person("ann", "b"), true},
		"carried by a workload":      {person("ann"), carried, true},
		"another subject":            {person("ann"), person("bob"), false},
		"another issuer":             {person("ann"), otherIssuer, false},
		"another tenant":             {person("ann"), otherTenant, false},
		"same workload":              {process("spiffe://x/y"), process("spiffe://x/y"), true},
		"another workload":           {process("spiffe://x/y"), process("spiffe://x/z"), false},
		"a workload for its person":  {carried, process("spiffe://x/y"), false},
		"a person for their carrier": {process("spiffe://x/y"), carried, false},
	} {
		if got := row.a.Same(row.b); got != row.want {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
	}
}

func TestScopesAreASet(t *testing.T) {
	s := identity.NewScopes("b", "a", "b")

	if diff := cmp.Diff(s.Names(), []string{"a", "b"}); diff != "" || s.Len() != 2 {
		t.Errorf("got, want: %s", diff)
	}
	s.Names()[0] = "z"
	if !s.Has("a") || s.Has("z") || s.Has("") {
		t.Error("a caller changed the set")
	}
	if missing, ok := s.Missing([]string{"a", "c", "d"}); !ok || missing != "c" {
		t.Errorf("got %q, %v, want c", missing, ok)
	}
	if _, ok := s.Missing(nil); ok {
		t.Error("something is missing of nothing")
	}
	if _, ok := (identity.Scopes{}).Missing([]string{"a"}); !ok {
		t.Error("the empty set has a")
	}
}

func TestNarrowingNeverWidens(t *testing.T) {
	s := identity.NewScopes("a", "b")
	empty, wider := identity.NewScopes(), identity.NewScopes("b", "c")
	for name, row := range map[string]struct {
		ceiling *identity.Scopes
		want    []string
	}{"no ceiling": {nil, []string{"a", "b"}}, "empty ceiling": {&empty, nil}, "wider ceiling": {&wider, []string{"b"}}} {
		if diff := cmp.Diff(s.Narrow(row.ceiling).Names(), row.want); diff != "" {
			t.Errorf("%s: got, want: %s", name, diff)
		}
	}
}

func TestRootGrantIsTheCallersNarrowing(t *testing.T) {
	narrow := identity.NewScopes("a", "c")

	g := identity.Root("grt_1", person("ann", "a", "b"), &narrow, "")

	if g.ID() != "grt_1" || g.Tier() != identity.Interactive || g.Agent() != "" || len(g.Chain()) != 0 || g.Tenant() != "acme" {
		t.Errorf("got %+v", g)
	}
	if diff := cmp.Diff(g.Scopes().Names(), []string{"a"}); diff != "" || !g.Expires().Equal(time.Unix(1000, 0)) {
		t.Errorf("got, want: %s", diff)
	}
}

func TestChildGrowsTheChainAndShrinksTheScopes(t *testing.T) {
	ceiling := identity.NewScopes("a", "x")
	root := identity.Root("g", person("ann", "a", "b"), nil, identity.API)

	first, err1 := root.Child("orchestrator", nil, 8)
	second, err2 := first.Child("worker", &ceiling, 8)
	back, err3 := second.Child("orchestrator", nil, 8)

	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	if diff := cmp.Diff(back.Chain(), []string{"orchestrator", "worker", "orchestrator"}); diff != "" || second.Agent() != "worker" {
		t.Errorf("got, want: %s", diff)
	}
	if diff := cmp.Diff(back.Scopes().Names(), []string{"a"}); diff != "" {
		t.Errorf("a hand-off back widened; got, want: %s", diff)
	}
	if first.Tier() != identity.API || second.Tier() != identity.Subagent || len(root.Chain()) != 0 || root.Scopes().Len() != 2 {
		t.Errorf("got tiers %s and %s, root %v", first.Tier(), second.Tier(), root)
	}
}

func TestSiblingsDoNotShareAChain(t *testing.T) {
	root := identity.Root("g", person("ann"), nil, "")
	parent, err := root.Child("p", nil, 8)
	if err != nil {
		t.Fatal(err)
	}

	a, _ := parent.Child("a", nil, 8)
	b, _ := parent.Child("b", nil, 8)
	a.Chain()[0] = "changed"

	if a.Agent() != "a" || b.Agent() != "b" || a.Chain()[0] != "p" {
		t.Errorf("got %v and %v", a.Chain(), b.Chain())
	}
}

func TestChainHasALimit(t *testing.T) {
	for name, row := range map[string]struct{ limit, want int }{"configured": {2, 2}, "hard cap": {1000, identity.MaxChain}, "none at all": {0, 0}} {
		g, depth := identity.Root("g", person("ann"), nil, ""), 0
		var err error
		for err == nil {
			if g, err = g.Child("a", nil, row.limit); err == nil {
				depth++
			}
		}
		if depth != row.want || fault.From(err).Reason != fault.DelegationScope {
			t.Errorf("%s: got depth %d and %v, want %d", name, depth, err, row.want)
		}
	}
}

func TestRefreshIsOfTheSamePersonAndDoesNotWiden(t *testing.T) {
	g := identity.Root("g", person("ann", "a", "b"), nil, "")
	fresh := person("ann", "b", "c")
	fresh.User.Expires = time.Unix(5000, 0)

	got, err := g.Refresh(fresh)
	_, other := g.Refresh(person("bob", "a"))

	if err != nil || !got.Expires().Equal(time.Unix(5000, 0)) || got.Principal().User != fresh.User {
		t.Errorf("got %v, %v", got, err)
	}
	if diff := cmp.Diff(got.Scopes().Names(), []string{"b"}); diff != "" {
		t.Errorf("got, want: %s", diff)
	}
	if fault.From(other).Reason != fault.OwnerMismatch {
		t.Errorf("got %v, want OWNER_MISMATCH", other)
	}
}

func TestGrantTravelsInTheContext(t *testing.T) {
	if _, ok := identity.FromContext(t.Context()); ok {
		t.Error("an empty context has a grant")
	}
	if _, err := identity.Child(t.Context(), "a", nil, 8); fault.From(err).Reason != fault.Internal {
		t.Errorf("got %v, want INTERNAL", err)
	}
	ctx := identity.WithGrant(t.Context(), identity.Root("g", person("ann"), nil, ""))

	child, err := identity.Child(ctx, "a", nil, 8)
	if err != nil {
		t.Fatal(err)
	}
	_, deep := identity.Child(child, "b", nil, 1)

	parent, _ := identity.FromContext(ctx)
	got, _ := identity.FromContext(child)
	if parent.Agent() != "" || got.Agent() != "a" || fault.From(deep).Reason != fault.DelegationScope {
		t.Errorf("got %q, %q, %v", parent.Agent(), got.Agent(), deep)
	}
}
