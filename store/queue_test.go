package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

func TestAnEntryThatNobodyWaitsForBecomesDurable(t *testing.T) {
	s := storetest.Start(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")})

	s.Append(audit.Entry{Record: storetest.Sample("acme", "run_1/1")})

	for deadline := time.Now().Add(time.Minute); len(rows(t, s)) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the entry still waits for company")
		}
	}
}

func rows(t *testing.T, s *storetest.Running) (all []audit.Row) {
	t.Helper()
	for row, err := range s.Rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func TestTheStateOfARunIsSeenAtOnceAndKept(t *testing.T) {
	dsn := "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")
	s := storetest.Start(t, store.Config{DSN: dsn})
	alice := store.Owner{Issuer: "idp", Subject: "alice"}
	run := store.RunRecord{Tenant: "acme", RunID: "run_1", SessionID: "ses_1", Owner: alice, Target: "support", Kind: "agent", State: "running"}
	if err := s.PutRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}

	for range 50 { // with luck also between the commit and the end of the overlay
		for _, state := range []string{"waiting", "running", "finished"} {
			if err := s.UpdateRunState(t.Context(), "acme", "run_1", state, ""); err != nil {
				t.Fatal(err)
			}
			one, err := s.RunByID(t.Context(), "acme", "run_1")
			list, listErr := s.ListRuns(t.Context(), "acme", alice, "", 9)
			if err := errors.Join(err, listErr); err != nil || one.State != state || len(list) != 1 || list[0].State != state {
				t.Fatalf("got %q and %+v, %v, want %s", one.State, list, err, state)
			}
		}
		if open, err := s.OpenRuns(t.Context()); err != nil || len(open) != 0 {
			t.Fatalf("got %d open runs, %v", len(open), err)
		}
	}
	s.Stop()
	again := storetest.Start(t, store.Config{DSN: dsn})
	if got, err := again.RunByID(t.Context(), "acme", "run_1"); err != nil || got.State != "finished" {
		t.Errorf("after a restart: got %+v, %v", got, err)
	}
}

func TestTheStateOfAnUnknownRunHarmsNobody(t *testing.T) {
	s := storetest.Start(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")})

	if err := s.UpdateRunState(t.Context(), "acme", "run_none", "finished", ""); err != nil {
		t.Fatal(err)
	}

	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run_1/1")}).Wait(t.Context()); err != nil {
		t.Errorf("got %v for the entry in the same commit", err)
	}
}
