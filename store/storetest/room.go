package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/store"
)

// newRun is the i-th session of somebody, with a run in it.
func newRun(who string, i int) (store.SessionRecord, store.RunRecord) {
	run := store.RunRecord{
		Tenant: "acme", RunID: fmt.Sprintf("run_%s_%03d", who, i), SessionID: fmt.Sprintf("ses_%s_%03d", who, i), Owner: store.Owner{Issuer: "idp", Subject: who},
		Target: "support", Kind: "agent", State: "running", Created: int64(i + 1), Updated: int64(i + 1), Method: "CreateRun", Detached: true,
	}
	return store.SessionRecord{Tenant: run.Tenant, SessionID: run.SessionID, Owner: run.Owner, Target: run.Target, Created: run.Created, Updated: run.Updated, LastRun: run.RunID}, run
}

// beginMany has n begin at once and tells how many did; the others must have been
// told that there is no room.
func beginMany(t *testing.T, s *Running, n int, room store.Room) (begun int64) {
	t.Helper()
	var group sync.WaitGroup
	var count atomic.Int64
	for i := range n {
		group.Go(func() {
			session, run := newRun("alice", i)
			err := s.Begin(t.Context(), session, run, nil, room)
			switch {
			case err == nil:
				count.Add(1)
			case !errors.Is(err, fault.StreamLimit):
				t.Errorf("got %v, want STREAM_LIMIT", err)
			}
		})
	}
	group.Wait()
	return count.Load()
}

func sessionsAreBounded(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	room := store.Room{Sessions: 10}
	if n := beginMany(t, s, 100, room); n != 10 {
		t.Errorf("got %d sessions, want 10", n)
	}
	list, err := s.ListSessions(t.Context(), "acme", store.Owner{Issuer: "idp", Subject: "alice"}, "", 100)
	must(t, err)
	if len(list) != 10 {
		t.Fatalf("got %d sessions, want 10", len(list))
	}
	oldest := list[9]
	session, run := newRun("alice", 500)

	f := fault.From(s.Begin(t.Context(), session, run, nil, room))

	if f.Reason != fault.StreamLimit || f.Meta("oldest_session_id") != oldest.SessionID || f.Meta("limit") != "10" {
		t.Errorf("got %v, want STREAM_LIMIT and the oldest session, %s", f, oldest.SessionID)
	}
	if _, err := s.RunByID(t.Context(), "acme", run.RunID); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want no run where there was no room", err)
	}
	old, again := newRun("alice", 501)
	old.SessionID, again.SessionID, old.Created = oldest.SessionID, oldest.SessionID, oldest.Created
	must(t, s.Begin(t.Context(), old, again, nil, store.Room{})) // goes on in one that there is
	must(t, s.DeleteSession(t.Context(), "acme", oldest.SessionID))
	must(t, s.Begin(t.Context(), session, run, nil, room))
	other, hers := newRun("bob", 1)
	must(t, s.Begin(t.Context(), other, hers, nil, room))
	more, late := newRun("alice", 502)
	if err := s.Begin(t.Context(), more, late, nil, room); !errors.Is(err, fault.StreamLimit) {
		t.Errorf("got %v, want that one deletion makes room for one", err)
	}
}

func detachedRunsAreBounded(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	room := store.Room{Detached: 10}
	if n := beginMany(t, s, 100, room); n != 10 {
		t.Errorf("got %d runs, want 10", n)
	}
	runs, err := s.ListRuns(t.Context(), "acme", store.Owner{Issuer: "idp", Subject: "alice"}, "", 100)
	must(t, err)
	more, late := newRun("alice", 500)
	if f := fault.From(s.Begin(t.Context(), more, late, nil, room)); f.Reason != fault.StreamLimit || f.Meta("limit") != "10" {
		t.Errorf("got %v, want STREAM_LIMIT", f)
	}
	must(t, s.UpdateRunState(t.Context(), "acme", runs[0].RunID, "waiting", "")) // it holds no place
	must(t, s.Begin(t.Context(), more, late, nil, room))
	must(t, s.UpdateRunState(t.Context(), "acme", runs[1].RunID, "finished", "done"))
	next, last := newRun("alice", 501)
	must(t, s.Begin(t.Context(), next, last, nil, room))
	other, hers := newRun("bob", 1)
	must(t, s.Begin(t.Context(), other, hers, nil, room))
	attached, mine := newRun("alice", 502)
	mine.Detached = false
	must(t, s.Begin(t.Context(), attached, mine, nil, store.Room{Sessions: 1000}))
}
