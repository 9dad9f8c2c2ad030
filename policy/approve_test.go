package policy

import (
	"errors"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

func TestNobodyApprovesTheirOwnCallUnderAnotherName(t *testing.T) {
	a := &audit.Approval{
		Tenant: "acme", Requester: audit.User{Issuer: "https://idp.example", Subject: "alice", Email: "Alice@corp.example"}, Approvers: []string{`Role::"manager"`},
		Parties: []audit.User{{Issuer: "https://idp.example", Subject: "carol", Email: "carol@corp.example"}},
	}
	manager := func(issuer, tenant, subject, email string) identity.Grant {
		return grantOf(identity.Principal{User: &identity.User{Issuer: issuer, Tenant: tenant, Subject: subject, Email: email, Roles: []string{"manager"}}})
	}
	unknown := identity.Principal{User: &identity.User{Issuer: "https://idp.example", Tenant: "acme", Subject: "bob", Roles: []string{"manager"}, RolesUnknown: true}}
	for name, c := range map[string]struct {
		who  identity.Grant
		want *fault.Error
	}{
		"somebody else":                         {manager("https://idp.example", "acme", "bob", "bob@corp.example"), nil},
		"somebody else without an address":      {manager("https://idp.example", "acme", "bob", ""), nil},
		"the requester":                         {manager("https://idp.example", "acme", "alice", ""), errOwnApproval},
		"the same name at another issuer":       {manager("https://other.example", "acme", "alice", ""), errOwnApproval},
		"the same address at another issuer":    {manager("https://other.example", "acme", "x-7", "Alice@corp.example"), errOwnApproval},
		"the same address, written otherwise":   {manager("https://idp.example", "acme", "alice-admin", "alice@CORP.example"), errOwnApproval},
		"the same name in another tenant":       {manager("https://idp.example", "globex", "alice", ""), errNotApprover},
		"who is asked along":                    {manager("https://idp.example", "acme", "carol", ""), errOwnApproval},
		"their name at another issuer":          {manager("https://other.example", "acme", "carol", ""), errOwnApproval},
		"their address at another issuer":       {manager("https://other.example", "acme", "x-8", "Carol@corp.example"), errOwnApproval},
		"no manager":                            {grantOf(person("acme", "bob")), errNotApprover},
		"a manager, among roles that are cut":   {grantOf(unknown), errNotApprover},
		"a workload that carries nobody at all": {grantOf(identity.Principal{Workload: &identity.Workload{ID: "spiffe://corp.example/x", Tenant: "acme"}}), errNotApprover},
	} {
		if got := Approver(c.who, a); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// What somebody approved is this call and no other. Each row changes one thing.
func TestAnApprovalIsBoundToAllThatItIsGivenFor(t *testing.T) {
	g, _, _ := counted(t, permitAll) // whose key is the same in all tenants
	const expires = 1_800_000_000
	bound := func(edit func(*Query)) string {
		q := callBy(person("acme", "alice"), "refund_order", `{"order":"o-1"}`)
		q.DescriptorHash = "version 1"
		edit(q)
		return g.binding(q, q.Arguments, expires)
	}
	as := func(p identity.Principal, chain ...string) func(*Query) {
		return func(q *Query) { q.Grant = grantOf(p, chain...) }
	}
	other := person("acme", "alice")
	other.User.Issuer = "https://partner.example"
	given := bound(func(*Query) {})

	for what, edit := range map[string]func(*Query){
		"person":           as(person("acme", "bob"), "support"),
		"issuer":           as(other, "support"),
		"tenant":           as(person("globex", "alice"), "support"),
		"no agent":         as(person("acme", "alice")),
		"another agent":    as(person("acme", "alice"), "billing"),
		"a longer chain":   as(person("acme", "alice"), "triage", "support"),
		"arguments":        func(q *Query) { q.Arguments = []byte(`{"order":"o-2"}`) },
		"tool":             func(q *Query) { q.Resource.ID = "get_customer" },
		"tool's version":   func(q *Query) { q.DescriptorHash = "version 2" },
		"what is in which": func(q *Query) { q.Resource.ID, q.DescriptorHash = "refund_orderv", "ersion 1" },
	} {
		if bound(edit) == given {
			t.Errorf("another %s has the same digest", what)
		}
	}
	withOther := func(name string) string {
		return bound(func(q *Query) { q.Grant = q.Grant.With(grantOf(person("acme", name), "support")) })
	}
	if bobs := withOther("bob"); bobs == given || bobs == withOther("eve") || bobs != withOther("bob") {
		t.Error("other people in whose name it is made have the same digest")
	}
	if bound(func(q *Query) { q.Run, q.Session, q.Call = "run_2", "ses_2", "run_2/1" }) != given {
		t.Error("the digest is also over where the call was made, which is not what was approved")
	}
	if q := callBy(person("acme", "alice"), "refund_order", "{}"); g.binding(q, q.Arguments, expires) == g.binding(q, q.Arguments, expires+1) {
		t.Error("another end has the same digest")
	}
}

// TestAnApprovalMustHoldUntilTheEffect locks whoever gave it, or what they gave it by,
// before the call is decided, and between the decision and the effect.
func TestAnApprovalMustHoldUntilTheEffect(t *testing.T) {
	for name, target := range map[string]LockTarget{
		"the person":           {Kind: LockUser, Tenant: "acme", ID: "bob"},
		"their token":          {Kind: LockToken, ID: "jti-bob"},
		"it by its thumbprint": {Kind: LockToken, ID: "sha256-bob"},
		"their client":         {Kind: LockWorkload, ID: "spiffe://acme.example/desk"},
	} {
		t.Run(name, func(t *testing.T) { approvalUntilTheEffect(t, target) })
	}
}

func approvalUntilTheEffect(t *testing.T, target LockTarget) {
	t.Helper()
	g, log, now := counted(t, permitAll+`@id("ask") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource);`)
	by := audit.Answer{
		Approver: audit.User{Issuer: "https://idp.example", Subject: "bob"}, ApproverName: "Bob",
		ApproverToken: "jti-bob", ApproverThumbprint: "sha256-bob", ApproverWorkload: "spiffe://acme.example/desk",
	}
	approved := func(name string) *Query {
		q := call("get_customer", `{"id":"c"}`)
		q.Call = name
		err := allowed(t, g, q)
		asked, ok := errors.AsType[*Awaiting](err)
		if !ok {
			t.Fatalf("got %v, want it to wait", err)
		}
		if _, why := log.DecideApproval(t.Context(), "acme", asked.Approval.ID, true, by, *now); why != "" {
			t.Fatal(why)
		}
		return q
	}
	begun, err := g.Begin(t.Context(), approved("run_1/4"))
	if err == nil {
		err = errors.Join(begun.Wait(t.Context()), begun.Recheck(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	later := approved("run_1/5")

	if _, err := g.Lock(t.Context(), Lock{Target: target, ByTenant: "acme"}); err != nil {
		t.Fatal(err)
	}

	if err := begun.Recheck(t.Context()); !errors.Is(err, fault.ApprovalExpired) {
		t.Errorf("before the effect: got %v, want APPROVAL_EXPIRED", err)
	}
	if err := allowed(t, g, later); !errors.Is(err, fault.ApprovalExpired) {
		t.Errorf("before the decision: got %v, want APPROVAL_EXPIRED", err)
	}
}
