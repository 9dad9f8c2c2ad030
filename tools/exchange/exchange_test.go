package exchange_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/exchange"
)

// actor gives our JWT-SVIDs.
type actor struct {
	t  testing.TB
	ca *identity.DevCA
}

func (a actor) JWTSVID(_ context.Context, audience string) (identity.Secret, error) {
	return identitytest.IssueJWT(a.t, a.ca, "/behalf", audience), nil
}

func TestARequestSaysWhoAsksForWhomForWhatAndHowMuch(t *testing.T) {
	ca := identitytest.NewCA(t)
	w := newWorld(t, func(c *exchange.Config) {
		c.Resource, c.Actor, c.Scope = "https://crm.example", actor{t, ca}, []string{"profile", "openid"}
	})
	raw := w.token("bob", nil)

	got := w.call(w.grant(w.person(raw)), "ask")

	if got.failed {
		t.Fatalf("got %+v because %s, want a token", got, w.why())
	}
	form := w.sts.asked()[0]
	for name, want := range map[string]string{
		"grant_type":           "urn:ietf:params:oauth:grant-type:token-exchange",
		"requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"subject_token":        raw, "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"actor_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"audience":         "crm", "resource": "https://crm.example",
		"scope":     "crm.read profile", // what the tool needs, and of the rest what the grant has
		"client_id": "behalf", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	} {
		if got := form[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q once", name, got, want)
		}
	}
	if form.Has("client_secret") || form.Has("code") {
		t.Errorf("got %v, want no secret and no code", slices.Sorted(maps.Keys(form)))
	}
	if who := w.issued(form.Get("actor_token"))["sub"]; who != "spiffe://"+ca.TrustDomain()+"/behalf" {
		t.Errorf("the actor is %v, want us", who)
	}
	w.verifiesAssertion(form.Get("client_assertion"))
}

func (w *world) verifiesAssertion(assertion string) {
	w.t.Helper()
	jwks, err := w.key.JWKS()
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := identity.NewSigned(identity.SignedConfig{Issuer: "behalf", Types: []string{"JWT"}, Algorithms: []string{"ES256"}, JWKS: jwks})
	if err != nil {
		w.t.Fatal(err)
	}
	claims, err := s.Verify(w.t.Context(), identity.NewSecret(assertion))
	if err != nil || !strings.Contains(string(claims), w.sts.URL+"/token") {
		w.t.Errorf("got %s, %v, want our proof for this server", claims, err)
	}
}

func TestTheBackendGetsAnotherTokenAndNeverThePersonsOwn(t *testing.T) {
	w := newWorld(t, nil)
	raw := w.token("bob", nil)

	got := w.call(w.grant(w.person(raw)), "ask")

	if got.failed || got.token == raw || w.issued(got.token)["aud"] != "crm" || w.issued(got.token)["sub"] != "bob" {
		t.Errorf("got %+v, want another token of bob's for crm", got)
	}
}

func TestACertificateIsProofOfTheClientAndBindsTheToken(t *testing.T) {
	ca := identitytest.NewCA(t)
	own := identitytest.NewSource(t, ca, "/behalf")
	w := newWorld(t, nil)
	w.bound(t, ca)
	w.x = w.exchange(func(c *exchange.Config) {
		c.Client.Key, c.Bound = nil, true
		roots := x509.NewCertPool()
		roots.AddCert(w.sts.Certificate())
		c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			s, err := own.SVID()
			if err != nil {
				return nil, err
			}
			return &s.Certificate, nil
		}}
	})
	first, err := own.SVID()
	if err != nil {
		t.Fatal(err)
	}
	bob := w.grant(w.person(w.token("bob", nil)))

	w.sent = tools.Sent{Thumbprint: first.Thumbprint}
	onOurs := w.call(bob, "ask")
	form := w.sts.asked()[0]
	w.sent = tools.Sent{Thumbprint: thumbprint}
	onAnother := w.call(bob, "ask")
	second := identitytest.Issue(t, ca, "/behalf")
	own.Use(second)
	w.sent = tools.Sent{Thumbprint: second.Thumbprint}
	renewed := w.call(bob, "ask")

	if onOurs.failed || form.Get("client_id") != "behalf" || form.Has("client_assertion") {
		t.Errorf("got %+v, want a token for the certificate alone", onOurs)
	}
	if !onAnother.failed || onAnother.Reason != "TOOL_UNAVAILABLE" {
		t.Errorf("got %+v, want a refusal: the connection has another certificate", onAnother)
	}
	if renewed.failed || renewed.token == onOurs.token {
		t.Errorf("got %+v because %s, want a token that is bound to the new certificate", renewed, w.why())
	}
}

