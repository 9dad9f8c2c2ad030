package server_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Tools that change while the server runs.

const aliceHerself = `{"customer_id":"alice"}`

// TestABackendThatWasDownAtTheStartIsUsedOnceItIsThere: its tools are unavailable, not
// unknown, as far as the config names them, and then they work, without a restart.
func TestABackendThatWasDownAtTheStartIsUsedOnceItIsThere(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{edit: withCRM(t, target, true), bare: crmPolicies, model: modelThatCalls(t, "get_customer", aliceHerself)})
	a := w.as(alice)
	_, err := a.callTool(t, "get_customer", aliceHerself)
	wantError(t, err, codes.Unavailable, "TOOL_UNAVAILABLE")
	var retry time.Duration
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			retry = r.GetRetryDelay().AsDuration()
		}
	}
	if retry <= 0 {
		t.Errorf("got %v, want it to say when to try again", err)
	}
	_, err = a.callTool(t, "get_custmer", aliceHerself)
	wantError(t, err, codes.NotFound, "TOOL_UNKNOWN")
	run := func() []*behalfv1.ToolCallSummary {
		r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "look"})
		succeed(t, err)
		return r.GetToolCalls()
	}
	if calls := run(); len(calls) != 1 || calls[0].GetReason() != behalfv1.ErrorReason_ERROR_REASON_TOOL_UNAVAILABLE {
		t.Errorf("got %v, want the run to go on with a failed result", calls)
	}

	w.crmBackend(again(t, target))

	eventually(t, "the tool works", func() bool {
		r, err := a.callTool(t, "get_customer", aliceHerself)
		return err == nil && !r.GetFailed()
	})
	if calls := run(); len(calls) != 1 || calls[0].GetDecision() != behalfv1.Decision_DECISION_ALLOW {
		t.Errorf("got %v, want a new run to use it", calls)
	}
	if list, err := a.tools().ListTools(a.ctx(t), &behalfv1.ListToolsRequest{}); err != nil || !strings.Contains(list.String(), "list_orders") {
		t.Errorf("got %v, %v, want all its tools", list, err)
	}
}

// TestABackendWithANewReleaseIsTakenIfItFits has a backend gain a method, and then
// rename a parameter that policies speak of.
func TestABackendWithANewReleaseIsTakenIfItFits(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{edit: withCRM(t, target, true), bare: `
		@id("staff-crm") permit (principal in Role::"support", action == Action::"call_tool", resource in Toolset::"crm");
		@id("not-eve") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args has customer_id && context.args.customer_id == "eve" };`})
	a, backend := w.as(alice), &release{}
	works := func(tool, args string) func() bool {
		return func() bool { r, err := a.callTool(t, tool, args); return err == nil && !r.GetFailed() }
	}
	const refund = `{"customer_id":"alice","order_id":"o"}`
	stop := backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) { f.Service[0].Method = f.GetService()[0].GetMethod()[:3] })
	eventually(t, "the first release is there", works("get_customer", aliceHerself))
	_, err := a.callTool(t, "refund_order", refund)
	wantError(t, err, codes.NotFound, "TOOL_UNKNOWN")
	stop()

	w.policy("later.cedar", `@id("nobody") forbid (principal, action == Action::"call_tool", resource);`) // nobody reloads it
	stop = backend.deploy(w, target, func(*descriptorpb.FileDescriptorProto) {})
	eventually(t, "the new method is a tool", works("refund_order", refund))
	stop()

	stop = backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetMessageType() {
			if m.GetName() == "GetCustomerRequest" {
				m.Field[0].Name, m.Field[0].JsonName = proto.String("customer"), proto.String("customer")
			}
		}
	})
	eventually(t, "the log says what to do", func() bool { return strings.Contains(w.log.String(), "run `behalf reload`") })
	if text := w.log.String(); !strings.Contains(text, "bare.cedar:3") {
		t.Errorf("got %s, want the policy that does not fit", text)
	}
	before := backend.calls.Load()
	for _, args := range []string{aliceHerself, `{"customer":"alice"}`} {
		if r, err := a.callTool(t, "get_customer", args); err == nil && !r.GetFailed() {
			t.Errorf("%s: got %v, want neither the old nor the new tool called", args, r)
		}
	}
	if backend.calls.Load() != before {
		t.Error("the backend was called")
	}
	if !works("refund_order", refund)() {
		t.Error("the tool that is what it was does not work")
	}
	stop()

	backend.deploy(w, target, func(*descriptorpb.FileDescriptorProto) {})
	eventually(t, "the release that fits is back", works("get_customer", aliceHerself))
}

