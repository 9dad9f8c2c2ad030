package server_test

import (
	"crypto/x509"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// batchMayRun lets workloads run the desk and use spies.
var batchMayRun = map[string]string{"batch.cedar": `@id("batch-may-run") permit (principal is Workload, action in [Action::"run_agent", Action::"call_tool"], resource);`}

// svidSigner signs JWT-SVIDs of acme byte by byte.
func (w *world) svidSigner() *identitytest.Signer {
	w.t.Helper()
	s := identitytest.NewSigner(w.t, "ES256", "svid")
	w.trustSigner(w.acme, s)
	return s
}

// trustSigner puts the signer's key into the bundle of the authority's domain.
func (w *world) trustSigner(ca *identity.DevCA, s *identitytest.Signer) {
	w.t.Helper()
	jwk := s.JWK()
	jwk["use"] = "jwt-svid"
	document, err := json.Marshal(map[string]any{"keys": []any{jwk}})
	succeed(w.t, err)
	b, err := identitytest.BundleOf(w.t, ca).WithJWTKeys(document)
	succeed(w.t, err)
	w.source.Trust(b)
}

// svid signs a JWT-SVID; extra claims replace the usual ones.
func (w *world) svid(s *identitytest.Signer, extra map[string]any) string {
	w.t.Helper()
	claims := map[string]any{"sub": "spiffe://" + acmeDomain + "/app", "aud": audience, "exp": time.Now().Add(time.Minute).Unix(), "jti": "svid-one"}
	for k, v := range extra {
		claims[k] = v
	}
	token := s.Sign(s.JSON(map[string]any{"alg": s.Alg, "kid": s.Kid, "typ": "JWT"}), s.JSON(claims))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = append(w.tokens, token)
	return token
}

func TestAJWTSVIDCallsAsItsWorkloadAndNeverAsAPerson(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 8)
	w := newWorld(t, setup{optional: true, policies: batchMayRun, spies: []tools.Tool{peek(out)}})
	signer := w.svidSigner()
	nobody := w.dial(nil)
	app := &client{nobody, bearer(w.svid(signer, nil))}

	who, err := app.admin().WhoAmI(app.ctx(t), &behalfv1.WhoAmIRequest{})
	if err != nil || who.GetWorkload().GetSpiffeId() != "spiffe://acme.test/app" || who.GetUser().GetSubject() != "" || who.GetTenant() != "acme" || !slices.Equal(who.GetScopes().GetValues(), []string{"crm.read"}) {
		t.Errorf("got %v, %v, want the workload with its grant's scopes", who, err)
	}
	if _, err = app.tools().CallTool(app.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"}); err != nil {
		t.Fatal(err)
	}
	if p := until(t, "the tool", out).grant.Principal(); p.User != nil || p.Workload.ID != "spiffe://acme.test/app" {
		t.Errorf("got %+v, want a workload and no person", p)
	}
	r := w.as(carol).records(t, &behalfv1.QueryAuditRequest{Tool: "peek"})
	if len(r) == 0 || r[0].GetWorkload() != "spiffe://acme.test/app" || r[0].GetTokenId() != "svid-one" || r[0].GetUser().GetSubject() != "" || r[0].GetTenant() != "acme" {
		t.Errorf("got %v, want the workload and its token on record", r)
	}

	_, err = app.admin().ReloadConfig(app.ctx(t), &behalfv1.ReloadConfigRequest{})
	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	for name, c := range map[string]struct {
		*client
		code codes.Code
		why  string
	}{
		"for another server":       {&client{nobody, bearer(w.svid(signer, map[string]any{"aud": "other"}))}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
		"expired":                  {&client{nobody, bearer(w.svid(signer, map[string]any{"exp": time.Now().Add(-time.Second).Unix()}))}, codes.Unauthenticated, "CREDENTIAL_EXPIRED"},
		"without a grant":          {&client{nobody, bearer(w.svid(signer, map[string]any{"sub": "spiffe://acme.test/stranger"}))}, codes.PermissionDenied, "POLICY_DENIED"},
		"of a domain without keys": {&client{nobody, bearer(w.svid(signer, map[string]any{"sub": "spiffe://globex.test/app"}))}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
		"beside a person's":        {app.with("authorization", "Bearer "+w.token(w.idp, alice, nil)), codes.Unauthenticated, "CREDENTIAL_INVALID"},
		"another's certificate":    {&client{w.dial(w.workload(w.acme, "/batch")), app.md}, codes.Unauthenticated, "CREDENTIAL_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})

			wantError(t, err, c.code, c.why)
		})
	}
}

// TestTheEndsOfAWorkloadEndItsStreams is of JWT-SVIDs and of certificates, which
// end what came over them, also what a person does. A run that is detached is
// bound to its person's token alone.
func TestTheEndsOfAWorkloadEndItsStreams(t *testing.T) {
	t.Parallel()
	w, m := hanging(t, setup{optional: true, policies: batchMayRun})
	signer, end := w.svidSigner(), time.Now().Add(4*time.Second)
	leaf, err := w.acme.Sign(&x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{{Scheme: "spiffe", Host: acmeDomain, Path: "/app"}},
	})
	succeed(t, err)
	short := w.dial(leaf)
	s := newStreams(t)
	s.agent("short token", &client{w.dial(nil), bearer(w.svid(signer, map[string]any{"exp": end.Unix()}))}, "support")
	s.agent("long token", &client{w.dial(nil), bearer(w.svid(signer, nil))}, "support")
	s.agent("short leaf", &client{short, nil}, "support")
	person := &client{short, bearer(w.token(w.idp, alice, nil))}
	s.agent("person by a short leaf", person, "support")
	s.agent("person", w.as(dave), "support")
	detached, err := person.runs().CreateRun(person.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "hello"})
	succeed(t, err)
	a := w.as(alice)
	s.watch("detached", a, detached.GetRunId())

	<-time.After(time.Until(end))
	s.wantEnd(codes.Unauthenticated, "CREDENTIAL_EXPIRED", "short token", "short leaf", "person by a short leaf")

	if r, err := a.runs().GetRun(a.ctx(t), &behalfv1.GetRunRequest{RunId: detached.GetRunId()}); err != nil || r.GetRun().GetState() != behalfv1.RunState_RUN_STATE_RUNNING {
		t.Errorf("got %v, %v, want the detached run untouched by the end of a certificate", r, err)
	}
	m.Always("scripted", modeltest.Reply{Text: "done"})
	_, err = a.runs().CancelRun(a.ctx(t), &behalfv1.CancelRunRequest{RunId: detached.GetRunId()})
	succeed(t, err)
	attached := s.first["person by a short leaf"].GetRunId()
	if e := a.finished(t, attached).GetRunFinished(); e.GetOutput() != "done" {
		t.Errorf("got %v, want the person's run to go on when they come back by another certificate", e)
	}
}

