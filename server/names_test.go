package server_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/config"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Names that backends choose.

const namesPolicies = `
	@id("staff-crm") permit (principal in Role::"support", action == Action::"call_tool", resource) unless { resource == Tool::"refund_order" };
	@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);`

// withOther has a second backend that may offer what the first one does. Named: the
// config says of the first one's method what it is called.
func withOther(t *testing.T, target, other string, named *atomic.Bool) func(*config.Config) {
	crm := withCRM(t, target, true)
	return func(c *config.Config) {
		crm(c)
		second := c.Tools["crm"]
		g := *second.GRPC
		g.Target, g.Audience = other, "another"
		second.GRPC = &g
		c.Tools["another"] = second // before crm in any order
		if named.Load() {
			first := c.Tools["crm"]
			first.Tools = map[string]config.Tool{"GetCustomer": {Name: "get_customer"}}
			c.Tools["crm"] = first
		}
	}
}

func asItIs(*descriptorpb.FileDescriptorProto) {}

// TestABackendThatNamesAToolLikeAnothersGetsNoneOfItsCalls: neither has the name, until
// the operator says whose it is, and nothing else stops.
func TestABackendThatNamesAToolLikeAnothersGetsNoneOfItsCalls(t *testing.T) {
	t.Parallel()
	l, target := listen(t), shut(t)
	var named atomic.Bool
	w := newWorld(t, setup{reread: true, bare: namesPolicies, edit: withOther(t, l.Addr().String(), target, &named)})
	w.crmBackend(l)
	a, b, thief := w.as(alice), w.as(bob), &release{}
	works := func() bool {
		r, err := a.callTool(t, "get_customer", aliceHerself)
		return err == nil && !r.GetFailed()
	}
	stop := thief.deploy(w, target, only("RefundOrder"))
	eventually(t, "the tool is there", works)
	stop()

	thief.deploy(w, target, asItIs)

	eventually(t, "neither has the name", func() bool { return !works() })
	_, err := a.callTool(t, "get_customer", aliceHerself)
	wantError(t, err, codes.Unavailable, "TOOL_UNAVAILABLE")
	if text := w.log.String(); !strings.Contains(text, "is left out") || !strings.Contains(text, "toolsets another, crm") || !strings.Contains(text, "prefix:") {
		t.Errorf("got %s, want it to say what is left out and the way out", text)
	}
	b.reload(t)
	named.Store(true)
	b.reload(t)
	if !works() {
		t.Error("the tool to which the config gives the name does not work")
	}
	if got := thief.calls.Load(); got > 0 {
		t.Errorf("the other backend got %d calls", got)
	}
}

// TestABackendThatIsAwayKeepsTheNamesThatTheConfigGivesIt: who happens to be there does
// not get its calls.
func TestABackendThatIsAwayKeepsTheNamesThatTheConfigGivesIt(t *testing.T) {
	t.Parallel()
	target := shut(t)
	var named atomic.Bool
	named.Store(true)
	w := newWorld(t, setup{bare: namesPolicies, edit: withOther(t, shut(t), target, &named)})
	a, thief := w.as(alice), &release{}

	thief.deploy(w, target, asItIs)

	eventually(t, "it is there", func() bool { return strings.Contains(w.log.String(), "is left out") })
	_, err := a.callTool(t, "get_customer", aliceHerself)
	wantError(t, err, codes.Unavailable, "TOOL_UNAVAILABLE")
	if got := w.log.String(); !strings.Contains(got, `toolset \"crm\" has a tool of this name`) {
		t.Errorf("got %s, want it to say whose name it is", got)
	}
}

// TestABackendThatNamesAToolLikeOneOfTheProgramStopsNoStart: the
// program's own is the tool, and the log says so.
func TestABackendThatNamesAToolLikeOneOfTheProgramStopsNoStart(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{bare: namesPolicies, edit: func(c *config.Config) {
		desk := c.Tools["desk"]
		withCRM(t, target, false)(c)
		c.Tools["desk"] = desk
	}})

	if text := w.log.String(); !strings.Contains(text, "is left out") || !strings.Contains(text, `toolset \"desk\" has a tool of this name`) {
		t.Errorf("got %s, want it to say what is left out and why", text)
	}
	if r, err := w.as(alice).callTool(t, "get_customer", `{"customer_id":"C-1001"}`); err != nil || r.GetFailed() {
		t.Errorf("got %v, %v, want the program's tool", r, err)
	}
}

