package identity

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/google/go-cmp/cmp"
)

func TestKeysComeFromPublicAddressesOnly(t *testing.T) {
	for _, row := range []struct {
		address                string
		loopback, allow, valid bool
	}{
		{address: "93.184.216.34:443", valid: true},
		{address: "[2606:2800:220:1::1]:443", valid: true},
		{address: "10.0.0.1:443"},
		{address: "172.16.0.1:443"},
		{address: "192.168.1.1:443"},
		{address: "[fd00::1]:443"},
		{address: "10.0.0.1:443", allow: true, valid: true},
		{address: "[fd00::1]:443", allow: true, valid: true},
		{address: "127.0.0.1:443"},
		{address: "[::1]:443"},
		{address: "127.0.0.1:443", loopback: true, valid: true},
		{address: "127.0.0.1:443", allow: true, valid: true},
		{address: "[::ffff:127.0.0.1]:443"},
		{address: "[::ffff:10.0.0.1]:443"},
		{address: "10.0.0.1:443", loopback: true},
		{address: "169.254.169.254:80"},
		{address: "169.254.169.254:80", allow: true},
		{address: "[fe80::1]:443", allow: true},
		{address: "0.0.0.0:443", allow: true},
		{address: "100.64.0.1:443"},
		{address: "[64:ff9b::a00:1]:443"},
		{address: "[2002:a00:1::]:443"},
		{address: "224.0.0.1:443"},
		{address: "255.255.255.255:443", allow: true},
		{address: "not an address"},
	} {
		w := &web{loopback: row.loopback}
		if err := w.checkAddress(row.address, row.allow); (err == nil) != row.valid {
			t.Errorf("%+v: got %v", row, err)
		}
	}
}

func TestCacheControlIsBounded(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                          defaultTTL,
		"public":                    defaultTTL,
		"max-age=300":               5 * time.Minute,
		"public, Max-Age=\"300\"":   5 * time.Minute,
		"max-age=1":                 minTTL,
		"max-age=0":                 minTTL,
		"no-store":                  minTTL,
		"max-age=999999999":         maxTTL,
		"max-age=-1":                defaultTTL,
		"max-age=99999999999999999": defaultTTL,
	} {
		if got := lifetime(header); got != want {
			t.Errorf("%q: got %s, want %s", header, got, want)
		}
	}
}

func TestMetadataAddresses(t *testing.T) {
	got := metadataAddresses("https://idp.example/realms/a/")
	want := []string{
		"https://idp.example/realms/a/.well-known/openid-configuration",
		"https://idp.example/.well-known/oauth-authorization-server/realms/a",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got, want: %s", diff)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache[int]
	now := time.Now()
	for n := range 100_000 {
		c.put(cacheKey{sum: [32]byte{byte(n), byte(n >> 8), byte(n >> 16)}}, n, now.Add(time.Minute), now)
	}

	total := 0
	for i := range c.shards {
		total += len(c.shards[i].entries)
	}

	if total == 0 || total > cacheShards*shardEntries {
		t.Errorf("got %d entries, want at most %d", total, cacheShards*shardEntries)
	}
}

func TestCacheForgetsAtTheEnd(t *testing.T) {
	var c cache[int]
	now := time.Now()
	k := cacheKey{leaf: "a"}
	c.put(k, 1, now.Add(time.Second), now)

	_, before := c.get(k, now)
	_, otherLeaf := c.get(cacheKey{leaf: "b"}, now)
	_, after := c.get(k, now.Add(time.Second))

	if !before || otherLeaf || after {
		t.Errorf("got %v, %v, %v, want true, false, false", before, otherLeaf, after)
	}
}

func TestAbsentKidsAreRememberedInBoundedSpace(t *testing.T) {
	s := &keySet{now: time.Now}
	for n := range 3 * maxMissingKeys {
		s.remember(string(rune(n + 1000)))
	}

	if len(s.missing) != maxMissingKeys {
		t.Errorf("got %d, want %d", len(s.missing), maxMissingKeys)
	}
}

// TestAFetchHasADeadline so that an issuer which never answers holds up nobody for
// longer (SECURITY 2.1).
func TestAFetchHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keySet{now: time.Now, log: orDiscard(nil), maxStale: time.Hour, load: func(ctx context.Context) (document, error) {
			<-ctx.Done()
			return document{}, ctx.Err()
		}}
		begun := time.Now()

		_, _, err := s.find(t.Context(), "k1")

		if took := time.Since(begun); took != 5*time.Second || !errors.Is(err, fault.KeysetUnavailable) {
			t.Errorf("got %v after %v, want KEYSET_UNAVAILABLE after 5 s", err, took)
		}
	})
}