// TestRemovingATrustDomainEndsWhatCameByIt opens streams and starts a detached run
// by two trust domains and removes one of them.
func TestRemovingATrustDomainEndsWhatCameByIt(t *testing.T) {
	t.Parallel()
	w, _ := hanging(t, setup{optional: true})
	e, alone := w.as(erin), &client{w.dial(nil), bearer(w.token(w.other, erin, nil))}
	run, err := e.runs().CreateRun(e.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "hello"})
	succeed(t, err)
	s := newStreams(t)
	s.agent("erin", e, "support")
	s.converse("talk", e, "triage")
	s.agent("without a workload", alone, "support")
	s.agent("alice", w.as(alice), "support")

	w.source.Distrust(globexDomain)

	s.wantEnd(codes.Unauthenticated, "CREDENTIAL_INVALID", "erin", "talk")
	if f := alone.finished(t, run.GetRunId()).GetRunFinished(); f.GetStopReason() != agents.StopFailed || f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_CREDENTIAL_INVALID {
		t.Errorf("got %v, want the run that came by the domain failed", f)
	}
	got := alone.cuts(t, behalfv1.ErrorReason_ERROR_REASON_CREDENTIAL_INVALID)
	if want := []string{`erin run_agent Agent::"support"`, `erin run_agent Agent::"support"`, `erin run_agent Agent::"triage"`}; !slices.Equal(got, want) {
		t.Errorf("got rows %q, want %q", got, want)
	}
	_, err = e.admin().WhoAmI(e.ctx(t), &behalfv1.WhoAmIRequest{})
	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_INVALID")
	if err := w.handshake(w.tlsConfig(w.workload(w.globex, "/app"))); err == nil {
		t.Error("a new connection of the removed domain was accepted")
	}
	w.source.Trust(identitytest.BundleOf(t, w.globex))
	if _, err := e.admin().WhoAmI(e.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil {
		t.Errorf("got %v once the domain is trusted again", err)
	}
}