// TestABackendCannotHoldUpAReload: one that has dropped a method which an agent names,
// or changed what policies speak of, does not keep a new policy from being in force.
func TestABackendCannotHoldUpAReload(t *testing.T) {
	t.Parallel()
	for name, worse := range map[string]func(*descriptorpb.FileDescriptorProto){
		"a method is gone": func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method = slices.DeleteFunc(f.Service[0].Method, func(m *descriptorpb.MethodDescriptorProto) bool { return m.GetName() == "GetCustomer" })
		},
		"a parameter is another": func(f *descriptorpb.FileDescriptorProto) {
			for _, m := range f.GetMessageType() {
				if m.GetName() == "GetCustomerRequest" {
					m.Field[0].Name, m.Field[0].JsonName = proto.String("customer"), proto.String("customer")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := shut(t)
			w := newWorld(t, setup{reread: true, edit: withCRM(t, target, true), bare: crmPolicies + `
@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);
@id("not-eve") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args has customer_id && context.args.customer_id == "eve" };`})
			a, b, backend := w.as(alice), w.as(bob), &release{}
			const refund = `{"customer_id":"alice","order_id":"o"}`
			works := func(tool, args string) func() bool {
				return func() bool { r, err := a.callTool(t, tool, args); return err == nil && !r.GetFailed() }
			}
			stop := backend.deploy(w, target, func(*descriptorpb.FileDescriptorProto) {})
			eventually(t, "the first release is there", works("refund_order", refund))
			stop()
			backend.deploy(w, target, worse)
			eventually(t, "the release does not fit", func() bool { return strings.Contains(w.log.String(), "cannot be taken") })

			w.policy("stop.cedar", `@id("stop") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order");`)
			b.reload(t)
			_, err := a.callTool(t, "refund_order", refund)
			wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
			if works("get_customer", aliceHerself)() {
				t.Error("a tool that is not there any more, or another one, was called")
			}
		})
	}
}

// TestABackendThatDoesNotFitHoldsUpNoOther: what another one has is taken, also if it was
// down and is there now, and so is a reload.
func TestABackendThatDoesNotFitHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	bad, good := shut(t), shut(t)
	w := newWorld(t, setup{reread: true, edit: withTwo(t, bad, good, "other_", always), bare: `
@id("any") permit (principal, action == Action::"call_tool", resource);
@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);
@id("not-eve") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args has customer_id && context.args.customer_id == "eve" };`})
	a, worse, other := w.as(alice), &release{}, &release{}
	reasonOf := func(tool string) string { _, err := a.callTool(t, tool, aliceHerself); return reason(err) }
	worse.deploy(w, bad, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetMessageType() {
			if m.GetName() == "GetCustomerRequest" {
				m.Field[0].Name, m.Field[0].JsonName = proto.String("customer"), proto.String("customer")
			}
		}
	})
	eventually(t, "it does not fit", func() bool { return strings.Contains(w.log.String(), "cannot be taken") })

	other.deploy(w, good, asItIs)

	eventually(t, "the other one is there", func() bool { return strings.Contains(w.log.String(), "+other_get_customer") })
	if r, err := a.callTool(t, "other_get_customer", aliceHerself); err != nil || r.GetFailed() {
		t.Errorf("got %v, %v, want the tool of a backend that fits", r, err)
	}
	if n := strings.Count(w.log.String(), "cannot be taken"); n != 1 {
		t.Errorf("got told %d times what does not fit", n)
	}
	w.policy("stop.cedar", `@id("stop") forbid (principal, action == Action::"call_tool", resource == Tool::"other_get_customer");`)
	w.as(bob).reload(t)
	if got := reasonOf("other_get_customer"); got != "POLICY_DENIED" {
		t.Errorf("got %q, want the policy in force", got)
	}
	if got := reasonOf("get_customer"); got != "TOOL_UNAVAILABLE" || worse.calls.Load() > 0 {
		t.Errorf("got %q and %d calls of what does not fit", got, worse.calls.Load())
	}
}

