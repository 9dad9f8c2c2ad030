package identity_test

import (
	"testing"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func TestReplacedGrantsHoldAtOnceAndEndWhoHasLess(t *testing.T) {
	ca := identitytest.NewCA(t)
	first := identity.WorkloadGrant{ID: anyTestWorkload, Scopes: []string{"a", "b"}, Issuers: []string{"https://one", "https://two"}}
	peers := newPeers(t, identity.PeersConfig{
		Source: identitytest.NewSource(t, ca, "/server"), Tenants: map[string]string{identitytest.TrustDomain: "acme"}, Grants: []identity.WorkloadGrant{first},
	})
	state := identitytest.State(identitytest.Issue(t, ca, "/a"))
	w, err := peers.Workload(*state)
	if err != nil {
		t.Fatal(err)
	}
	stored := identity.Workload{ID: w.ID, TrustDomain: w.TrustDomain, Scopes: w.Scopes} // of a run that went on without its caller

	for name, c := range map[string]struct {
		grants             []identity.WorkloadGrant
		calls, trusts, one bool
	}{
		"more":          {[]identity.WorkloadGrant{{ID: anyTestWorkload, Scopes: []string{"a", "b", "c"}, Issuers: []string{"https://one", "https://three"}}}, true, true, true},
		"fewer scopes":  {[]identity.WorkloadGrant{{ID: anyTestWorkload, Scopes: []string{"a"}, Issuers: []string{"https://one"}}}, true, false, true},
		"fewer issuers": {[]identity.WorkloadGrant{{ID: anyTestWorkload, Scopes: []string{"a", "b"}, Issuers: []string{"https://two"}}}, true, true, false},
		"none":          {nil, false, false, false},
		"the same":      {[]identity.WorkloadGrant{first}, true, true, true},
	} {
		next, err := peers.Grants(c.grants)
		if err != nil {
			t.Fatal(err)
		}
		peers.Replace(next)

		now, err := peers.Workload(*state)
		if (err == nil) != c.calls || err == nil && len(now.Scopes.Names()) != len(c.grants[0].Scopes) {
			t.Errorf("%s: got %v, %v for the next call", name, now.Scopes.Names(), err)
		}
		for _, w := range []identity.Workload{w, stored} {
			if err := peers.Trusts(w); (err == nil) != c.trusts {
				t.Errorf("%s: got %v for what is open", name, err)
			}
			if err := peers.Presents(w, "https://one"); (err == nil) != c.one {
				t.Errorf("%s: got %v for a person whom it brought", name, err)
			}
		}
	}
	if _, err := peers.Grants([]identity.WorkloadGrant{{ID: "spiffe://other.example/**"}}); err == nil {
		t.Error("a trust domain without a tenant: got no error")
	}
}
