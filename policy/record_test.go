package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
)

func TestADecisionRowHasEveryInput(t *testing.T) {
	d := newDesk(t, permitAll+`@id("rate") @rate("60/1m") forbid (principal, action == Action::"call_tool", resource);`)
	who := person("acme", "alice", "support", "admin")
	who.User.Email, who.User.ACR, who.User.AMR, who.User.AuthTime = "a@x", "mfa", []string{"pwd", "otp"}, noon()
	who.Workload = &identity.Workload{ID: "spiffe://x/y", Thumbprint: "leaf"}
	q := callBy(who, "get_customer", okCall)
	q.DescriptorHash, q.Trace = "hash", "trace"

	if _, err := d.Begin(t.Context(), q); err != nil {
		t.Fatal(err)
	}

	r := d.log.record(0)
	got, _ := json.Marshal(r)
	for _, want := range []string{
		`"Tenant":"acme"`, `"User":{"Issuer":"https://idp.example","Subject":"alice","Email":"a@x"}`, `"Workload":"spiffe://x/y"`, `"LeafThumbprint":"leaf"`,
		`"Agent":"support"`, `"Chain":["support"]`, `"GrantID":"grt_1"`, `"Roles":["admin","support"]`, `"Scopes":["crm.read","orders.refund"]`, `"ACR":"mfa"`, `"AMR":["pwd","otp"]`,
		`"AuthTime":1772366400000000000`, `"Tier":"interactive"`, `"TokenID":"jti-1"`, `"SessionID":"ses_1"`, `"RunID":"run_1"`, `"TraceID":"trace"`, `"CallID":"run_1/7"`,
		`"Phase":"decision"`, `"Action":"call_tool"`, `"Resource":"Tool::\"get_customer\""`, `"Tool":"get_customer"`, `"DescriptorHash":"hash"`, `"Decision":"allow"`,
		`"PolicyIDs":["all","rate"]`, `"PolicyRevision":"` + d.Revision() + `"`, `"Duties":["@rate(\"60/1m\")"]`, `"Governed":true`, `"Time":1772366400000000000`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("got %s\nwithout %s", got, want)
		}
	}
	want := audit.Reservation{Bucket: "rate\x00acme/alice\x00interactive", Cost: 1, Limit: 60, Window: time.Minute}
	if rs := d.log.entries[0].Reserve; len(rs) != 1 || rs[0] != want {
		t.Errorf("got reservations %v, want %v", rs, want)
	}
}

func TestLargeArgumentsAreLeftOutOfTheRecord(t *testing.T) {
	d := newDesk(t, permitAll)

	if _, err := d.Begin(t.Context(), call("get_customer", `{"id":"`+strings.Repeat("x", 5000)+`"}`)); err != nil {
		t.Fatal(err)
	}

	if r := d.log.record(0); r.RedactedArguments != `"[left out: 5009 bytes]"` || len(r.ArgumentsDigest) != 64 {
		t.Errorf("got %.40s and digest %s", r.RedactedArguments, r.ArgumentsDigest)
	}
}

func TestDigestsAreKeyedByTenant(t *testing.T) {
	d := newDesk(t, permitAll)

	a, b := d.Digest("acme", []byte("yes")), d.Digest("globex", []byte("yes"))

	if a == b || len(a) != 64 || d.Digest("keyless", []byte("yes")) != "" {
		t.Errorf("got %s and %s", a, b)
	}
}
