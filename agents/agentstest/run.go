package agentstest

import (
	"context"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
)

// Context is a context with the grant of a person who has the given scopes.
func Context(ctx context.Context, scopes ...string) context.Context {
	user := &identity.User{
		Issuer: "https://idp.example", Subject: "ana", Tenant: "acme", Name: "Ana",
		Scopes: identity.NewScopes(scopes...), Expires: time.Now().Add(time.Hour),
	}
	grant := identity.Root("grt_test", identity.Principal{User: user}, nil, identity.Interactive)
	return identity.WithGrant(ctx, grant)
}

// Start opens a run with an input, as package runs does.
func Start(t *agents.Transcript, runID, target, input string, limits agents.Limits) {
	Commit(t, agents.Event{RunID: runID, Body: agents.RunStarted{Target: target, GrantID: "grt_test", Limits: limits}})
	Commit(t, agents.Event{RunID: runID, Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: input}})
}

// Commit stamps and appends a stored event and returns it.
func Commit(t *agents.Transcript, e agents.Event) agents.Event {
	e.Time = time.Now()
	e.SessionID = "ses_test"
	t.Stamp(&e)
	t.Append(e)
	return e
}

// Run ranges over the agent, commits its events and returns them, live ones too,
// in order. It fails the test when the stream breaks the contract.
func Run(ctx context.Context, tb testing.TB, a agents.Agent, t *agents.Transcript) ([]agents.Event, error) {
	tb.Helper()
	return RunUntil(ctx, tb, a, t, -1)
}

// RunUntil is Run with a consumer that breaks after n events.
func RunUntil(ctx context.Context, tb testing.TB, a agents.Agent, t *agents.Transcript, n int) ([]agents.Event, error) {
	tb.Helper()
	var events []agents.Event
	var failure error
	for ev, err := range a.Run(ctx, t) {
		if problem := follows(events, failure, &ev); problem != "" {
			tb.Errorf("got %v, %v after %s", ev, err, problem)
		}
		if failure = err; err != nil {
			continue
		}
		if !ev.Live() {
			ev = Commit(t, ev)
		}
		events = append(events, ev)
		if len(events) == n {
			break
		}
	}
	return events, failure
}

// follows says after what the stream should have ended, or gone on with a pause.
func follows(before []agents.Event, failure error, next *agents.Event) string {
	if failure != nil {
		return "an error"
	}
	if len(before) == 0 {
		return ""
	}
	last := &before[len(before)-1]
	if _, ok := last.Body.(agents.RunFinished); ok && last.Thread == "" {
		return "the end of the run"
	}
	if last.Pause() && !next.Pause() {
		return "a pause"
	}
	return ""
}
