package identity_test

import (
	"crypto/tls"
	"testing"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func TestClientDeniedSinceItsFirstConnectionDoesNotComeBackOnATicket(t *testing.T) {
	for name, tickets := range map[string]bool{"tickets off as configured": false, "tickets on, so that only VerifyConnection guards": true} {
		t.Run(name, func(t *testing.T) {
			ca := identitytest.NewCA(t)
			src := identitytest.NewSource(t, ca, "/server")
			server := newPeers(t, identity.PeersConfig{Source: src}).ServerTLS(identity.CertificateRequired)
			if !server.SessionTicketsDisabled {
				t.Error("session tickets are enabled")
			}
			server.SessionTicketsDisabled = !tickets
			address := echo(t, server)
			client := clientTLS(t, identitytest.NewSource(t, ca, "/client"))
			client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			client.ServerName = "localhost"
			for range 2 {
				c, err := open(t, address, client)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				if resumed := c.ConnectionState().DidResume; resumed && !tickets {
					t.Error("the session was resumed")
				}
			}

			src.Distrust(identitytest.TrustDomain)
			_, err := open(t, address, client)

			if err == nil {
				t.Error("got a connection, want it refused")
			}
		})
	}
}

func TestResumptionHappensWhenTicketsAreOn(t *testing.T) {
	// Without this the test above could pass because nothing was resumed.
	ca := identitytest.NewCA(t)
	server := newPeers(t, identity.PeersConfig{Source: identitytest.NewSource(t, ca, "/server")}).ServerTLS(identity.CertificateRequired)
	server.SessionTicketsDisabled = false
	address := echo(t, server)
	client := clientTLS(t, identitytest.NewSource(t, ca, "/client"))
	client.ClientSessionCache, client.ServerName = tls.NewLRUClientSessionCache(4), "localhost"
	if _, err := open(t, address, client); err != nil {
		t.Fatal(err)
	}

	c, err := open(t, address, client)

	if err != nil || !c.ConnectionState().DidResume {
		t.Errorf("got %v, want a resumed session", err)
	}
}
