package policy

import (
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

func TestNobodyApprovesTheirOwnCallUnderAnotherName(t *testing.T) {
	a := &audit.Approval{Tenant: "acme", Requester: audit.User{Issuer: "https://idp.example", Subject: "alice", Email: "Alice@corp.example"}, Approvers: []string{`Role::"manager"`},
		Parties: []audit.User{{Issuer: "https://idp.example", Subject: "carol", Email: "carol@corp.example"}}}
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
