package calltoken_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
)

// states are the keys in order, in words.
func states(k *calltoken.Keys) (all []calltoken.State) {
	for _, x := range k.List() {
		all = append(all, x.State)
	}
	return all
}

func wantStates(t *testing.T, k *calltoken.Keys, want ...calltoken.State) {
	t.Helper()
	got := states(k)
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestAKeyIsRotatedByCommandWithoutARefusedCall(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	first := signedBy(t, k)
	now.add(time.Hour)

	next, err := k.Renew()
	if err != nil || next.State != calltoken.Next || !next.From.Equal(now.t.Add(calltoken.CacheFor)) {
		t.Fatalf("got %+v, %v, want a key that signs once every backend has it", next, err)
	}
	again, err := k.Renew()
	if err != nil || again != next {
		t.Errorf("got %+v, %v, want the same one again", again, err)
	}
	wantStates(t, k, calltoken.Current, calltoken.Next)
	if signedBy(t, k) != first {
		t.Error("the next key signs before backends have it")
	}

	now.add(calltoken.CacheFor)
	wantStates(t, k, calltoken.Retired, calltoken.Current)
	if signedBy(t, k) != next.ID {
		t.Error("the next key does not sign in its time")
	}
	now.add(2 * calltoken.Life)
	rotate(t, k)
	if wantStates(t, k, calltoken.Current); !k.List()[0].Until.Equal(next.From.Add(24 * time.Hour)) {
		t.Errorf("got %+v, want it to sign for a day", k.List())
	}
}

func TestRevokingTheCurrentKeyWakesNoRetiredOne(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	first := signedBy(t, k)
	if _, err := k.Renew(); err != nil {
		t.Fatal(err)
	}
	now.add(calltoken.CacheFor)
	second := signedBy(t, k)

	if err := k.Revoke(second); err != nil {
		t.Fatal(err)
	}

	if by := signedBy(t, k); by == first || by == second {
		t.Errorf("got %s signing, want a new key", by)
	}
	wantStates(t, k, calltoken.Retired, calltoken.Current)
	if err := k.Revoke(first); err != nil {
		t.Fatal(err)
	}
	wantStates(t, k, calltoken.Current)
	if err := k.Revoke(first); !errors.Is(err, calltoken.ErrNoKey) {
		t.Errorf("got %v, want no such key", err)
	}
}

// A revoked key that is still in the file would come back with the next process.
func TestARevocationThatCannotBeKeptHoldsAndIsTriedAgain(t *testing.T) {
	now, dir := newClock(), filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "calltoken.keys")
	k := newKeys(t, file, now.now)
	first := signedBy(t, k)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}

	for range 2 {
		if err := k.Revoke(first); err == nil || errors.Is(err, calltoken.ErrNoKey) {
			t.Errorf("got %v, want that it could not be kept", err)
		}
	}
	if by := signedBy(t, k); by == first || contains(ids(t, k), first) {
		t.Errorf("got %s signing, want the key gone all the same", by)
	}

	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	rotate(t, k)
	if by := signedBy(t, newKeys(t, file, now.now)); by != signedBy(t, k) {
		t.Errorf("got %s signing after a start, want the key that signs now", by)
	}
}

// What a backend does that keeps the key set: it accepts the revoked key until it reads
// the set again, which a token of the new key makes it do, and refuses it from then on.
func TestABackendRefusesARevokedKeyOnceItReadsAgain(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, err := k.JWKS()
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(body)
	}))
	t.Cleanup(published.Close)
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "crm", JWKSURL: published.URL, Clients: []string{caller}, Now: now.now})
	if err != nil {
		t.Fatal(err)
	}
	mint := func() string {
		token, err := k.Mint(claims(), calltoken.TypeCall, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	verify := func(token string) error {
		_, err := v.Verify(t.Context(), token, received())
		return err
	}
	old := []string{mint(), mint(), mint()}
	if err := verify(old[0]); err != nil {
		t.Fatal(err)
	}

	if err := k.Revoke(k.List()[0].ID); err != nil {
		t.Fatal(err)
	}

	if err := verify(old[1]); err != nil {
		t.Errorf("got %v: if this backend does not keep keys, docs/operating.md is wrong", err)
	}
	now.add(31 * time.Second) // it lets strange keys make it read once in 30 s
	if err := verify(mint()); err != nil {
		t.Errorf("a token of the new key: %v, want calls to go on", err)
	}
	if err := verify(old[2]); err == nil {
		t.Error("a token of the revoked key was accepted after the set was read again")
	}
}
