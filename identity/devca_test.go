package identity_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func TestDevCASurvivesARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	first, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	files, err := first.Files("/client/ann")
	if err != nil {
		t.Fatal(err)
	}

	second, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	again, err := second.Files("/client/ann")
	if err != nil {
		t.Fatal(err)
	}
	client, err := identity.NewFiles(identity.FilesConfig{
		Cert: again.Cert, Key: again.Key, Bundles: map[string]string{"dev.behalf": again.Bundle},
	})
	if err != nil {
		t.Fatal(err)
	}

	if string(first.AuthorityPEM()) != string(second.AuthorityPEM()) || files != again {
		t.Error("the authority or the client's files changed")
	}
	svid, err := client.SVID()
	if err != nil || svid.ID != "spiffe://dev.behalf/client/ann" {
		t.Errorf("got %v, %v", svid, err)
	}
	peers := newPeers(t, identity.PeersConfig{
		Source: second, Tenants: map[string]string{"dev.behalf": "dev"}, Grants: []identity.WorkloadGrant{{ID: "spiffe://dev.behalf/**"}},
	})
	if _, err := peers.Workload(*identitytest.State(svid)); err != nil {
		t.Error(err)
	}
}

func TestDevCAKeepsItsKeysPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Files("/ca"); err != nil { // must not overwrite the CA
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", e.Name(), info.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}

	_, err = identity.NewDevCA(identity.DevCAConfig{Dir: dir})

	if err == nil {
		t.Error("got none, want a key that others can read refused")
	}
}

func TestDevCARefusesTheAuthorityOfAnotherTrustDomain(t *testing.T) {
	dir := t.TempDir()
	if _, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir}); err != nil {
		t.Fatal(err)
	}

	_, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir, TrustDomain: "other.behalf"})

	if err == nil {
		t.Error("got none, want an error")
	}
}

func TestDevCAReplacesWhatIsAboutToExpire(t *testing.T) {
	dir, clock := t.TempDir(), identitytest.NewClock()
	cfg := identity.DevCAConfig{Dir: dir, Now: clock.Now}
	ca, err := identity.NewDevCA(cfg)
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Files("/client")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}

	clock.Advance(17 * time.Hour)
	if _, err := ca.Files("/client"); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(366 * 24 * time.Hour)
	next, err := identity.NewDevCA(cfg)
	if err != nil {
		t.Fatal(err)
	}

	if string(before) == string(after) {
		t.Error("the client's SVID was not renewed")
	}
	if string(ca.AuthorityPEM()) == string(next.AuthorityPEM()) {
		t.Error("the authority was not replaced")
	}
}

func TestDevCARenewsItsOwnSVID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := identitytest.NewCA(t)
		before := thumbprint(t, ca)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- ca.Run(ctx) }()

		<-time.After(13 * time.Hour) // virtual time
		synctest.Wait()
		after := thumbprint(t, ca)
		cancel()

		if err := <-done; err != nil || before == after {
			t.Errorf("got %v and the same leaf: %v, want a new one", err, before == after)
		}
	})
}

func TestDevCARefusesPathsThatAreNotSPIFFE(t *testing.T) {
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/", "client", "/a/../b", "/a b", "/a/"} {
		if _, err := ca.Issue(path); err == nil {
			t.Errorf("issue %q: got none, want an error", path)
		}
		if _, err := ca.Files(path); err == nil {
			t.Errorf("files %q: got none, want an error", path)
		}
	}
	if _, err := identitytest.NewCA(t).Files("/a"); err == nil {
		t.Error("files without a directory: got none, want an error")
	}
}
