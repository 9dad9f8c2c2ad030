package policy

import (
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

func TestAStepUpSaysWhatTheCallerNeeds(t *testing.T) {
	d := newDesk(t, permitAll+`@id("soft") @stepup("acr:mfa, max_age:5m") forbid (principal, action, resource);`)

	_, err := d.Begin(t.Context(), call("get_customer", `{"id":"c"}`))

	f := wantFault(t, err, codes.PermissionDenied, fault.StepUpRequired)
	if f.Meta("acr") != "mfa" || f.Meta("max_age") != "300" {
		t.Errorf("got acr %q and max_age %q, want mfa and 300 seconds", f.Meta("acr"), f.Meta("max_age"))
	}
}