// TestAReloadBringsBackendsAndTakesThemAway and asks nobody while the file has
// mistakes.
func TestAReloadBringsBackendsAndTakesThemAway(t *testing.T) {
	t.Parallel()
	l, came, here := listen(t), &atomic.Int64{}, &atomic.Int64{}
	with := withCRM(t, l.Addr().String(), true)
	var on, only atomic.Bool
	const policies = `
		@id("staff-calls") permit (principal in Role::"support", action == Action::"call_tool", resource);
		@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);`
	w := newWorld(t, setup{reread: true, bare: policies, edit: func(c *config.Config) {
		withHTTP(c)
		c.CallTokens.Issuer = tokenIssuer
		if on.Load() {
			desk := c.Tools["desk"]
			with(c)
			if !only.Load() {
				crm := c.Tools["crm"]
				crm.Tools = map[string]config.Tool{"GetCustomer": {Name: "get_customer"}}
				c.Tools["crm"], c.Tools["desk"] = crm, desk
			}
		}
	}})
	w.crmBackend(visitors{l, came, here})
	a, b := w.as(alice), w.as(bob)

	on.Store(true)
	w.policy("wrong.cedar", `@id("wrong") permit (principal, action == Action::"run_agnet", resource);`)
	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	if err == nil || came.Load() > 0 {
		t.Errorf("got %v after %d connections, want it refused and nobody asked", err, came.Load())
	}
	w.policy("wrong.cedar", `@id("wrong") permit (principal, action == Action::"call_tool", resource == Tool::"stream_invoices") when { context.args.nope == "x" };`)
	if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err == nil || came.Load() == 0 {
		t.Errorf("got %v after %d connections, want it refused for what the backend has", err, came.Load())
	}
	eventually(t, "the backend of a config that was refused is left", func() bool { return here.Load() == 0 })
	w.policy("wrong.cedar", "")
	_, err = b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	if got := strings.Join(violations(err), ""); err == nil || !strings.Contains(got, "get_customer") || came.Load() == 0 {
		t.Errorf("got %v, %q, want the clash with a tool of the desk, which only the backend could tell", err, got)
	}
	if r, err := a.callTool(t, "get_customer", `{"customer_id":"C-1001"}`); err != nil || r.GetFailed() {
		t.Errorf("got %v, %v, want the desk's tool as it was", r, err)
	}

	only.Store(true)
	b.reload(t)
	if r, err := a.callTool(t, "get_customer", aliceHerself); err != nil || r.GetFailed() {
		t.Errorf("got %v, %v, want the backend's tool", r, err)
	}
	reached := came.Load()
	b.reload(t)
	if r, err := a.callTool(t, "get_customer", aliceHerself); err != nil || r.GetFailed() || came.Load() != reached {
		t.Errorf("got %v, %v after %d connections, want the one that there was to go on", r, err, came.Load()-reached)
	}

	on.Store(false)
	b.reload(t)
	_, err = a.callTool(t, "stream_invoices", aliceHerself)
	wantError(t, err, codes.NotFound, "TOOL_UNKNOWN")
}

