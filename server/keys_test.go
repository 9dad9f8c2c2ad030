package server_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
)

func (c *client) signingKeys(t *testing.T) []*behalfv1.SigningKey {
	t.Helper()
	r, err := c.admin().ListSigningKeys(c.ctx(t), &behalfv1.ListSigningKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetKeys()
}

func TestOperatorsRotateAndRevokeTheKeysOfCallTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withHTTP})
	b := w.as(bob)
	was := b.signingKeys(t)
	if len(was) != 1 || was[0].GetState() != behalfv1.SigningKeyState_SIGNING_KEY_STATE_CURRENT {
		t.Fatalf("got %v, want the one that signs", was)
	}

	r, err := b.admin().RotateSigningKey(b.ctx(t), &behalfv1.RotateSigningKeyRequest{})
	if err != nil || r.GetNext().GetState() != behalfv1.SigningKeyState_SIGNING_KEY_STATE_NEXT || r.GetNext().GetSignsFrom().AsTime().Before(time.Now().Add(4*time.Minute)) {
		t.Errorf("got %v, %v, want a next key", r, err)
	}
	left, err := b.admin().RevokeSigningKey(b.ctx(t), &behalfv1.RevokeSigningKeyRequest{KeyId: was[0].GetKeyId(), Reason: "stolen backup"})
	if err != nil || len(left.GetKeys()) != 2 || left.GetKeys()[0].GetState() != behalfv1.SigningKeyState_SIGNING_KEY_STATE_CURRENT {
		t.Errorf("got %v, %v, want another key that signs, and the next one", left, err)
	}
	code, published := w.get("/.well-known/jwks.json")
	if code != http.StatusOK || strings.Contains(published, was[0].GetKeyId()) || !strings.Contains(published, left.GetKeys()[0].GetKeyId()) {
		t.Errorf("got %d %s, want the new keys published and the revoked one not", code, published)
	}
	_, err = b.admin().RevokeSigningKey(b.ctx(t), &behalfv1.RevokeSigningKeyRequest{KeyId: was[0].GetKeyId()})
	wantError(t, err, codes.NotFound, "NOT_FOUND")

	w.restart()
	b = w.as(bob)
	if again := b.signingKeys(t); len(again) != 2 || again[0].GetKeyId() != left.GetKeys()[0].GetKeyId() {
		t.Errorf("got %v after a restart, want %v", again, left.GetKeys())
	}
	var said []string
	for _, rec := range w.as(carol).records(t, &behalfv1.QueryAuditRequest{User: "bob"}) {
		if rec.GetAction() == "revoke_signing_key" && strings.Contains(rec.GetRedactedArgumentsJson(), "stolen backup") {
			said = append(said, rec.GetPhase().String()+rec.GetRedactedArgumentsJson())
		}
	}
	if len(said) == 0 || !strings.Contains(said[0], "DECISION") || !strings.Contains(said[0], was[0].GetKeyId()) {
		t.Errorf("got %q on record, want the decision with key and reason", said)
	}
}

func TestOnlyOperatorsTouchTheKeysOfCallTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	kid := w.as(bob).signingKeys(t)[0].GetKeyId()
	for name, c := range map[string]*client{"alice, whom policy does not permit it": w.as(alice), "erin, of another tenant": w.as(erin)} {
		_, list := c.admin().ListSigningKeys(c.ctx(t), &behalfv1.ListSigningKeysRequest{})
		_, turn := c.admin().RotateSigningKey(c.ctx(t), &behalfv1.RotateSigningKeyRequest{})
		_, revoke := c.admin().RevokeSigningKey(c.ctx(t), &behalfv1.RevokeSigningKeyRequest{KeyId: kid})
		for what, err := range map[string]error{"list": list, "rotate": turn, "revoke": revoke} {
			if reason(err) != "POLICY_DENIED" {
				t.Errorf("%s, %s: got %v", name, what, err)
			}
		}
	}
	if keys := w.as(bob).signingKeys(t); len(keys) != 1 || keys[0].GetKeyId() != kid {
		t.Errorf("got %v, want nothing changed", keys)
	}
}

// TestCallsGoOnWhenTheirKeyIsRevoked has a backend that keeps the key set, as all do.
func TestCallsGoOnWhenTheirKeyIsRevoked(t *testing.T) {
	t.Parallel()
	l := listen(t)
	w := newWorld(t, setup{edit: withCRM(t, l.Addr().String(), false), bare: crmPolicies + `
		@id("keys") permit (principal in Role::"manager", action in [Action::"list_signing_keys", Action::"revoke_signing_key"], resource);`})
	var later atomic.Int64
	w.crmBackend(l, func(v *calltoken.VerifierConfig) {
		v.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	a, b := w.as(alice), w.as(bob)
	ask := func() (*behalfv1.CallToolResponse, error) {
		return a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"` + alice.subject + `"}`})
	}
	if r, err := ask(); err != nil || r.GetFailed() {
		t.Fatalf("got %v, %v", r, err)
	}

	if _, err := b.admin().RevokeSigningKey(b.ctx(t), &behalfv1.RevokeSigningKeyRequest{KeyId: b.signingKeys(t)[0].GetKeyId()}); err != nil {
		t.Fatal(err)
	}

	later.Store(int64(31 * time.Second)) // strange keys make a backend read once in 30 s
	if r, err := ask(); err != nil || r.GetFailed() {
		t.Errorf("got %v, %v, want the call made with the new key", r, err)
	}
}
