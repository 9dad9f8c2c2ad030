package identity_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
)

// served is an issuer with keys from a server that the test controls.
type served struct {
	*identitytest.Issuer
	clock    *identitytest.Clock
	signer   *identitytest.Signer
	verifier *identity.Verifier
}

func newServed(t *testing.T) *served {
	t.Helper()
	s := &served{Issuer: identitytest.NewIssuer(t), clock: identitytest.NewClock(), signer: identitytest.NewSigner(t, "ES256", "k1")}
	s.ServeKeys(identitytest.KeySet(s.signer))
	s.verifier = newVerifier(t, s.clock.Now, identity.Issuer{
		Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, Tenant: "acme", JWKSURL: s.URL() + "/keys",
	})
	return s
}

func (s *served) token(by *identitytest.Signer) identity.Secret {
	now := s.clock.Now().Unix()
	return identity.NewSecret(by.Token(map[string]any{"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 3600}))
}

func (s *served) verify(t *testing.T, by *identitytest.Signer) error {
	t.Helper()
	_, err := s.verifier.Verify(t.Context(), s.token(by), "")
	return err
}

func TestKeysAreFoundByDiscovery(t *testing.T) {
	i := identitytest.NewIssuer(t)
	v := newVerifier(t, nil, i.Config("behalf", "acme"))

	_, err := v.Verify(t.Context(), i.Token(t, map[string]any{"sub": "ann", "aud": "behalf"}), "")
	if err != nil {
		t.Error(err)
	}
}

func TestTenThousandUnknownKidsCauseOneFetch(t *testing.T) {
	s := newServed(t)
	if err := s.verify(t, s.signer); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(time.Minute)
	before := s.Fetches()
	_, payload, _ := strings.Cut(s.token(s.signer).Reveal(), ".")

	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 1250 {
				h := encoded(fmt.Sprintf(`{"alg":"ES256","kid":"x%d-%d","typ":"at+jwt"}`, w, n))
				if _, err := s.verifier.Verify(t.Context(), identity.NewSecret(h+"."+payload), ""); !errors.Is(err, fault.CredentialInvalid) {
					t.Errorf("got %v, want CREDENTIAL_INVALID", err)
				}
			}
		})
	}
	wg.Wait()

	if got := s.Fetches() - before; got != 1 {
		t.Errorf("got %d fetches, want 1", got)
	}
}

func TestBadSignaturesUnderAKnownKidFetchNothing(t *testing.T) {
	s := newServed(t)
	if err := s.verify(t, s.signer); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(time.Minute)
	before := s.Fetches()

	for range 100 {
		_ = s.verify(t, identitytest.NewSigner(t, "ES256", "k1"))
	}

	if got := s.Fetches() - before; got != 0 {
		t.Errorf("got %d fetches, want none", got)
	}
}

