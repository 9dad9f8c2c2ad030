package server_test

import (
	"slices"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

// TestListToolsShowsWhatThisCallerMayCall: scopes and policy filter the list, but for
// what depends on arguments that nobody has written yet.
func TestListToolsShowsWhatThisCallerMayCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: map[string]string{"hide.cedar": `
@id("no-looking-up-for-support") forbid (principal in Role::"support", action == Action::"call_tool", resource == Tool::"get_customer");`}})
	names := func(c *client) (names []string) {
		r, err := c.tools().ListTools(c.ctx(t), &behalfv1.ListToolsRequest{PageSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range r.GetTools() {
			names = append(names, tool.GetName())
		}
		return names
	}

	a, b := names(w.as(alice)), names(w.as(bob))

	if slices.Contains(a, "get_customer") || !slices.Contains(a, "refund_order") {
		t.Errorf("got %v for alice, want refund_order, of which some are allowed, and no get_customer", a)
	}
	if !slices.Contains(b, "get_customer") {
		t.Errorf("got %v for bob, want get_customer", b)
	}
}
