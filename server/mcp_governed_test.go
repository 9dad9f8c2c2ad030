package server_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestAnMCPClientSeesAllOnOnePage because many ask for no other, and is promised
// nothing that was not said.
func TestAnMCPClientSeesAllOnOnePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})

	page, err := w.ide(alice).ListTools(t.Context(), nil)

	if err != nil || page.NextCursor != "" {
		t.Fatalf("got %v and a further page %q", err, page.NextCursor)
	}
	names := map[string]*mcp.Tool{}
	for _, tool := range page.Tools {
		names[tool.Name] = tool
		if tool.OutputSchema != nil { // a client would hold a redacted result to it
			t.Errorf("%s promises results of the shape %v", tool.Name, tool.OutputSchema)
		}
	}
	for _, want := range []string{"get_customer", "refund_order", "agent-triage", "call-approved"} {
		if names[want] == nil {
			t.Fatalf("the page lacks %s", want)
		}
	}
	if a := names["get_customer"].Annotations; !a.ReadOnlyHint {
		t.Errorf("got %+v, want a tool that reads", a)
	}
	if a := names["refund_order"].Annotations; a.ReadOnlyHint || a.DestructiveHint != nil && !*a.DestructiveHint {
		t.Errorf("got %+v, want no promise that a write destroys nothing", a)
	}
}

func TestAnMCPClientIsToldWhichArgumentIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})
	ide := w.ide(bob)

	text, failed := use(t, ide, "refund_order", map[string]any{"order_id": "o-5002", "amount_cents": "much", "reason": "x"})

	if !failed || !strings.Contains(text, "ARGUMENT_INVALID") || !strings.Contains(text, "amount_cents") {
		t.Errorf("got %s, %v, want the argument by name", text, failed)
	}
	if text, failed := use(t, ide, "refund_order", map[string]any{"order": "o-5002"}); !failed || strings.Contains(text, "; :") {
		t.Errorf("got %s, %v, want what is wrong with the whole said without a name", text, failed)
	}
}

// TestAnMCPClientGoesOnAfterAnApproval with nothing but what it was told.
func TestAnMCPClientGoesOnAfterAnApproval(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{edit: withMCP}, pay("c1"))
	ide, args := w.ide(alice), map[string]any{"to": "eve", "amount": 700}
	text, failed := use(t, ide, "pay", args)
	m := regexp.MustCompile(`APPROVAL_REQUIRED, approval_id (apr_\w+)\); then use the tool call-approved`).FindStringSubmatch(text)
	if m == nil || !failed {
		t.Fatalf("got %s, want to be told how to go on", text)
	}
	again := func(tool string, args map[string]any) (string, bool) {
		return use(t, ide, "call-approved", map[string]any{"approval_id": m[1], "tool": tool, "arguments": args})
	}
	if text, failed := again("pay", args); !failed || !strings.Contains(text, "APPROVAL_REQUIRED") {
		t.Errorf("got %s, %v before anybody has approved", text, failed)
	}
	succeed(t, w.as(bob).decide(t, m[1], true))
	if text, failed := again("pay", map[string]any{"to": "eve", "amount": 701}); !failed || !strings.Contains(text, "APPROVAL_DIGEST_MISMATCH") {
		t.Errorf("got %s, %v for other arguments", text, failed)
	}
	if text, failed := again("pay", args); failed || w.paid.Load() != 1 {
		t.Errorf("got %s, %v and %d payments, want one", text, failed, w.paid.Load())
	}
	if text, failed := again("pay", args); !failed || w.paid.Load() != 1 {
		t.Errorf("got %s, %v and %d payments, want it to serve once", text, failed, w.paid.Load())
	}
	if text, failed := use(t, ide, "call-approved", map[string]any{"id": m[1]}); !failed || !strings.Contains(text, "approval_id and tool") {
		t.Errorf("got %s, %v, want the arguments named", text, failed)
	}
}

// TestAnAgentThatWaitsForAnApprovalGoesOnForAnMCPClient by itself, in its session.
func TestAnAgentThatWaitsForAnApprovalGoesOnForAnMCPClient(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{edit: withMCP}, pay("c1"))
	ide := w.ide(alice)
	text, failed := use(t, ide, "agent-support", map[string]any{"input": "pay eve"})
	m := regexp.MustCompile(`approval_id (apr_\w+), run_id (run_\w+), session_id (ses_\w+)\); the run goes on by itself`).FindStringSubmatch(text)
	if m == nil || !failed {
		t.Fatalf("got %s, want to be told how to go on", text)
	}
	succeed(t, w.as(bob).decide(t, m[1], true))
	w.as(alice).finished(t, m[2])

	if text, failed := use(t, ide, "agent-support", map[string]any{"input": "and?", "session_id": m[3]}); failed || text != "All done." || w.paid.Load() != 1 {
		t.Errorf("got %s, %v and %d payments", text, failed, w.paid.Load())
	}
}
