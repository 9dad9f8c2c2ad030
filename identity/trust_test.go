package identity_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

// eventually looks at a source that follows files until it is as it should be.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestABundleFileThatIsGoneTakesItsTrustDomainAlong(t *testing.T) {
	ca, partner, dir, log := identitytest.NewCA(t), identitytest.NewCAOf(t, "partner.example"), t.TempDir(), make(logged, 100)
	write(t, dir, ca, identitytest.Issue(t, ca, "/server"))
	federated, keys := filepath.Join(dir, "partner.crt"), filepath.Join(dir, "partner.jwks")
	for file, text := range map[string][]byte{federated: partner.AuthorityPEM(), keys: partner.JWTKeys()} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := filesIn(dir, log)
	cfg.Bundles["partner.example"], cfg.JWTBundles = federated, map[string]string{"partner.example": keys}
	src, err := identity.NewFiles(cfg)
	if err != nil {
		t.Fatal(err)
	}
	peers := newPeers(t, identity.PeersConfig{
		Source: src, Audiences: []string{"behalf"}, Tenants: map[string]string{identitytest.TrustDomain: "acme", "partner.example": "acme"},
		Grants: []identity.WorkloadGrant{{ID: anyTestWorkload}, {ID: "spiffe://partner.example/**"}},
	})
	token, state := identitytest.IssueJWT(t, partner, "/a", "behalf"), identitytest.State(identitytest.Issue(t, partner, "/a"))
	bearer, err := peers.Bearer(token, "")
	if err != nil {
		t.Fatal(err)
	}
	run(t, src)
	if err := os.WriteFile(federated, nil, 0o600); err != nil { // a mistake, not a removal
		t.Fatal(err)
	}
	log.wait(t, "not reloaded")
	if _, err := peers.Workload(*state); err != nil {
		t.Errorf("an empty file: got %v, want the old bundle", err)
	}

	if err := os.Remove(federated); err != nil {
		t.Fatal(err)
	}
	eventually(t, "certificates are not trusted", func() bool { _, err := peers.Workload(*state); return err != nil })
	if err := peers.Trusts(bearer); err != nil {
		t.Errorf("got %v for a JWT-SVID whose key is still there", err)
	}
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	eventually(t, "JWT-SVIDs are not trusted", func() bool { _, err := peers.Bearer(token, ""); return err != nil && peers.Trusts(bearer) != nil })
	if _, err := peers.Workload(*identitytest.State(identitytest.Issue(t, ca, "/a"))); err != nil {
		t.Errorf("got %v for a workload of our own domain", err)
	}
	if _, err := identity.NewFiles(cfg); err == nil {
		t.Error("it starts without a file that is named")
	}
}

func TestWorkloadAPIFollowsTheKeysOfJWTSVIDs(t *testing.T) {
	ca, partner := identitytest.NewCA(t), identitytest.NewCAOf(t, "partner.example")
	api, log := identitytest.NewWorkloadAPI(t), make(logged, 100)
	api.Push(t, identitytest.Issue(t, ca, "/server"), identitytest.BundleOf(t, ca), identitytest.BundleOf(t, partner))
	api.PushKeys(map[string][]byte{identitytest.TrustDomain: ca.JWTKeys()})
	src, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: api.Socket, JWT: true, Logger: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	peers := newPeers(t, identity.PeersConfig{
		Source: src, Audiences: []string{"behalf"}, Tenants: map[string]string{identitytest.TrustDomain: "acme", "partner.example": "acme"},
		Grants: []identity.WorkloadGrant{{ID: anyTestWorkload}, {ID: "spiffe://partner.example/**"}},
	})
	own, theirs := identitytest.IssueJWT(t, ca, "/a", "behalf"), identitytest.IssueJWT(t, partner, "/a", "behalf")
	accepted := func(token identity.Secret) bool { _, err := peers.Bearer(token, ""); return err == nil }
	if !accepted(own) || accepted(theirs) {
		t.Fatal("want our own domain's accepted at the start, and no other")
	}
	run(t, src)
	log.wait(t, "keys of JWT-SVIDs received")

	api.PushKeys(map[string][]byte{identitytest.TrustDomain: ca.JWTKeys(), "partner.example": partner.JWTKeys()})
	eventually(t, "the federated domain is trusted", func() bool { return accepted(theirs) })
	api.PushKeys(map[string][]byte{"partner.example": partner.JWTKeys()})
	eventually(t, "our own domain is not", func() bool { return !accepted(own) && accepted(theirs) })

	if _, err := peers.Workload(*identitytest.State(identitytest.Issue(t, ca, "/a"))); err != nil {
		t.Errorf("got %v for a certificate, whose authority is still there", err)
	}
}

func TestWorkloadAPIWithoutJWTKeysDoesNotStartWhenTheyAreDue(t *testing.T) {
	ca, api := identitytest.NewCA(t), identitytest.NewWorkloadAPI(t)
	api.Push(t, identitytest.Issue(t, ca, "/server"), identitytest.BundleOf(t, ca))

	_, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: api.Socket, JWT: true, StartTimeout: 300 * time.Millisecond})

	if err == nil {
		t.Error("got none, want an error")
	}
}

// watching is Watch in a bubble: what it said is in the channels.
func watching(t *testing.T, peers *identity.Peers) (changed chan []string, log logged) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	changed, log = make(chan []string, 10), make(logged, 10)
	go func() { _ = peers.Watch(ctx, slog.New(log), func(domains []string) { changed <- domains }) }() // ends with the test
	synctest.Wait()
	return changed, log
}

func TestWatchTellsWhoseTrustChangedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, partner := identitytest.NewCA(t), identitytest.NewCAOf(t, "partner.example")
		src := identitytest.NewSource(t, ca, "/server")
		src.Trust(identitytest.BundleOf(t, partner))
		peers := newPeers(t, identity.PeersConfig{Source: src, Tenants: map[string]string{identitytest.TrustDomain: "acme", "partner.example": "partner"}})
		changed, _ := watching(t, peers)
		check := func(want ...string) {
			t.Helper()
			<-time.After(time.Second) // the bubble's, which takes no time
			synctest.Wait()
			var got []string
			for len(changed) > 0 {
				got = append(got, <-changed...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}

		check()
		src.Distrust("partner.example")
		check("partner.example")
		src.Trust(identitytest.BundleOf(t, partner))
		check("partner.example")
		src.Trust(identitytest.BundleOf(t, identitytest.NewCAOf(t, "unmapped.example")))
		check()
		src.Trust(identitytest.BundleOf(t, identitytest.NewCA(t)))
		check(identitytest.TrustDomain)
	})
}

func TestWatchSoundsAnAlarmForOurOwnSVIDOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := identity.NewDevCA(identity.DevCAConfig{TrustDomain: identitytest.TrustDomain, Life: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		src := identitytest.NewSource(t, ca, "/server")
		_, log := watching(t, newPeers(t, identity.PeersConfig{Source: src}))
		alarms := func(after time.Duration) int {
			<-time.After(after)
			synctest.Wait()
			n := len(log)
			for len(log) > 0 {
				<-log
			}
			return n
		}

		got := []int{alarms(40 * time.Minute), alarms(5 * time.Minute), alarms(20 * time.Minute)}
		src.Use(identitytest.Issue(t, ca, "/server"))
		got = append(got, alarms(time.Minute))
		src.Use(nil)
		got = append(got, alarms(time.Minute))

		if want := []int{1, 0, 1, 0, 1}; !slices.Equal(got, want) {
			t.Errorf("got %v alarms, want %v: under a third, still, over, renewed, gone", got, want)
		}
	})
}
