package server_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/descriptorpb"
)

// What a backend says of its tools that makes calls easier is an operator's to take.

const weakerPolicies = `
@id("crm") permit (principal, action == Action::"call_tool", resource in Toolset::"crm");
@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);`

// TestABackendThatDropsAToolIsNotBelievedThatLessIsNeeded when it has it again, also
// if an operator reloaded meanwhile: there was nothing of it to take.
func TestABackendThatDropsAToolIsNotBelievedThatLessIsNeeded(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{reread: true, edit: withCRM(t, target, true), bare: weakerPolicies})
	d, b, backend := w.as(dave), w.as(bob), &release{}
	refund := func() string {
		_, err := d.callTool(t, "refund_order", `{"customer_id":"dave","order_id":"o"}`)
		return reason(err)
	}
	stop := backend.deploy(w, target, asItIs)
	eventually(t, "a refund needs a scope", func() bool { return refund() == "SCOPE_MISSING" })
	stop()
	stop = backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) {
		f.Service[0].Method = slices.DeleteFunc(f.Service[0].Method, func(m *descriptorpb.MethodDescriptorProto) bool { return m.GetName() == "RefundOrder" })
	})
	eventually(t, "there are no refunds", func() bool { return refund() == "TOOL_UNKNOWN" })
	b.reload(t)
	stop()

	backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetService()[0].GetMethod() {
			if m.GetName() == "RefundOrder" {
				m.Options = nil
			}
		}
	})

	eventually(t, "the log says what to do", func() bool { return strings.Contains(w.log.String(), "orders.refund any more") })
	if got := refund(); got != "TOOL_UNKNOWN" || backend.calls.Load() > 0 {
		t.Errorf("got %q and %d calls of somebody without the scope", got, backend.calls.Load())
	}
	b.reload(t)
	if got := refund(); got != "" {
		t.Errorf("got %q, want what the operator took", got)
	}
}

// TestABackendIsNotBelievedThatNothingIsHidden: what of its answers nobody is to read is
// in its own descriptors, as the scopes are. A release that does not say it any more, by
// a mistake, is not to be read by all models at once.
func TestABackendIsNotBelievedThatNothingIsHidden(t *testing.T) {
	t.Parallel()
	target := shut(t)
	w := newWorld(t, setup{reread: true, edit: withCRM(t, target, true), bare: weakerPolicies})
	a, backend := w.as(alice), &release{}
	shown := func() (works, notes bool) {
		r, err := a.callTool(t, "get_customer", aliceHerself)
		works = err == nil && !r.GetFailed()
		return works, works && strings.Contains(r.GetResultJson(), "notes")
	}
	stop := backend.deploy(w, target, asItIs)
	eventually(t, "the first release is there", func() bool { works, notes := shown(); return works && !notes })
	stop()

	backend.deploy(w, target, func(f *descriptorpb.FileDescriptorProto) {
		for _, m := range f.GetMessageType() {
			for _, fd := range m.GetField() {
				if fd.GetName() == "notes" {
					fd.Options = nil
				}
			}
		}
	})

	eventually(t, "the log says what to do", func() bool {
		return strings.Contains(w.log.String(), "notes any more") || strings.Contains(w.log.String(), "~get_customer")
	})
	if works, notes := shown(); works || notes {
		t.Error("got an answer, want none until an operator has taken it")
	}
	w.as(bob).reload(t)
	if _, notes := shown(); !notes {
		t.Error("got no notes, want what the operator took")
	}
}
