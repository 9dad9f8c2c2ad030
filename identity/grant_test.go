package identity_test

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/google/go-cmp/cmp"
)

func TestADelegatedGrantIsWhatWasGivenAndIsStillTheirs(t *testing.T) {
	d := identity.Delegation{ID: "grt_1", Scopes: identity.NewScopes("a", "b"), Chain: []string{"helper", "clerk"}, Expires: time.Unix(900, 0)}
	onlyB := identity.NewScopes("b", "c")
	for name, row := range map[string]struct {
		p      identity.Principal
		narrow *identity.Scopes
		want   []string
	}{
		"more than was given":      {person("ann", "a", "b", "c"), nil, []string{"a", "b"}},
		"less than was given":      {person("ann", "b", "c"), nil, []string{"b"}},
		"narrowed by who calls":    {person("ann", "a", "b", "c"), &onlyB, []string{"b"}},
		"nothing is left of it":    {person("ann", "c"), nil, nil},
		"narrowed to what is lost": {person("ann", "a"), &onlyB, nil},
	} {
		g := identity.Delegated(d, row.p, row.narrow)
		if diff := cmp.Diff(row.want, g.Scopes().Names()); diff != "" {
			t.Errorf("%s: scopes (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(d.Chain, g.Chain()); diff != "" || g.ID() != "grt_1" || g.Tier() != identity.Subagent {
			t.Errorf("%s: got %s, %s, chain (-want +got):\n%s", name, g.ID(), g.Tier(), diff)
		}
	}
}

func TestADelegatedGrantEndsWithTheFirstOfBoth(t *testing.T) {
	for name, row := range map[string]struct{ given, want int64 }{"the grant": {900, 900}, "the credential": {1100, 1000}} {
		g := identity.Delegated(identity.Delegation{Chain: []string{"helper"}, Expires: time.Unix(row.given, 0)}, person("ann"), nil)
		if got := g.Expires().Unix(); got != row.want {
			t.Errorf("%s ends first: got %d, want %d", name, got, row.want)
		}
	}
}

func TestAGrantForSeveralIsWhatAllHaveForAsLongAsAllHaveIt(t *testing.T) {
	short := person("bob", "b", "c")
	short.User.Expires = time.Unix(900, 0)
	bobs := identity.Root("grt_2", short, nil, identity.Background)

	g, err := identity.Root("grt_1", person("ann", "a", "b"), nil, "").With(bobs).Child("clerk", nil, 8)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b"}, g.Scopes().Names()); diff != "" || g.Expires().Unix() != 900 {
		t.Errorf("got the end %v, scopes (-want +got):\n%s", g.Expires(), diff)
	}
	others := g.Others()
	if len(others) != 1 || others[0].Principal().Subject() != "bob" {
		t.Fatalf("got %v, want bob", others)
	}
	if diff := cmp.Diff([]string{"clerk"}, others[0].Chain()); diff != "" || others[0].Agent() != "clerk" || others[0].Tier() != g.Tier() {
		t.Errorf("bob is not asked as one who came this way: %s, chain (-want +got):\n%s", others[0].Tier(), diff)
	}
	if diff := cmp.Diff([]string{"b"}, others[0].Scopes().Names()); diff != "" {
		t.Errorf("bob's scopes (-want +got):\n%s", diff)
	}
	fresh := person("ann", "a", "b", "c")
	fresh.User.Expires = time.Unix(5000, 0)
	if again, err := g.Refresh(fresh); err != nil || again.Expires().Unix() != 900 {
		t.Errorf("got %v, %v after a refresh of ann's, want bob's end", again.Expires(), err)
	}
}
