package server

import (
	"context"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
)

// Guard is the enforcement point: *policy.Guard.
type Guard interface {
	interceptors.Guard
	// Explain decides without doing anything.
	Explain(ctx context.Context, q *policy.Query) (policy.Explanation, error)
	// Engine is what decides now; nil: nothing is allowed.
	Engine() *policy.Engine
	// Refresh replaces the credential of what ctx is held for.
	Refresh(ctx context.Context, p identity.Principal) (identity.Grant, error)
}

// rights tells what somebody could do, for lists. Nothing is done by that, so
// nothing is recorded; whoever then does it is decided about, and on record.
type rights struct {
	guard Guard
	now   func() time.Time
}

// run reports whether policy lets the grant run a target. A duty, such as a rate,
// does not hide it.
func (r *rights) run(g identity.Grant, t target) bool {
	e := r.guard.Engine()
	return e != nil && e.Decide(&policy.Query{Grant: g, Action: t.action(), Resource: t.entity(), Time: r.now()}).Allow
}
