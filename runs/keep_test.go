package runs_test

import (
	"context"
	"errors"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/runs"
)

// awayGrants is a store of grants that is away.
type awayGrants struct{ runs.Grants }

func (awayGrants) PutGrant(context.Context, runs.GrantRecord) error { return errBroken }

func TestARunWhoseWaitCannotBeKeptSaysThatTheStoreIsAway(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), asker, func(c *runs.Config) { c.Grants = awayGrants{c.Grants} })
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(t.Context()))

	if !errors.Is(err, fault.AuditUnavailable) || !errors.Is(err, errBroken) {
		t.Errorf("got %v, want AUDIT_UNAVAILABLE because of the store", err)
	}
	if f := end(t, got); f.StopReason != agents.StopFailed || f.Reason != string(fault.AuditUnavailable) {
		t.Errorf("got %+v, want failed by AUDIT_UNAVAILABLE", f)
	}
	d.start(t, ana(t), run.SessionID) // the session is free
}
