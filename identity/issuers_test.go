package identity_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

// replaceable is an issuer with its keys, and a token of somebody of it.
func replaceable(t *testing.T, clock *identitytest.Clock, name, tenant string) (i identity.Issuer, token identity.Secret) {
	t.Helper()
	s := identitytest.NewSigner(t, "ES256", "k1")
	return identity.Issuer{Issuer: name, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, Tenant: tenant, JWKS: identitytest.KeySet(s)},
		identity.NewSecret(s.Token(map[string]any{"iss": name, "sub": "ann", "aud": "behalf", "iat": clock.Now().Unix(), "exp": clock.Now().Unix() + 600}))
}

func TestReplacedIssuersAreBelievedAtOnceAndNoOthers(t *testing.T) {
	clock := identitytest.NewClock()
	stays, ofStays := replaceable(t, clock, "https://stays.test", "acme")
	goes, ofGoes := replaceable(t, clock, "https://goes.test", "lab")
	comes, ofComes := replaceable(t, clock, "https://comes.test", "globex")
	v := newVerifier(t, clock.Now, stays, goes)
	var people []identity.User
	for _, token := range []identity.Secret{ofStays, ofGoes} {
		u, err := v.Verify(t.Context(), token, "") // and it is remembered from now on
		if err != nil || v.Trusts(u) != nil {
			t.Fatalf("got %v, %v", err, v.Trusts(u))
		}
		people = append(people, u)
	}

	next, err := v.Prepare(t.Context(), []identity.Issuer{stays, comes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), ofComes, ""); err == nil || v.Trusts(people[1]) != nil {
		t.Errorf("got %v, %v before Replace, want what was", err, v.Trusts(people[1]))
	}
	v.Replace(next)

	if _, err := v.Verify(t.Context(), ofGoes, ""); !errors.Is(err, fault.CredentialInvalid) || v.Trusts(people[1]) == nil {
		t.Errorf("got %v, %v for an issuer that is gone, want it refused", err, v.Trusts(people[1]))
	}
	if _, err := v.Verify(t.Context(), ofComes, ""); err != nil {
		t.Errorf("got %v for a new issuer", err)
	}
	if _, err := v.Verify(t.Context(), ofStays, ""); err != nil || v.Trusts(people[0]) != nil {
		t.Errorf("got %v, %v for the one that stayed", err, v.Trusts(people[0]))
	}
}

func TestAnIssuerThatMayNameLessEndsWhoItNamed(t *testing.T) {
	clock := identitytest.NewClock()
	i, token := replaceable(t, clock, "https://idp.test", "acme")
	v := newVerifier(t, clock.Now, i)
	u, err := v.Verify(t.Context(), token, "")
	if err != nil {
		t.Fatal(err)
	}

	for name, edit := range map[string]func(*identity.Issuer){
		"another tenant":       func(i *identity.Issuer) { i.Tenant = "lab" },
		"a prefix of subjects": func(i *identity.Issuer) { i.SubjectPrefix = "idp|" },
		"another audience":     func(i *identity.Issuer) { i.Audiences = []string{"other"} },
	} {
		changed := i
		edit(&changed)
		next, err := v.Prepare(t.Context(), []identity.Issuer{changed})
		if err != nil {
			t.Fatal(err)
		}
		v.Replace(next)

		again, err := v.Verify(t.Context(), token, "")
		if err == nil && again.Tenant == u.Tenant && again.Subject == u.Subject {
			t.Errorf("%s: got %v, want what was verified before forgotten", name, again)
		}
		if trusts := v.Trusts(u); (trusts == nil) != (name == "another audience") {
			t.Errorf("%s: got %v for who was verified before", name, trusts)
		}
	}
}

func TestPrepareFetchesNewKeysAndKeepsTheOthers(t *testing.T) {
	clock := identitytest.NewClock()
	i, token := replaceable(t, clock, "https://idp.test", "acme")
	var fetched atomic.Int32
	var down atomic.Bool
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(i.JWKS)
	}))
	defer keys.Close()
	there := i
	there.JWKS, there.JWKSURL = nil, keys.URL
	v := newVerifier(t, clock.Now, there)
	if _, err := v.Verify(t.Context(), token, ""); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	stricter, elsewhere := there, there
	stricter.Audiences, elsewhere.JWKSURL = []string{"behalf", "more"}, keys.URL+"/new"

	if _, err := v.Prepare(t.Context(), []identity.Issuer{stricter}); err != nil || fetched.Load() != 1 {
		t.Errorf("got %v after %d fetches, want the keys that there are", err, fetched.Load())
	}
	if _, err := v.Prepare(t.Context(), []identity.Issuer{elsewhere}); err == nil {
		t.Error("keys in a new place that cannot be had: got no error")
	}
	if _, err := v.Verify(t.Context(), token, ""); err != nil {
		t.Errorf("got %v after what was prepared in vain", err)
	}
}
