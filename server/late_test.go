package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TestABackendThatComesLateAndDoesNotFitHoldsUpNothing: it was away at the start and lacks
// a method that the config names.
func TestABackendThatComesLateAndDoesNotFitHoldsUpNothing(t *testing.T) {
	t.Parallel()
	bad, good := shut(t), shut(t)
	with := withTwo(t, bad, good, "other_", always)
	w := newWorld(t, setup{reread: true, edit: func(c *config.Config) {
		with(c)
		crm := c.Tools["crm"]
		crm.Tools = map[string]config.Tool{"GetCustomer": {Name: "get_customer"}}
		c.Tools["crm"] = crm
	}, bare: `
@id("any") permit (principal, action == Action::"call_tool", resource);
@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);`})
	a, worse, other := w.as(alice), &release{}, &release{}
	worse.deploy(w, bad, only("ListOrders"))
	eventually(t, "it does not fit", func() bool { return strings.Contains(w.log.String(), "cannot be taken") })

	other.deploy(w, good, asItIs)

	eventually(t, "the other one is read", func() bool {
		return strings.Count(w.log.String(), "cannot be taken") > 1 || strings.Contains(w.log.String(), "+other_get_customer")
	})
	if r, err := a.callTool(t, "other_get_customer", aliceHerself); err != nil || r.GetFailed() {
		t.Errorf("other backend: got %v, %v", r, err)
	}
	w.policy("stop.cedar", `@id("stop") forbid (principal, action == Action::"call_tool", resource);`)
	_, err := w.as(bob).admin().ReloadConfig(w.as(bob).ctx(t), nil)
	if err != nil {
		t.Errorf("reload: %v", err)
	}
}

// TestWhatIsNotTakenIsToldOnce of a backend that is not believed, however often another one
// changes.
func TestWhatIsNotTakenIsToldOnce(t *testing.T) {
	t.Parallel()
	bad, good := shut(t), shut(t)
	w := newWorld(t, setup{reread: true, edit: withTwo(t, bad, good, "other_", always), bare: `
@id("any") permit (principal, action == Action::"call_tool", resource);
@id("not-eve") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args has customer_id && context.args.customer_id == "eve" };`})
	weaker, changes := &release{}, &release{}
	stop := weaker.deploy(w, bad, asItIs)
	stopOther := changes.deploy(w, good, only("GetCustomer"))
	eventually(t, "both are there", func() bool {
		return strings.Contains(w.log.String(), "+other_get_customer") && strings.Contains(w.log.String(), "+refund_order")
	})
	stop()
	weaker.deploy(w, bad, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetService()[0].GetMethod() {
			if m.GetName() == "RefundOrder" {
				m.Options = nil
			}
		}
	})
	const told = "is not believed by itself"
	eventually(t, "it is not believed", func() bool { return strings.Contains(w.log.String(), told) })
	for i := range 3 {
		stopOther()
		with, sign := []string{"GetCustomer", "ListOrders"}, "+other_list_orders"
		if i%2 == 1 {
			with, sign = []string{"GetCustomer"}, "-other_list_orders"
		}
		before := strings.Count(w.log.String(), sign)
		stopOther = changes.deploy(w, good, only(with...))
		eventually(t, fmt.Sprint("release ", i), func() bool { return strings.Count(w.log.String(), sign) > before })
	}
	if n := strings.Count(w.log.String(), told); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestWhatCouldNotBeStoredOfNamesIsStoredLater, although nothing changed since: else a
// restart gives the calls of a backend that is down to who had its name before.
func TestWhatCouldNotBeStoredOfNamesIsStoredLater(t *testing.T) {
	t.Parallel()
	first, second := shut(t), shut(t)
	with := withTwo(t, first, second, "", always)
	w := newWorld(t, setup{edit: func(c *config.Config) {
		with(c)
		triage := c.Agents["triage"]
		triage.Tools = nil
		c.Agents["triage"] = triage
	}, bare: `@id("any") permit (principal, action == Action::"call_tool", resource);`})
	a, crm, other := w.as(alice), &release{}, &release{}
	said := func(text string, n int) func() bool {
		return func() bool { return strings.Count(w.log.String(), text) >= n }
	}
	called := func(tool string) bool { _, err := a.callTool(t, tool, aliceHerself); return err == nil }
	stopCRM, stopOther := crm.deploy(w, first, only("ListOrders")), other.deploy(w, second, only("GetCustomer"))
	eventually(t, "both are there", func() bool { return said("+get_customer", 1)() && said("+list_orders", 1)() })

	mend := w.breakAudit() // a full disk does the same to the store's writer
	stopOther()
	stopOther = other.deploy(w, second, only("RefundOrder"))
	eventually(t, "the name is free", said("-get_customer", 1))
	stopCRM()
	stopCRM = crm.deploy(w, first, only("ListOrders", "GetCustomer"))
	eventually(t, "the name is the other's", said("+get_customer", 2))
	if !said("cannot be stored", 1)() {
		t.Fatal("it was stored")
	}
	mend()
	eventually(t, "it is stored", said("is stored again", 1))
	stopCRM()
	stopOther()
	before := other.calls.Load()
	other.deploy(w, second, only("GetCustomer", "RefundOrder")) // rolled back

	w.restart() // while crm is down

	a = w.as(alice)
	eventually(t, "other has its own tool", func() bool { return called("refund_order") || called("get_customer") })
	if called("get_customer") || other.calls.Load() > before+1 {
		t.Errorf("the calls of get_customer, which was crm's, went to other (%d)", other.calls.Load()-before)
	}
}
