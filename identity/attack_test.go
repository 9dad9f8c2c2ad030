package identity_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

const issuerName = "https://idp.example"

// forge is the corpus with a verifier that accepts its good tokens.
type forge struct {
	*identitytest.Forge
	clock    *identitytest.Clock
	verifier *identity.Verifier
}

func newForge(t *testing.T) *forge {
	t.Helper()
	clock := identitytest.NewClock()
	f := identitytest.NewForge(t, "acme", clock.Now)
	return &forge{f, clock, newVerifier(t, clock.Now, f.Issuers()...)}
}

func TestVerifierRefusesTheAttackCorpusWithOneText(t *testing.T) {
	f := newForge(t)
	texts := map[fault.Reason]map[string]bool{}
	for _, row := range f.Bad() {
		t.Run(row.Line+" "+row.Name, func(t *testing.T) {
			_, err := f.verifier.Verify(t.Context(), identity.NewSecret(row.Token), "")

			got, ok := errors.AsType[*fault.Error](err)
			if !ok || got.Reason != row.Reason {
				t.Fatalf("got %v, want %s", err, row.Reason)
			}
			if texts[got.Reason] == nil {
				texts[got.Reason] = map[string]bool{}
			}
			texts[got.Reason][got.Message] = true
			if row.Token != "" && strings.Contains(got.Error(), row.Token) {
				t.Error("the error contains the token")
			}
		})
	}
	for reason, all := range texts {
		if len(all) != 1 {
			t.Errorf("got %d public texts of %s, want 1", len(all), reason)
		}
	}
}

func TestVerifierAcceptsTheGoodTwinsOfTheCorpus(t *testing.T) {
	f := newForge(t)
	for _, row := range f.Twins() {
		t.Run(row.Line+" "+row.Name, func(t *testing.T) {
			if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(row.Token), ""); err != nil {
				t.Errorf("got %v, want none", err)
			}
		})
	}
}

func TestDatesMayBeOffByTheSkewAndNoMore(t *testing.T) {
	f := newForge(t)
	for _, claim := range []string{"iat", "nbf"} {
		if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(f.Claim(claim, f.In(30*time.Second))), ""); err != nil {
			t.Errorf("%s at the skew: %v", claim, err)
		}
		if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(f.Claim(claim, f.In(31*time.Second))), ""); !errors.Is(err, fault.CredentialInvalid) {
			t.Errorf("%s beyond the skew: got %v, want CREDENTIAL_INVALID", claim, err)
		}
	}
}

func TestVerifierTellsExpiryOnlyForTokensThatAreGoodOtherwise(t *testing.T) {
	f := newForge(t)
	good, foreign := f.Good(), f.Claim("aud", "billing")
	f.clock.Advance(10*time.Minute + 29*time.Second)
	if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(good), ""); err != nil {
		t.Fatalf("within the skew: %v", err)
	}
	f.clock.Advance(time.Second)

	_, err := f.verifier.Verify(t.Context(), identity.NewSecret(good), "")
	_, foreignErr := f.verifier.Verify(t.Context(), identity.NewSecret(foreign), "")

	if !errors.Is(err, fault.CredentialExpired) {
		t.Errorf("got %v, want CREDENTIAL_EXPIRED", err)
	}
	if !errors.Is(foreignErr, fault.CredentialInvalid) {
		t.Errorf("got %v, want CREDENTIAL_INVALID", foreignErr)
	}
}