func TestAPersonWithoutTheirTokenIsAskedToComeBack(t *testing.T) {
	w := newWorld(t, nil)
	raw := w.token("bob", nil)
	bob := w.person(raw)
	stored := *bob.User
	restored := identity.User{Issuer: stored.Issuer, Subject: stored.Subject, Tenant: stored.Tenant, Scopes: stored.Scopes, Expires: stored.Expires, Thumbprint: stored.Thumbprint}
	w.call(w.grant(bob), "ask") // and so a token for them is here

	for name, p := range map[string]identity.Principal{
		"out of the store": {User: &restored},
		"a workload alone": {Workload: &identity.Workload{ID: ownID, Tenant: "acme", Scopes: stored.Scopes, NotAfter: stored.Expires}},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.call(w.grant(p), "ask")

			if got.Reason != "CREDENTIAL_REQUIRED" || !strings.Contains(got.Message, "come back") {
				t.Errorf("got %+v, want CREDENTIAL_REQUIRED and what to do", got)
			}
		})
	}
	if n := len(w.sts.asked()); n != 1 {
		t.Errorf("the server was asked %d times, want once, by bob", n)
	}
}

func TestARefreshedCredentialIsTheOneThatIsExchanged(t *testing.T) {
	w := newWorld(t, nil)
	g := w.grant(w.person(w.token("bob", nil)))
	w.call(g, "ask")
	fresh := w.token("bob", map[string]any{"jti": "fresh"})

	if _, err := g.Renew(w.person(fresh)); err != nil {
		t.Fatal(err)
	}
	w.call(g, "ask")

	if forms := w.sts.asked(); len(forms) != 2 || forms[1].Get("subject_token") != fresh {
		t.Errorf("the server was asked %d times, want again with the fresh token", len(forms))
	}
}

func TestARefreshWhileSomebodyApprovesIsNotMissed(t *testing.T) {
	w := newWorld(t, nil)
	g := w.grant(w.person(w.token("bob", nil)))
	fresh := w.token("bob", map[string]any{"jti": "fresh"})
	p := w.person(fresh)
	w.before = func(context.Context) { _, _ = g.Renew(p) }

	w.call(g, "ask")

	if form := w.sts.asked()[0]; form.Get("subject_token") != fresh {
		t.Error("the server was given the token that the call began with, want the fresh one")
	}
}

func TestWhoeverMustBeAllowedTooLendsNoToken(t *testing.T) {
	w := newWorld(t, nil)
	bob, eve := w.token("bob", nil), w.token("eve", nil)

	got := w.call(w.grant(w.person(bob)).With(w.grant(w.person(eve))), "ask")

	if got.failed || w.issued(got.token)["sub"] != "bob" || w.sts.asked()[0].Get("subject_token") != bob {
		t.Errorf("got %+v, want the token of the person in whose name the call is made", got)
	}
}

func TestTheAnswerIsKeptForTheSameQuestionAlone(t *testing.T) {
	w := newWorld(t, nil)
	raw := w.token("bob", nil)
	bob := w.grant(w.person(raw))
	first := w.call(bob, "ask")
	if again := w.call(bob, "ask"); first.failed || again.token != first.token || len(w.sts.asked()) != 1 {
		t.Fatalf("got %+v and %d questions, want the same token of one", again, len(w.sts.asked()))
	}

	for name, ask := range map[string]func() result{
		"another person":         func() result { return w.call(w.grant(w.person(w.token("eve", nil))), "ask") },
		"another token":          func() result { return w.call(w.grant(w.person(w.token("bob", nil))), "ask") },
		"another chain":          func() result { return w.call(w.grant(w.person(raw), "router"), "ask") },
		"more scopes":            func() result { return w.call(bob, "ask_more") },
		"another connection":     func() result { w.sent.Thumbprint = "another"; defer w.as(thumbprint); return w.call(bob, "ask") },
		"another tenant's twin":  func() result { return w.call(w.grant(w.elsewhere(raw)), "ask") },
		"another backend's tool": func() result { return w.other(bob) },
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.sts.asked())

			got := ask()

			if got.failed || got.token == first.token || len(w.sts.asked()) != before+1 {
				t.Errorf("got %+v because %s, want a token of its own", got, w.why())
			}
		})
	}
}

func (w *world) as(thumbprint string) { w.sent.Thumbprint = thumbprint }

// elsewhere is the same person with the same token in another tenant.
func (w *world) elsewhere(raw string) identity.Principal {
	p := w.person(raw)
	p.User.Tenant = "lab"
	return p
}

// other asks for the token of another backend at the same server.
func (w *world) other(g identity.Grant) result {
	mine := w.x
	defer func() { w.x = mine }()
	w.x = w.exchange(func(c *exchange.Config) { c.Audience = "billing" })
	return w.call(g, "ask")
}