// TestAFederatedDomainThatWithdrawsEndsItsStreams opens a stream by a domain whose
// bundle is fetched, and has its endpoint publish another authority, and then none.
func TestAFederatedDomainThatWithdrawsEndsItsStreams(t *testing.T) {
	t.Parallel()
	fed := &lateSource{}
	w, _ := hanging(t, setup{optional: true, wrap: func(w *world) identity.Source {
		endpoint := identitytest.NewEndpoint(t, identitytest.BundleDocument(t, 0, w.globex), nil)
		roots := x509.NewCertPool()
		roots.AddCert(endpoint.Certificate())
		f, err := identity.NewFederation(identity.FederationConfig{Source: w.source, Roots: roots, Domains: []identity.FederatedDomain{
			{TrustDomain: globexDomain, URL: endpoint.URL, Profile: identity.ProfileWeb},
		}})
		succeed(t, err)
		f.Refresh(t.Context())
		fed.Federation, fed.endpoint = f, endpoint
		return f
	}})
	publish := func(document []byte) {
		fed.endpoint.Publish(document)
		fed.Refresh(t.Context())
	}
	next := identitytest.NewCAOf(t, globexDomain)
	e := &client{w.dial(w.workload(next, "/app")), bearer(w.token(w.other, erin, nil))}
	first, second := newStreams(t), newStreams(t)
	first.agent("alice", w.as(alice), "support")
	first.agent("by the old authority", w.as(erin), "support")
	publish(identitytest.BundleDocument(t, 0, w.globex, next))
	second.agent("by the new one", e, "support")
	second.agent("alice", w.as(alice), "support")

	publish(identitytest.BundleDocument(t, 0, next))
	first.wantEnd(codes.Unauthenticated, "CREDENTIAL_INVALID", "by the old authority")
	publish([]byte(`{"keys":[]}`))
	second.wantEnd(codes.Unauthenticated, "CREDENTIAL_INVALID", "by the new one")

	if err := w.handshake(w.tlsConfig(w.workload(next, "/app"))); err == nil {
		t.Error("a new connection of the domain was accepted")
	}
}

// lateSource is a federation that is made with the world.
type lateSource struct {
	*identity.Federation
	endpoint *identitytest.Endpoint
}

