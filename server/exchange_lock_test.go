package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

// TestALockStopsACallThatWaitsForItsToken, also a write, which is never cut once it
// has begun: until it has a token nothing of it has left.
func TestALockStopsACallThatWaitsForItsToken(t *testing.T) {
	t.Parallel()
	for _, effect := range []string{"read", "write"} {
		t.Run(effect, func(t *testing.T) {
			t.Parallel()
			f := newForeign(t)
			asked, goOn := make(chan struct{}, 1), make(chan struct{})
			issue := f.sts.Config.Handler
			f.sts.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				<-goOn
				issue.ServeHTTP(rw, r)
			})
			with := f.edit(t)
			w := newWorld(t, setup{edit: func(c *config.Config) {
				with(c)
				crm := c.Tools["crm"]
				crm.Tools = map[string]config.Tool{"crm.v1.CustomersService/GetCustomer": {Effect: effect}}
				c.Tools["crm"] = crm
			}, bare: crmPolicies + `@id("ops") permit (principal, action in [Action::"lock", Action::"unlock"], resource) when { principal in Role::"manager" };`})
			f.serve(w)
			a, b := w.as(alice), w.as(bob)
			done := make(chan string, 1)
			ctx := a.ctx(t)
			go func() {
				r, err := a.tools().CallTool(ctx, &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"alice"}`})
				done <- r.GetResultJson() + reason(err)
			}()
			<-asked
			succeed(t, b.lock(t, lockUser("acme/alice")))
			close(goOn)
			if said := <-done; !strings.Contains(said, "PRINCIPAL_LOCKED") {
				t.Errorf("got %s, want that she is locked", said)
			}
			if _, answered := f.counts(); answered != 0 {
				t.Errorf("the backend was called %d times for who is locked", answered)
			}
		})
	}
}
