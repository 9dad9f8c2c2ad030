package server

import (
	"context"
	"errors"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
)

// join asks whether somebody may speak in a session that is another's, on record.
// It is asked for each turn and each answer: nothing is kept of an earlier one.
func join(ctx context.Context, guard interceptors.Guard, g identity.Grant, rec runs.SessionRecord, run string) error {
	if rec.Owner == runs.OwnerOf(g) {
		return nil
	}
	return guard.Read(ctx, &policy.Query{
		Grant: g, Action: policy.ActionJoinSession, Session: rec.SessionID, Run: run, Trace: interceptors.Trace(ctx), Resource: SessionEntity(rec),
	})
}

// joinTurn is join for a turn in a group chat, with the answer that a session
// which is not there gives: who may not speak in one learns nothing of it.
func joinTurn(ctx context.Context, guard interceptors.Guard, g identity.Grant, rec runs.SessionRecord, to target) error {
	if rec.Owner != runs.OwnerOf(g) && (!to.groupChat || g.Principal().User == nil || rec.Target != to.name) {
		return notFound("session")
	}
	err := join(ctx, guard, g, rec, "")
	if errors.Is(err, fault.PolicyDenied) {
		return notFound("session")
	}
	return err
}

// SessionEntity is a session as every door shows it to policy.
func SessionEntity(rec runs.SessionRecord) policy.Entity {
	return sessionEntity(rec.Tenant, rec.Owner, rec.SessionID, rec.Target)
}
