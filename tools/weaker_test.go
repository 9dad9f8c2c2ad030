package tools_test

import (
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools"
)

// TestAToolThatAsksLessOrHidesLessIsWeaker, by each of its facts alone, and one that
// asks or hides more is not.
func TestAToolThatAsksLessOrHidesLessIsWeaker(t *testing.T) {
	was := tools.Descriptor{
		Scopes: []string{"orders"}, Effect: tools.Write, Risk: "medium", Owners: map[string]tools.Owner{"customer_id": tools.OwnerSubject}, Hides: []string{"crm.v1.Customer.notes", "crm.v1.Customer.ssn"},
	}
	for want, less := range map[string]func(*tools.Descriptor){
		"the scope orders":            func(d *tools.Descriptor) { d.Scopes = []string{"other"} },
		"parameter customer_id":       func(d *tools.Descriptor) { d.Owners = nil },
		"read only":                   func(d *tools.Descriptor) { d.Effect = tools.Read },
		"idempotent":                  func(d *tools.Descriptor) { d.Idempotent = true },
		"risk":                        func(d *tools.Descriptor) { d.Risk = "" },
		"field crm.v1.Customer.notes": func(d *tools.Descriptor) { d.Hides = []string{"crm.v1.Customer.ssn"} },
		"field crm.v1.Customer.ssn":   func(d *tools.Descriptor) { d.Hides = []string{"crm.v1.Customer.notes", "crm.v1.Customer.tier"} },
		"": func(d *tools.Descriptor) {
			d.Scopes, d.Risk = []string{"more", "orders"}, "high"
			d.Owners = map[string]tools.Owner{"customer_id": tools.OwnerSubject, "tenant": tools.OwnerTenant}
			d.Hides = []string{"crm.v1.Customer.name", "crm.v1.Customer.notes", "crm.v1.Customer.ssn"}
		},
	} {
		is := was
		less(&is)
		demands := was.Demands()
		if got := is.Weaker(&demands); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if low, unsaid := (tools.Descriptor{Risk: "low", Effect: tools.Write}), (tools.Descriptor{}); unsaid.Weaker(&low) != "" {
		t.Errorf("got %q, want what is not said to be a write of low risk", unsaid.Weaker(&low))
	}
}
