package runs_test

import (
	"bytes"
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
)

func TestStoredGrantComesBackAsNarrowAsItWas(t *testing.T) {
	user := &identity.User{
		Issuer: "https://idp.example", Subject: "ana", Tenant: "acme", Name: "Ana", Email: "ana@acme.example", Roles: []string{"clerk"},
		Scopes: identity.NewScopes("crm.read", "orders.refund"), ACR: "mfa", AMR: []string{"pwd", "otp"}, AuthTime: time.Unix(1, 5).UTC(), Expires: time.Unix(100, 0).UTC(),
		TokenID: "jti", Thumbprint: "print",
	}
	workload := &identity.Workload{ID: "spiffe://corp.example/ns/a/sa/b", TrustDomain: "corp.example", Tenant: "acme", NotAfter: time.Unix(50, 0).UTC(), Scopes: identity.NewScopes("crm.read")}
	narrow, nothing := identity.NewScopes("crm.read"), identity.NewScopes()
	for name, g := range map[string]identity.Grant{
		"person":          identity.Root("grt_a", identity.Principal{User: user}, nil, identity.API),
		"narrowed":        identity.Root("grt_a", identity.Principal{User: user, Workload: workload}, &narrow, ""),
		"nothing":         identity.Root("grt_a", identity.Principal{User: user}, &nothing, ""),
		"workload":        identity.Root("grt_a", identity.Principal{Workload: workload}, nil, identity.Background),
		"delegated child": child(t, identity.Root("grt_a", identity.Principal{User: user}, nil, ""), "helper", &narrow),
	} {
		rec := runs.RecordOf(g, time.Unix(9, 0))

		back := rec.Restore()

		if diff := cmp.Diff(rec, runs.RecordOf(back, time.Unix(9, 0))); diff != "" {
			t.Errorf("%s changed (-kept +restored):\n%s", name, diff)
		}
		if !back.Principal().Same(g.Principal()) || !cmp.Equal(back.Scopes().Names(), g.Scopes().Names()) || back.Tenant() != g.Tenant() || !back.Expires().Equal(g.Expires()) || back.Tier() != g.Tier() || !cmp.Equal(back.Chain(), g.Chain()) {
			t.Errorf("%s came back as %+v, want %+v", name, back, g)
		}
	}
}

func TestUnknownRolesStayUnknown(t *testing.T) {
	user := &identity.User{Issuer: "https://idp.example", Subject: "ana", Tenant: "acme", RolesUnknown: true, Expires: time.Unix(100, 0).UTC()}

	back := runs.RecordOf(identity.Root("grt_a", identity.Principal{User: user}, nil, ""), time.Unix(9, 0)).Restore()

	if u := back.Principal().User; !u.RolesUnknown || len(u.Roles) != 0 {
		t.Errorf("roles nobody knows came back as %q, unknown %v", u.Roles, u.RolesUnknown)
	}
	again := runs.RecordOf(back, time.Unix(9, 0)).Restore()
	if u := again.Principal().User; !u.RolesUnknown {
		t.Error("the second time they came back as none")
	}
}

func child(t *testing.T, g identity.Grant, agent string, ceiling *identity.Scopes) identity.Grant {
	t.Helper()
	c, err := g.Child(agent, ceiling, identity.MaxChain)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIDsAre128BitsOfTheReader(t *testing.T) {
	for _, prefix := range []string{runs.RunPrefix, runs.SessionPrefix, runs.ApprovalPrefix, runs.GrantPrefix} {
		id, err := runs.NewID(prefix, bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
		if err != nil || !regexp.MustCompile(`^`+prefix+`[a-z2-7]{26}$`).MatchString(id) {
			t.Errorf("got %q and %v", id, err)
		}
	}
	if _, err := runs.NewID("run_", io.LimitReader(bytes.NewReader(make([]byte, 99)), 15)); err == nil {
		t.Error("an id was made of too few bits")
	}
}