// withTwo has two backends that are asked what they have. The other one has a prefix, or
// none, and is there only if it shall be.
func withTwo(t *testing.T, crm, other, prefix string, both func() bool) func(*config.Config) {
	with := withCRM(t, crm, true)
	return func(c *config.Config) {
		with(c)
		second := c.Tools["crm"]
		g := *second.GRPC
		g.Target, g.Audience = other, "other"
		second.GRPC, second.Prefix = &g, prefix
		if both() {
			c.Tools["other"] = second
		}
	}
}

func always() bool { return true }

// TestABackendGetsNoNameWhileAnotherOneMayHaveIt: of two backends that offer a name
// neither gets it. If one of them is down since the start, nobody knows whether it does.
func TestABackendGetsNoNameWhileAnotherOneMayHaveIt(t *testing.T) {
	t.Parallel()
	down, up := shut(t), shut(t)
	w := newWorld(t, setup{bare: namesPolicies, edit: withTwo(t, down, up, "", always)})
	a, other, crm := w.as(alice), &release{}, &release{}
	said := func(part string) func() bool {
		return func() bool { return strings.Contains(w.log.String(), part) }
	}

	other.deploy(w, up, asItIs)

	eventually(t, "its names wait", said(`toolset \"crm\" may have a tool of this name`))
	_, err := a.callTool(t, "get_customer", aliceHerself)
	wantError(t, err, codes.Unavailable, "TOOL_UNAVAILABLE")
	crm.deploy(w, down, only("GetCustomer"))
	eventually(t, "both want the name", said("toolsets crm, other"))
	if _, err := a.callTool(t, "get_customer", aliceHerself); err == nil || other.calls.Load() > 0 {
		t.Errorf("got %v and %d calls of what is nobody's", err, other.calls.Load())
	}
	_, err = a.callTool(t, "refund_order", `{"customer_id":"alice","order_id":"o"}`)
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED") // and not unknown: nobody else has it
}

// TestABackendThatIsDownHoldsUpNoNameThatIsNotItsOwn: not one with another prefix, and
// not one that was in use before an operator added the backend.
func TestABackendThatIsDownHoldsUpNoNameThatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	works := func(t *testing.T, a *client, tool string) func() bool {
		return func() bool { r, err := a.callTool(t, tool, aliceHerself); return err == nil && !r.GetFailed() }
	}
	t.Run("a prefix", func(t *testing.T) {
		t.Parallel()
		up := shut(t)
		w := newWorld(t, setup{bare: namesPolicies, edit: withTwo(t, shut(t), up, "other_", always)})
		(&release{}).deploy(w, up, asItIs)
		eventually(t, "the tool is there", works(t, w.as(alice), "other_get_customer"))
	})
	t.Run("in use", func(t *testing.T) {
		t.Parallel()
		up := shut(t)
		var both atomic.Bool
		w := newWorld(t, setup{reread: true, bare: namesPolicies, edit: withTwo(t, up, shut(t), "", both.Load)})
		(&release{}).deploy(w, up, asItIs)
		eventually(t, "the tool is there", works(t, w.as(alice), "get_customer"))
		both.Store(true)
		w.as(bob).reload(t)
		if !works(t, w.as(alice), "get_customer")() {
			t.Error("got a tool that was in use kept back")
		}
	})
}

// only leaves a backend these methods.
func only(methods ...string) func(*descriptorpb.FileDescriptorProto) {
	return func(f *descriptorpb.FileDescriptorProto) {
		f.Service[0].Method = slices.DeleteFunc(f.Service[0].Method, func(m *descriptorpb.MethodDescriptorProto) bool { return !slices.Contains(methods, m.GetName()) })
	}
}

// TestARestartKnowsWhoseTheNamesAre: a backend that is down by then keeps its own from
// others, and holds up none that was another one's.
func TestARestartKnowsWhoseTheNamesAre(t *testing.T) {
	t.Parallel()
	first, second := shut(t), shut(t)
	w := newWorld(t, setup{edit: withTwo(t, first, second, "", always), bare: `@id("any") permit (principal, action == Action::"call_tool", resource);`})
	a, crm, other := w.as(alice), &release{}, &release{}
	called := func(tool string) bool {
		_, err := a.callTool(t, tool, aliceHerself)
		return err == nil
	}
	stopCRM, stopOther := crm.deploy(w, first, only("GetCustomer")), other.deploy(w, second, only("ListOrders"))
	eventually(t, "both are there", func() bool { return called("get_customer") && called("list_orders") })
	stopCRM()
	stopOther()
	other.deploy(w, second, only("ListOrders", "GetCustomer"))

	w.restart()

	a = w.as(alice)
	eventually(t, "the other one has its own tool", func() bool { return called("list_orders") })
	if called("get_customer") || other.calls.Load() > 0 {
		t.Errorf("got %d calls of a tool of a backend that is down at another one", other.calls.Load())
	}
}
