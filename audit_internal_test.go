package behalf

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

func TestDigestsOfOneValueDifferFromTenantToTenant(t *testing.T) {
	s := &Server{cfg: &config.Config{}}
	var err error
	if s.auditSeed, err = s.digestSeed(storetest.Key()); err != nil {
		t.Fatal(err)
	}

	acme, globex := s.digestKey("acme"), s.digestKey("globex")

	if len(acme) != 32 || len(globex) != 32 || bytes.Equal(acme, globex) || !bytes.Equal(acme, s.digestKey("acme")) {
		t.Errorf("got keys %x and %x, want one for each tenant", acme, globex)
	}
	other := &Server{cfg: &config.Config{}, auditSeed: bytes.Repeat([]byte{1}, 32)}
	if bytes.Equal(acme, other.digestKey("acme")) {
		t.Error("another server has the same key")
	}
}

func TestFailedAuthenticationIsSummarisedOnceAMinutePerIssuer(t *testing.T) {
	idp, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: "https://idp.example"})
	if err != nil {
		t.Fatal(err)
	}
	forged := identitytest.Token(t, idp, map[string]any{"sub": "ann", "aud": "somebody else"})
	ca, err := identity.NewDevCA(identity.DevCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		peers, err := identity.NewPeers(identity.PeersConfig{Source: ca, Tenants: map[string]string{ca.TrustDomain(): "acme"}})
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := identity.NewVerifier(identity.VerifierConfig{Issuers: []identity.Issuer{idp.Issuer("behalf", "acme")}})
		if err != nil {
			t.Fatal(err)
		}
		who, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: peers, Verifier: verifier, ClientCertificate: identity.CertificateOptional})
		if err != nil {
			t.Fatal(err)
		}
		db := storetest.Start(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db"), Clock: time.Now})
		s := &Server{store: db.Store, opt: options{now: time.Now, log: slog.New(slog.DiscardHandler)}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.recordRefusals(ctx, who) }()
		try := func(token identity.Secret, times int) {
			for range times {
				if _, err := who.Identify(ctx, &tls.ConnectionState{}, identitytest.Metadata(token)); err == nil {
					t.Fatal("a bad token was accepted")
				}
			}
		}

		try(forged, 3)
		try(identity.NewSecret("x.y.z"), 2)
		<-time.After(59 * time.Second)
		early := summaries(t, db.Reader)
		<-time.After(2 * time.Second)
		minute := summaries(t, db.Reader)
		<-time.After(time.Minute)
		quiet := summaries(t, db.Reader)
		try(forged, 1)
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}

		want := []string{`Issuer::"https://idp.example" {"refused":3}`, `Issuer::"unknown" {"refused":2}`}
		if len(early) != 0 || !slices.Equal(minute, want) || !slices.Equal(quiet, want) {
			t.Errorf("got %q before the minute, %q after it, %q after a quiet one; want none, then %q", early, minute, quiet, want)
		}
		if got := summaries(t, db.Reader); len(got) != 3 || got[2] != `Issuer::"https://idp.example" {"refused":1}` {
			t.Errorf("got %q, want what was left at the end", got)
		}
		db.Stop()
	})
}

// summaries are the rows about callers who could not be identified.
func summaries(t *testing.T, r *store.Reader) (out []string) {
	t.Helper()
	for rec, err := range r.Query(t.Context(), audit.Filter{Tenant: "system"}) {
		if err != nil || rec.Action != "authenticate" || rec.Decision != audit.Deny {
			t.Errorf("got %+v, %v", rec, err)
		}
		out = append(out, fmt.Sprint(rec.Resource, " ", rec.RedactedArguments))
	}
	return out
}