// TestARemovedAuthorityEndsItsStreams replaces the authority of a domain: what the
// old one vouched for ends, and what the new one does goes on.
func TestARemovedAuthorityEndsItsStreams(t *testing.T) {
	t.Parallel()
	w, _ := hanging(t, setup{optional: true, policies: batchMayRun})
	signer := w.svidSigner()
	next := identitytest.NewCAOf(t, globexDomain)
	bundles := append(identitytest.BundleOf(t, w.globex).Authorities(), identitytest.BundleOf(t, next).Authorities()...)
	both, err := identity.NewBundle(globexDomain, bundles)
	succeed(t, err)
	w.source.Trust(both)
	s := newStreams(t)
	s.agent("old", w.as(erin), "support")
	s.agent("new", &client{w.dial(w.workload(next, "/app")), bearer(w.token(w.other, erin, nil))}, "support")
	s.agent("old key", &client{w.dial(nil), bearer(w.svid(signer, nil))}, "support")
	s.agent("alice", w.as(alice), "support")

	w.source.Trust(identitytest.BundleOf(t, next))
	w.trustSigner(w.acme, identitytest.NewSigner(t, "ES256", "svid"))

	s.wantEnd(codes.Unauthenticated, "CREDENTIAL_INVALID", "old", "old key")
}

// TestAWorkloadRefreshesItsConversation with a JWT-SVID of its own, and with
// nobody else's.
func TestAWorkloadRefreshesItsConversation(t *testing.T) {
	t.Parallel()
	w, _ := hanging(t, setup{optional: true, policies: batchMayRun})
	signer, end := w.svidSigner(), time.Now().Add(3*time.Second)
	nobody, short := w.dial(nil), w.svid(signer, map[string]any{"exp": end.Unix()})
	s := newStreams(t)
	kept := s.converse("kept", &client{nobody, bearer(short)}, "support")
	other := s.converse("other", &client{nobody, bearer(short)}, "support")
	person := s.converse("person", &client{nobody, bearer(short)}, "support")
	kept.refresh(w.svid(signer, map[string]any{"jti": "next"}))
	other.refresh(w.svid(signer, map[string]any{"sub": "spiffe://" + acmeDomain + "/batch"}))
	person.refresh(w.token(w.idp, alice, nil))

	<-time.After(time.Until(end))

	s.wantEnd(codes.Unauthenticated, "CREDENTIAL_EXPIRED", "other", "person")
}

func TestMetricsShowWhenTrustRunsOut(t *testing.T) {
	t.Parallel()
	forge := identitytest.NewForge(t, "forged", time.Now)
	w := newWorld(t, setup{optional: true, issuers: forge.Issuers(), edit: withHTTP})
	for _, bad := range forge.Bad() {
		if bad.Line == "2.3" {
			c := &client{w.dial(nil), bearer(bad.Token)}
			_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})
			wantError(t, err, codes.Unavailable, "KEYSET_UNAVAILABLE")
		}
	}

	text := string(scrape(t, w.http))

	for name, want := range map[string]func(float64) bool{
		"behalf_svid_expires_seconds":    func(v float64) bool { return v > 3600 && v <= 24*3600 },
		"behalf_issuer_keys_age_seconds": func(v float64) bool { return v >= 0 && v < 60 },
		"behalf_issuer_keys_failing":     func(v float64) bool { return v == 1 },
	} {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		if v, err := strconv.ParseFloat(m[1], 64); err != nil || !want(v) {
			t.Errorf("got %s %s", name, m[1])
		}
	}
}

// TestAClientsTraceIsNotOurs: a client can neither choose the id that joins log and
// audit nor make two calls share one (SECURITY 4.7).
func TestAClientsTraceIsNotOurs(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 8)
	w := newWorld(t, setup{spies: []tools.Tool{peek(out)}})
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	a := w.as(alice).with("traceparent", "00-"+theirs+"-00f067aa0ba902b7-01", "tracestate", "x=1", "x-request-id", theirs, "x-trace-id", theirs)
	for range 2 {
		_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"})
		succeed(t, err)
	}

	ids := map[string]bool{}
	for _, r := range w.as(carol).records(t, &behalfv1.QueryAuditRequest{Tool: "peek"}) {
		ids[r.GetTraceId()] = true
	}

	if len(ids) != 2 || ids[theirs] || ids[""] {
		t.Errorf("got trace ids %v, want one of ours for each call", ids)
	}
}
