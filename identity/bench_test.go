package identity_test

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func benchToken(b *testing.B, dev *identity.DevIssuer) identity.Secret {
	return identitytest.Token(b, dev, map[string]any{
		"sub": "ann", "aud": "behalf", "scope": "crm.read crm.write orders.refund", "roles": []string{"agent", "lead"},
		"client_id": "web", "name": "Ann Example", "acr": "gold",
	})
}

func BenchmarkSeenToken(b *testing.B) {
	dev := devIssuer(b, issuerName)
	v := newVerifier(b, nil, dev.Issuer("behalf", "acme"))
	token := benchToken(b, dev)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token, "leaf"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeenTokenParallel(b *testing.B) {
	dev := devIssuer(b, issuerName)
	v := newVerifier(b, nil, dev.Issuer("behalf", "acme"))
	token := benchToken(b, dev)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(b.Context(), token, "leaf"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUnseenTokenES256(b *testing.B) {
	dev := devIssuer(b, issuerName)
	clock := identitytest.NewClock()
	i := dev.Issuer("behalf", "acme")
	i.MaxStale = 1e6 * time.Hour
	v := newVerifier(b, clock.Now, i)
	token := identitytest.Token(b, dev, map[string]any{"sub": "ann", "aud": "behalf", "scope": "crm.read", "exp": clock.Now().Unix() + 86000})
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		v = newVerifier(b, clock.Now, i)
		if err := v.Warm(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := v.Verify(b.Context(), token, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPeerWorkload(b *testing.B) {
	ca := identitytest.NewCA(b)
	peers := newPeers(b, identity.PeersConfig{Source: ca})
	state := identitytest.State(identitytest.Issue(b, ca, "/ns/a/sa/b"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := peers.Workload(*state); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	ca := identitytest.NewCA(b)
	dev := devIssuer(b, issuerName)
	i, err := identity.NewIdentifier(identity.IdentifierConfig{
		Peers: newPeers(b, identity.PeersConfig{Source: ca}), Verifier: newVerifier(b, nil, dev.Issuer("behalf", "acme")),
	})
	if err != nil {
		b.Fatal(err)
	}
	state := identitytest.State(identitytest.Issue(b, ca, "/ns/a/sa/b"))
	md := identitytest.Metadata(benchToken(b, dev))
	md["user-agent"], md["content-type"], md[":authority"] = []string{"grpc-go/1.85"}, []string{"application/grpc"}, []string{"localhost"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Identify(b.Context(), state, md); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeenJWTSVID(b *testing.B) {
	ca, dev := identitytest.NewCA(b), devIssuer(b, issuerName)
	who, err := identity.NewIdentifier(identity.IdentifierConfig{
		Peers: newPeers(b, identity.PeersConfig{Source: ca, Audiences: []string{"behalf"}}), Verifier: newVerifier(b, nil, dev.Issuer("behalf", "acme")),
		ClientCertificate: identity.CertificateOptional,
	})
	if err != nil {
		b.Fatal(err)
	}
	state, md := identitytest.State(nil), identitytest.Metadata(identitytest.IssueJWT(b, ca, "/job", "behalf"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := who.Identify(b.Context(), state, md); err != nil {
			b.Fatal(err)
		}
	}
}
