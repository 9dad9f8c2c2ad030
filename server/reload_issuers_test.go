package server_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/model/modeltest"
	"google.golang.org/grpc/codes"
)

// identities are the issuers of the tests, and who may bring their people, for the file.
func (w *world) identities(issuers ...*identity.DevIssuer) string {
	w.t.Helper()
	var list, names []string
	for _, i := range issuers {
		of := i.Issuer(audience, "x")
		tenant, _, _ := strings.Cut(strings.TrimPrefix(of.Issuer, "https://idp."), ".")
		file := w.path(tenant + ".jwks")
		if err := os.WriteFile(file, i.JWKS(), 0o600); err != nil {
			w.t.Fatal(err)
		}
		algorithms, err := json.Marshal(of.Algorithms)
		succeed(w.t, err)
		list = append(list, fmt.Sprintf("{ issuer: %q, audiences: [%s], algorithms: %s, tenant: %s, roles_claim: %q, jwks_file: %q }", of.Issuer, audience, algorithms, tenant, of.RolesClaim, file))
		names = append(names, fmt.Sprintf("%q", of.Issuer))
	}
	return fmt.Sprintf(`identity:
  workload:
    source: dev
    tenants: { %s: acme, %s: globex }
    grants: [{ id: "spiffe://acme.test/app", may_present_users_from: [%q] }, { id: "spiffe://globex.test/app", may_present_users_from: [%s] }]
  jwt: { issuers: [%s] }
models:
`, acmeDomain, globexDomain, acmeIssuer, strings.Join(names, ", "), strings.Join(list, ", "))
}

func TestAnIssuerThatIsGoneEndsWhoCameByIt(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: modeltest.Hang, FaultAfter: 1})
	w := newWorld(t, setup{reread: true, trust: true, model: m})
	a, b, e := w.as(alice), w.as(bob), w.as(erin)
	s := newStreams(t)
	s.agent("alice", a, "support")
	s.agent("erin", e, "support")
	s.converse("talk", e, "triage")
	both, one := w.identities(w.idp, w.other), w.identities(w.idp)

	w.rewrite(both, one)
	b.reload(t)

	s.wantEnd(codes.Unauthenticated, "CREDENTIAL_INVALID", "erin", "talk")
	wantError(t, e.whoAmI(t), codes.Unauthenticated, "CREDENTIAL_INVALID")

	w.rewrite(one, both)
	if err := os.WriteFile(w.path("globex.jwks"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.rewrite("policy: {", strings.Replace(aGreeter, "model: new", "model: default", 1))
	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	wantError(t, err, codes.Unavailable, "KEYSET_UNAVAILABLE")
	if list, err := a.agents().ListAgents(a.ctx(t), &behalfv1.ListAgentsRequest{}); err != nil || strings.Contains(list.String(), "Greets.") {
		t.Errorf("got %v, %v, want nothing of the file taken", list, err)
	}
	if got := strings.Join(violations(err), ""); !strings.Contains(got, globexIssuer) {
		t.Errorf("got %q, want the issuer named", got)
	}
	wantError(t, e.whoAmI(t), codes.Unauthenticated, "CREDENTIAL_INVALID")

	w.identities(w.other) // its keys are there again
	b.reload(t)
	succeed(t, e.whoAmI(t))
	cuts := func(r *behalfv1.AuditRecord) bool { return strings.HasPrefix(r.GetCallId(), "cut_") }
	if rows := e.records(t, &behalfv1.QueryAuditRequest{User: "erin", Decision: behalfv1.Decision_DECISION_DENY}); !slices.ContainsFunc(rows, cuts) {
		t.Errorf("got %v, want what was cut on record", rows)
	}
}

func TestAWorkloadThatMayNotBringAPersonAnyMoreIsCut(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: modeltest.Hang, FaultAfter: 1})
	w := newWorld(t, setup{reread: true, trust: true, model: m})
	a, b, e := w.as(alice), w.as(bob), w.as(erin)
	s := newStreams(t)
	s.agent("alice", a, "support")
	s.agent("erin", e, "support")

	w.rewrite(fmt.Sprintf("[%q, %q] }]", acmeIssuer, globexIssuer), fmt.Sprintf("[%q] }]", acmeIssuer))
	b.reload(t)

	s.wantEnd(codes.Unauthenticated, "CREDENTIAL_INVALID", "erin")
	wantError(t, e.whoAmI(t), codes.PermissionDenied, "CARRIER_NOT_ALLOWED")
	succeed(t, a.whoAmI(t))
}
