package server_test

import (
	"sync"
	"sync/atomic"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
)

// atOnce does something so many times and counts how often it worked.
func atOnce(n int, do func(i int) error) (worked int64) {
	var ok atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if do(i) == nil {
				ok.Add(1)
			}
		})
	}
	wg.Wait()
	return ok.Load()
}

// What may happen once happens once, whichever of the two doors for direct calls
// is tried, and however often at once.
func TestBothDoorsTogetherAreExact(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{"pay.cedar": needsManager + `
		@id("some") @budget("3 calls/24h") forbid (principal, action == Action::"call_tool", resource == Tool::"look_up");`}})
	a, b := w.as(alice), w.as(bob)
	_, err := a.checks(t, payment1(""))
	wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
	approval := about(err, "approval_id")
	if err := b.decide(t, approval, true); err != nil {
		t.Fatal(err)
	}
	either := func(i int, check *behalfv1.CheckToolCallRequest) error {
		if i%2 == 0 {
			_, err := a.tools().CheckToolCall(a.ctx(t), check)
			return err
		}
		_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: check.GetTool(), ArgumentsJson: check.GetArgumentsJson(), ApprovalId: check.GetApprovalId(), RequestId: check.GetRequestId()})
		return err
	}

	if n := atOnce(24, func(i int) error { return either(i, payment1(approval)) }); n != 1 {
		t.Errorf("one approval was good for %d calls", n)
	}
	look := &behalfv1.CheckToolCallRequest{Tool: "look_up", ArgumentsJson: "{}"}
	if n := atOnce(24, func(i int) error { return either(i, look) }); n != 3 {
		t.Errorf("a budget of 3 calls was good for %d", n)
	}
	v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{})
	if err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}
