package identity_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/identity"
)

// holder verifies tokens of an issuer and lets persons have theirs while hold is true.
func holder(t *testing.T, hold *bool) (*identity.Verifier, *forge) {
	t.Helper()
	f := newForge(t)
	v, err := identity.NewVerifier(identity.VerifierConfig{Issuers: f.Issuers(), Holds: func() bool { return *hold }})
	if err != nil {
		t.Fatal(err)
	}
	return v, f
}

func TestAPersonHasTheirTokenWhereItIsExchangedAndNowhereElse(t *testing.T) {
	hold := false
	v, f := holder(t, &hold)
	raw := identity.NewSecret(f.Good())
	verify := func() identity.User {
		t.Helper()
		u, err := v.Verify(t.Context(), raw, "")
		if err != nil {
			t.Fatal(err)
		}
		return u
	}

	without := verify()
	hold = true
	with := verify() // from memory
	hold = false
	again := verify()

	if token := with.Token(); token.Reveal() != raw.Reveal() {
		t.Error("got no token, want the person's own")
	}
	if !without.Token().IsZero() || !again.Token().IsZero() {
		t.Error("got a token where nobody exchanges any")
	}
}

func TestATokenThatIsHeldIsNeverPrinted(t *testing.T) {
	hold := true
	v, f := holder(t, &hold)
	raw := f.Good()
	u, err := v.Verify(t.Context(), identity.NewSecret(raw), "")
	if err != nil {
		t.Fatal(err)
	}
	g := identity.Root("grt_1", identity.Principal{User: &u}, nil, "")

	text, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}

	for _, shown := range []string{string(text), fmt.Sprintf("%v %+v %#v %s", u, u, u, u.Token()), fmt.Sprintf("%v %+v %#v", g, g, g)} {
		if strings.Contains(shown, raw) || strings.Contains(shown, strings.Split(raw, ".")[2]) {
			t.Errorf("the token is in %s", shown)
		}
	}
}

func TestAGrantOutOfAStoreGetsItsOwnTokenBackAndNoOther(t *testing.T) {
	hold := true
	v, f := holder(t, &hold)
	mine, other := identity.NewSecret(f.Good()), identity.NewSecret(f.Claim("jti", "another"))
	u, err := v.Verify(t.Context(), mine, "")
	if err != nil {
		t.Fatal(err)
	}
	kept := identity.Root("grt_1", identity.Principal{User: &identity.User{Issuer: u.Issuer, Subject: u.Subject, Thumbprint: u.Thumbprint}}, nil, "")

	own, wrong := kept.Bearing(mine), kept.Bearing(other)

	if token := own.Principal().User.Token(); token.Reveal() != mine.Reveal() {
		t.Error("got no token, want the one of the grant's credential")
	}
	if !wrong.Principal().User.Token().IsZero() || !kept.Principal().User.Token().IsZero() {
		t.Error("got a token that the grant's credential was not made of")
	}
	if workload := identity.Root("grt_2", identity.Principal{Workload: &identity.Workload{}}, nil, "").Bearing(mine); workload.Principal().User != nil {
		t.Error("a workload became a person")
	}
}

func TestARefreshReplacesTheTokenThatIsHeld(t *testing.T) {
	hold := true
	v, f := holder(t, &hold)
	grant := func(raw string) (identity.Grant, identity.Principal) {
		u, err := v.Verify(t.Context(), identity.NewSecret(raw), "")
		if err != nil {
			t.Fatal(err)
		}
		p := identity.Principal{User: &u}
		return identity.Root("grt_1", p, nil, ""), p
	}
	fresh := f.Claim("jti", "fresh")
	old, _ := grant(f.Good())
	child, err := old.Child("support", nil, 8)
	if err != nil {
		t.Fatal(err)
	}
	_, p := grant(fresh)

	if _, err := old.Renew(p); err != nil {
		t.Fatal(err)
	}

	if token := child.Current().Principal().User.Token(); token.Reveal() != fresh {
		t.Error("got another token, want the fresh one, below too")
	}
}

func TestUnverifiedReadsClaimsStrictly(t *testing.T) {
	f := newForge(t)
	for name, row := range map[string]struct {
		token   string
		jwt, ok bool
	}{
		"good":             {f.Good(), true, true},
		"opaque":           {"a-token.of-two-parts", false, true},
		"empty":            {"", false, true},
		"not base64":       {"a.b.c", true, false},
		"a claim twice":    {f.Payload(func(s string) string { return strings.Replace(s, "{", `{"sub":"x",`, 1) }), true, false},
		"too long":         {f.Good() + strings.Repeat("A", 8<<10), true, false},
		"claims no object": {"eyJhbGciOiJFUzI1NiJ9.W10.AA", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			claims, jwt, err := identity.Unverified(identity.NewSecret(row.token))

			if jwt != row.jwt || (err == nil) != row.ok || (len(claims) > 0) != (row.jwt && row.ok) {
				t.Errorf("got %s, %v, %v, want a JWT: %v, good: %v", claims, jwt, err, row.jwt, row.ok)
			}
		})
	}
}