// TestAReloadSaysWhatABackendLacks: that it was taken reads as if all were there.
func TestAReloadSaysWhatABackendLacks(t *testing.T) {
	t.Parallel()
	target := shut(t)
	with := withCRM(t, target, true)
	var on atomic.Bool
	w := newWorld(t, setup{reread: true, bare: crmPolicies + `
		@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);`, edit: func(c *config.Config) {
		with(c)
		if !on.Load() {
			crm := c.Tools["crm"]
			crm.Prefix = "old_"
			c.Tools["crm"] = crm
		}
	}})
	b := w.as(bob)

	on.Store(true)
	got := strings.Join(b.reload(t).GetNotes(), "\n")

	if !strings.HasPrefix(got, "crm: has no tools yet: ") || !strings.Contains(got, "connection refused") || !strings.Contains(got, "taken once they are there") {
		t.Errorf("got %q, want what the backend lacks", got)
	}

	w.crmBackend(again(t, target))
	eventually(t, "the backend is there", func() bool {
		r, err := w.as(alice).callTool(t, "get_customer", aliceHerself)
		return err == nil && !r.GetFailed()
	})
	if got := b.reload(t).GetNotes(); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
	eventually(t, "whoever reads of its trouble reads of its end", func() bool {
		return strings.Contains(w.log.String(), `level=WARN msg="a tool backend is there again"`)
	})
}

// TestAToolThatIsAcceptedIsTakenWithoutARestart: nobody can call what nobody has read,
// and as soon as somebody has, new runs can.
func TestAToolThatIsAcceptedIsTakenWithoutARestart(t *testing.T) {
	t.Parallel()
	k := newWiki(t, func(*wiki) {})
	a := k.w.as(alice)
	if got := k.asked(a); !got.GetFailed() || k.calls.Load() > 0 {
		t.Fatalf("got %v, want it refused before anybody accepted it", got)
	}

	k.accept()

	eventually(t, "what was accepted is taken", func() bool { return !k.asked(a).GetFailed() })
	k.tool("getPage", "Reads a page, newest first.")
	eventually(t, "the change is seen", func() bool { return k.asked(a).GetFailed() })
	k.accept()
	eventually(t, "the other definition is taken", func() bool { return !k.asked(a).GetFailed() })
	if list, err := a.tools().ListTools(a.ctx(t), &behalfv1.ListToolsRequest{}); err != nil || !strings.Contains(list.String(), "newest first") {
		t.Errorf("got %v, %v, want the words that were accepted", list, err)
	}
}

// TestABackendIsNotBelievedThatLessIsNeeded: what its methods need may be in its own
// descriptors, and a release that says less of it is an operator's to take.
func TestABackendIsNotBelievedThatLessIsNeeded(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{reread: true, edit: withCRM(t, target, true), bare: crmPolicies + `
@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);`})
	d, backend := w.as(dave), &release{}
	const refund = `{"customer_id":"dave","order_id":"o"}`
	why := func() string {
		_, err := d.callTool(t, "refund_order", refund)
		return reason(err)
	}
	stop := backend.deploy(w, target, func(*descriptorpb.FileDescriptorProto) {})
	eventually(t, "a refund needs a scope", func() bool { return why() == "SCOPE_MISSING" })
	stop()
	backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetService()[0].GetMethod() {
			if m.GetName() == "RefundOrder" {
				m.Options = nil
			}
		}
	})
	eventually(t, "the log says what to do", func() bool { return strings.Contains(w.log.String(), "orders.refund any more") })
	if got := why(); got != "SCOPE_MISSING" || backend.calls.Load() != 0 {
		t.Errorf("got %q and %d calls, want the scope needed still", got, backend.calls.Load())
	}
	w.as(bob).reload(t)
	if got := why(); got == "SCOPE_MISSING" {
		t.Errorf("got %q, want what the operator took", got)
	}
}

// TestAnotherWireFormOfTheSameToolIsTaken, although nothing of it that anybody sees is
// different.
func TestAnotherWireFormOfTheSameToolIsTaken(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{edit: withCRM(t, target, true), bare: crmPolicies})
	a, backend := w.as(alice), &release{}
	works := func() bool {
		r, err := a.callTool(t, "get_customer", aliceHerself)
		return err == nil && !r.GetFailed()
	}
	stop := backend.deploy(w, target, func(*descriptorpb.FileDescriptorProto) {})
	eventually(t, "the first release is there", works)
	stop()
	backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetMessageType() {
			if m.GetName() == "GetCustomerRequest" {
				m.Field[0].Number = proto.Int32(77)
			}
		}
	})
	before := backend.calls.Load()
	eventually(t, "the next one is called", func() bool { works(); return backend.calls.Load() > before })
}
