package calltoken_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
)

// clock is a time that the test moves.
type clock struct{ t time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.t }

func (c *clock) add(d time.Duration) { c.t = c.t.Add(d) }

func newKeys(t testing.TB, file string, now func() time.Time) *calltoken.Keys {
	t.Helper()
	k, err := calltoken.NewKeys(calltoken.KeysConfig{File: file, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ids are the published keys. No private part may be among them.
func ids(t testing.TB, k *calltoken.Keys) (ids []string) {
	t.Helper()
	jwks, err := k.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	for _, one := range set.Keys {
		if _, private := one["d"]; private {
			t.Fatal("a private key was published")
		}
		ids = append(ids, one["kid"].(string))
	}
	return ids
}

// signedBy is the kid of a token.
func signedBy(t testing.TB, k *calltoken.Keys) string {
	t.Helper()
	token, err := k.Mint(claims(), calltoken.TypeCall, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Kid string }
	decode(t, strings.Split(token.Reveal(), ".")[0], &header)
	return header.Kid
}

func TestAKeyIsPublishedBeforeItSignsAndAfter(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	first := signedBy(t, k)
	if got := ids(t, k); len(got) != 1 || got[0] != first {
		t.Fatalf("got keys %v, want the one that signs, %s", got, first)
	}

	now.add(24*time.Hour - calltoken.CacheFor)
	rotate(t, k)
	if got := ids(t, k); len(got) != 2 || signedBy(t, k) != first {
		t.Errorf("got keys %v and %s signing, want the next one published and not signing yet", got, signedBy(t, k))
	}
	now.add(calltoken.CacheFor)
	second := signedBy(t, k)
	rotate(t, k)
	if got := ids(t, k); second == first || len(got) != 2 {
		t.Errorf("got keys %v and %s signing, want the next one signing and the first still published", got, second)
	}
	now.add(calltoken.Life)
	rotate(t, k)
	if got := ids(t, k); len(got) != 2 {
		t.Errorf("got keys %v, want the first published while there may be tokens of it", got)
	}
	now.add(time.Minute)
	rotate(t, k)
	if got := ids(t, k); len(got) != 1 || got[0] != second {
		t.Errorf("got keys %v, want %s alone once no token of the first is left", got, second)
	}
}

func rotate(t testing.TB, k *calltoken.Keys) {
	t.Helper()
	if err := k.Rotate(); err != nil {
		t.Fatal(err)
	}
}

func TestARevokedKeySignsAndVerifiesNoMore(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	first := signedBy(t, k)
	now.add(24*time.Hour - calltoken.CacheFor)
	rotate(t, k) // the next one does not sign yet

	if err := k.Revoke(first); err != nil {
		t.Fatal(err)
	}

	published := ids(t, k)
	if by := signedBy(t, k); by == first || !contains(published, by) || contains(published, first) {
		t.Errorf("got %s signing and %v published, want neither to be %s", by, published, first)
	}
	if err := k.Revoke("no such"); err == nil {
		t.Error("a key that is none was revoked")
	}
}

func contains(all []string, one string) bool {
	for _, x := range all {
		if x == one {
			return true
		}
	}
	return false
}

func TestKeysOutliveTheProcessAndArePrivate(t *testing.T) {
	now := newClock()
	file := filepath.Join(t.TempDir(), "calltoken.keys")
	first := signedBy(t, newKeys(t, file, now.now))

	if again := signedBy(t, newKeys(t, file, now.now)); again != first {
		t.Errorf("got %s after a start, want %s", again, first)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a file of mode 0600", info.Mode(), err)
	}
	if err := os.Chmod(file, 0o640); err != nil { //nolint:gosec // that it is refused is the test
		t.Fatal(err)
	}
	if _, err := calltoken.NewKeys(calltoken.KeysConfig{File: file}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v, want a file refused that others can read", err)
	}
	if err := os.WriteFile(file, []byte("[{}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(file, 0o600)
	if _, err := calltoken.NewKeys(calltoken.KeysConfig{File: file}); err == nil {
		t.Error("keys that are none were loaded")
	}
}

// Through a link a revocation would not reach the file that is kept.
func TestKeysAreNotKeptBehindALink(t *testing.T) {
	kept, link := filepath.Join(t.TempDir(), "kept"), filepath.Join(t.TempDir(), "calltoken.keys")
	newKeys(t, kept, nil)
	if err := os.Symlink(kept, link); err != nil {
		t.Fatal(err)
	}

	if _, err := calltoken.NewKeys(calltoken.KeysConfig{File: link}); err == nil || !strings.Contains(err.Error(), "name the file itself") {
		t.Errorf("got %v, want the link refused", err)
	}
}

// A key that was not kept would be lost with the process: it must not sign, and it is
// tried again. Nothing else may stop for it.
func TestAKeyThatCannotBeKeptIsNotUsedAndTriedAgain(t *testing.T) {
	now, dir := newClock(), filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k := newKeys(t, filepath.Join(dir, "calltoken.keys"), now.now)
	first := signedBy(t, k)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	now.add(24 * time.Hour)

	if err := k.Rotate(); err == nil {
		t.Error("a key was made that is kept nowhere")
	}
	if got := ids(t, k); len(got) != 1 || signedBy(t, k) != first {
		t.Errorf("got %v, want %s alone to go on", got, first)
	}

	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	rotate(t, k)
	if got := ids(t, k); len(got) != 2 {
		t.Errorf("got %v, want the next one when there is a place for it", got)
	}
}

// A clock that is a year ahead for a while must not leave a key that signs for a year.
func TestKeysRotateOnAfterTheClockWasWrong(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, ticks := range map[string]int{"one tick": 1, "until the first key is gone": 3} {
		now, file := newClock(), filepath.Join(t.TempDir(), "calltoken.keys")
		k := newKeys(t, file, now.now)
		now.add(year)
		for range ticks {
			rotate(t, k)
			now.add(2 * calltoken.CacheFor)
		}
		before := signedBy(t, k)
		now.add(-year - time.Duration(ticks)*2*calltoken.CacheFor)
		k = newKeys(t, file, now.now)
		rotate(t, k)
		if wrong := signedBy(t, k); !contains(ids(t, k), wrong) {
			t.Errorf("%s: %s signs and is not published", name, wrong)
		}

		now.add(25 * time.Hour)
		rotate(t, k)
		now.add(calltoken.CacheFor)
		rotate(t, k)

		if by := signedBy(t, k); by == before {
			t.Errorf("%s: %s still signs a day after the clock is right again", name, by)
		}
		for _, x := range k.List() {
			if x.From.After(now.t.Add(25 * time.Hour)) {
				t.Errorf("%s: got %+v, want no key of next year", name, x)
			}
		}
	}
}

func TestKeysRotateUntilTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newKeys(t, "", nil).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestATokenEndsWithWhatItWasMintedFor(t *testing.T) {
	now := newClock()
	k := newKeys(t, "", now.now)
	for name, c := range map[string]struct {
		until time.Time
		want  time.Duration
	}{
		"nothing sooner":         {time.Time{}, calltoken.Life},
		"the person's later end": {now.t.Add(time.Hour), calltoken.Life},
		"the person's end":       {now.t.Add(10 * time.Second), 10 * time.Second},
	} {
		token, err := k.Mint(claims(), calltoken.TypeCall, c.until)
		if err != nil {
			t.Fatal(err)
		}
		var got calltoken.Claims
		decode(t, strings.Split(token.Reveal(), ".")[1], &got)
		if got.Expires-got.IssuedAt != int64(c.want/time.Second) {
			t.Errorf("%s: got %d s, want %v", name, got.Expires-got.IssuedAt, c.want)
		}
	}
	if _, err := k.Mint(claims(), calltoken.TypeCall, now.t); err == nil {
		t.Error("a token was minted for authority that has ended")
	}
	if _, err := k.Mint(claims(), "id_token", time.Time{}); err == nil {
		t.Error("a token of another class was minted")
	}
	without := claims()
	without.Tool = ""
	if _, err := k.Mint(without, calltoken.TypeCall, time.Time{}); err == nil {
		t.Error("a token was minted that does not say for which tool")
	}
}
