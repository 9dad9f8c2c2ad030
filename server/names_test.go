package server_test

import (
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
	eventually(t, "the tool is there", works)

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

	eventually(t, "its other tools are there", func() bool { r, err := a.callTool(t, "list_orders", aliceHerself); return err == nil || r.GetFailed() })
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