func TestATokenIsKeptUntilTheFirstOfItsEndsLessAMargin(t *testing.T) {
	for name, row := range map[string]struct {
		person, issued, stays time.Duration
	}{
		"five minutes at most":        {time.Hour, 10 * time.Minute, 5 * time.Minute},
		"half a minute before it is":  {time.Hour, 2 * time.Minute, 90 * time.Second},
		"no longer than the person's": {time.Minute, 10 * time.Minute, time.Minute - time.Second},
		"not at all":                  {time.Hour, 30 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			end := w.clock.Now().Add(row.issued).Unix()
			w.answers(map[string]any{"exp": end}, map[string]any{"expires_in": nil})
			raw := w.token("bob", map[string]any{"exp": w.clock.Now().Add(row.person).Unix()})
			bob := w.grant(w.person(raw))
			w.call(bob, "ask")

			if row.stays > 0 {
				w.clock.Advance(row.stays - time.Second)
				if w.call(bob, "ask"); len(w.sts.asked()) != 1 {
					t.Fatalf("asked %d times, want once", len(w.sts.asked()))
				}
				w.clock.Advance(2 * time.Second)
			}
			w.answers(nil, nil)
			got := w.call(bob, "ask")

			if row.person > row.stays+time.Second && (got.failed || len(w.sts.asked()) != 2) {
				t.Errorf("got %+v after %d questions, want a second one", got, len(w.sts.asked()))
			}
			if row.person <= row.stays+time.Second && !got.failed {
				t.Error("got a token for somebody whose own has ended")
			}
		})
	}
}

func TestAPurgeForgetsAlsoWhatIsBeingAskedFor(t *testing.T) {
	w := newWorld(t, nil)
	bob := w.grant(w.person(w.token("bob", nil)))
	w.call(bob, "ask")

	w.x.Purge()
	w.call(bob, "ask")
	if n := len(w.sts.asked()); n != 2 {
		t.Fatalf("asked %d times, want again after the purge", n)
	}
	w.x.Purge()
	answer := w.sts.answer
	w.sts.mu.Lock()
	w.sts.answer = func(rw http.ResponseWriter, form url.Values, req *http.Request) {
		w.x.Purge()
		answer(rw, form, req)
	}
	w.sts.mu.Unlock()
	w.call(bob, "ask")
	w.call(bob, "ask")

	if n := len(w.sts.asked()); n != 4 {
		t.Errorf("asked %d times, want four: what came back during a purge is not kept", n)
	}
}

func TestManyWhoAskTheSameAskOnce(t *testing.T) {
	w := newWorld(t, nil)
	bob := w.grant(w.person(w.token("bob", nil)))
	reached, on := make(chan struct{}, 1), make(chan struct{})
	answer := w.sts.answer
	w.sts.answer = func(rw http.ResponseWriter, form url.Values, req *http.Request) {
		reached <- struct{}{}
		<-on
		answer(rw, form, req)
	}
	var wg sync.WaitGroup
	leaves, leave := context.WithCancel(t.Context())
	wg.Go(func() { // the first one, who gives up
		for range w.gate.Call(identity.WithGrant(leaves, bob), agents.ToolCall{ID: "run_1/first", RunID: "run_1", Name: "ask", Arguments: "{}"}) {
		}
	})
	<-reached
	results := make(chan result, 8)
	for range cap(results) {
		wg.Go(func() { results <- w.call(bob, "ask") })
	}
	leave()
	close(on)
	wg.Wait()
	close(results)

	for got := range results {
		if got.failed {
			t.Errorf("got %+v, want the token that the first one asked for", got)
		}
	}
	if n := len(w.sts.asked()); n > 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestWhyACallGotNoTokenIsOnRecord(t *testing.T) {
	w := newWorld(t, nil)
	w.answers(map[string]any{"sub": "eve"}, nil)

	w.call(w.grant(w.person(w.token("bob", nil))), "ask")

	var outcomes []string
	for _, r := range w.log.Records() {
		if r.Phase == audit.Outcome {
			outcomes = append(outcomes, r.Outcome+" "+r.Reason)
		}
	}
	if len(outcomes) != 1 || !strings.HasSuffix(outcomes[0], " TOOL_UNAVAILABLE") {
		t.Errorf("got %q, want one failed outcome with its reason", outcomes)
	}
}

func BenchmarkKeptToken(b *testing.B) {
	w := newWorld(b, nil)
	var in context.Context
	w.before = func(ctx context.Context) { in = context.WithoutCancel(ctx) }
	w.call(w.grant(w.person(w.token("bob", nil))), "ask")
	b.ReportAllocs()

	for b.Loop() {
		if _, err := w.x.For(in, tools.Backend{Audience: "crm"}, w.sent); err != nil {
			b.Fatal(err)
		}
	}
}