func TestFirstTokensShareOneFetch(t *testing.T) {
	s := newServed(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if err := s.verify(t, s.signer); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	if got := s.Fetches(); got != 1 {
		t.Errorf("got %d fetches, want 1", got)
	}
}

func TestWaitingForAFetchEndsWithTheCall(t *testing.T) {
	s := newServed(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.verify(t, s.signer) })
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := s.verifier.Verify(ctx, s.token(s.signer), "")

	close(release)
	wg.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

func TestRotationAddsAtOnceAndRemovesWithTheRefresh(t *testing.T) {
	s := newServed(t)
	old := s.token(s.signer)
	if err := s.verify(t, s.signer); err != nil {
		t.Fatal(err)
	}
	if _, err := s.verifier.Verify(t.Context(), old, ""); err != nil {
		t.Fatal(err)
	}
	fresh := identitytest.NewSigner(t, "ES256", "k2")
	s.ServeKeys(identitytest.KeySet(fresh))
	s.clock.Advance(31 * time.Second)

	added := s.verify(t, fresh)
	_, removed := s.verifier.Verify(t.Context(), old, "")

	if added != nil {
		t.Errorf("the new key: %v", added)
	}
	if !errors.Is(removed, fault.CredentialInvalid) {
		t.Errorf("a seen token of the removed key: got %v, want CREDENTIAL_INVALID", removed)
	}
}

func TestNewKeyWithinTheForcedIntervalWaits(t *testing.T) {
	s := newServed(t)
	if err := s.verify(t, s.signer); err != nil {
		t.Fatal(err)
	}
	fresh := identitytest.NewSigner(t, "ES256", "k2")
	s.ServeKeys(identitytest.KeySet(s.signer, fresh))

	early := s.verify(t, fresh)
	s.clock.Advance(31 * time.Second)
	late := s.verify(t, fresh)

	if !errors.Is(early, fault.CredentialInvalid) || late != nil {
		t.Errorf("got %v and %v, want refused and then accepted", early, late)
	}
}

func TestOutageIsBridgedUntilTheStaleBound(t *testing.T) {
	for name, broken := range map[string]http.HandlerFunc{
		"away":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"empty set": func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, `{"keys":[]}`) },
		"garbage":   func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, `{"keys":`) },
		"only secrets": func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, `{"keys":[{"kty":"oct","kid":"k1","k":"c2VjcmV0"}]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			if err := s.verify(t, s.signer); err != nil {
				t.Fatal(err)
			}
			s.Serve(broken)
			s.clock.Advance(23 * time.Hour)
			_ = s.verify(t, identitytest.NewSigner(t, "ES256", "unknown"))

			bridged := s.verify(t, s.signer)
			s.clock.Advance(2 * time.Hour)
			closed := s.verify(t, s.signer)

			if bridged != nil {
				t.Errorf("before the bound: %v", bridged)
			}
			f := fault.From(closed)
			if f.Reason != fault.KeysetUnavailable || f.Code != codes.Unavailable || f.RetryAfter() <= 0 {
				t.Errorf("after the bound: got %v, want KEYSET_UNAVAILABLE with a retry", closed)
			}
		})
	}
}

func TestSeenTokenDoesNotOutliveTheStaleBound(t *testing.T) {
	s := newServed(t)
	if err := s.verify(t, s.signer); err != nil {
		t.Fatal(err)
	}
	s.Leave()
	s.clock.Advance(24*time.Hour - time.Second)
	token := s.token(s.signer)
	if _, err := s.verifier.Verify(t.Context(), token, ""); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(2 * time.Second)

	_, err := s.verifier.Verify(t.Context(), token, "")

	if !errors.Is(err, fault.KeysetUnavailable) {
		t.Errorf("got %v, want KEYSET_UNAVAILABLE", err)
	}
}

func TestStartWithTheIssuerAwayFailsClosedAndRecovers(t *testing.T) {
	s := newServed(t)
	s.Leave()

	warm := s.verifier.Warm(t.Context())
	away := s.verify(t, s.signer)
	s.Return()
	s.clock.Advance(31 * time.Second)
	back := s.verify(t, s.signer)

	if warm == nil || !errors.Is(away, fault.KeysetUnavailable) || back != nil {
		t.Errorf("got %v, %v, %v, want an error, KEYSET_UNAVAILABLE and none", warm, away, back)
	}
}

func TestStatusShowsAgeAndLastError(t *testing.T) {
	s := newServed(t)
	if err := s.verifier.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	fetched := s.clock.Now()
	s.Leave()
	s.clock.Advance(time.Minute)
	_ = s.verify(t, identitytest.NewSigner(t, "ES256", "unknown"))

	got := s.verifier.Status()

	if len(got) != 1 || got[0].Err == nil || got[0].Keys != 1 || !got[0].Fetched.Equal(fetched) {
		t.Errorf("got %+v, want one key fetched at %s and an error", got, fetched)
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	old, fresh := identitytest.NewSigner(t, "ES256", "k1"), identitytest.NewSigner(t, "ES256", "k2")
	if err := os.WriteFile(file, identitytest.KeySet(old), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := identitytest.NewClock()
	i := goodIssuer()
	i.JWKSFile = file
	v := newVerifier(t, clock.Now, i)
	if err := v.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, identitytest.KeySet(fresh), 0o600); err != nil {
		t.Fatal(err)
	}
	now := clock.Now().Unix()
	claims := map[string]any{"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 60}

	_, err := v.Verify(t.Context(), identity.NewSecret(fresh.Token(claims)), "")
	if err != nil {
		t.Error(err)
	}
}

func TestRunRefreshesInTheBackgroundAndRetriesFailures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	signer := identitytest.NewSigner(t, "ES256", "k1")
	synctest.Test(t, func(t *testing.T) {
		i := goodIssuer()
		i.JWKSFile = file
		v := newVerifier(t, time.Now, i)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		synctest.Wait()
		absent := v.Status()[0]
		if err := os.WriteFile(file, identitytest.KeySet(signer), 0o600); err != nil {
			t.Fatal(err)
		}

		<-time.After(2 * time.Second) // virtual time
		synctest.Wait()
		found := v.Status()[0]
		<-time.After(time.Hour) // virtual time
		synctest.Wait()
		later := v.Status()[0]
		cancel()

		if absent.Err == nil || found.Err != nil || found.Keys != 1 {
			t.Errorf("got %+v then %+v, want an error and then a key", absent, found)
		}
		if age := time.Since(later.Fetched); age > time.Minute+time.Second {
			t.Errorf("got keys of age %s, want a minute at most", age)
		}
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want none", err)
		}
	})
}

func encoded(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
