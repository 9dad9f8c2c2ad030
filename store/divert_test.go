package store_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// These tests hold that a row is either the writer's or the journal's, and in the
// log once. Each needs an entry and a closure in one batch: in a bubble no time
// passes while somebody can run, so only the closure, for which somebody waits,
// has the writer begin.

// commit ends the transaction before the writer does. What the writer then inserts
// is in the log at once, and its own COMMIT fails.
func commit(tx *store.Tx) error {
	_ = tx.Row("COMMIT", nil) // it gives no row
	return nil
}

// A COMMIT that fails may have happened: the row is in the log and in the journal.
func TestARowThatWasCommittedAfterAllIsNotTakenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournaling(t, t.TempDir(), 0)
		ofRun, ofNone := storetest.Sample("acme", "run_abcdefghijklmnopqrstuvwxyz/1"), storetest.Sample("acme", "loose")
		ofNone.RunID = ""
		for _, row := range []*audit.Record{ofRun, ofNone} {
			r := j.Append(audit.Entry{Record: row, Journal: true})
			if err := j.Do(t.Context(), commit); err == nil { // in the same batch, before it
				t.Fatal("the commit did not fail")
			}
			j.must(r.Wait(t.Context()))
		}
		if j.journal.Stats().Kept != 2 {
			t.Fatalf("got %+v, want both journaled", j.journal.Stats())
		}

		j.must(j.read("run_b/1"))

		j.wantRows("run_abcdefghijklmnopqrstuvwxyz/1 decision, loose decision, run_b/1 decision")
	})
}

func TestARowThatTheWriterHadTakenAndNotBegunIsNotTakenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournaling(t, t.TempDir(), 0)
		goOn, closure := make(chan struct{}), make(chan error, 1)
		r := j.Append(audit.Entry{Record: storetest.Sample("acme", "run_a/1"), Journal: true})
		go func() { // in the same batch, before it
			closure <- j.Do(t.Context(), func(*store.Tx) error { <-goOn; return nil })
		}()
		synctest.Wait()

		if !r.Divert(t.Context()) {
			t.Error("the row is not in the journal")
		}
		close(goOn)
		j.must(<-closure)
		if s := j.journal.Stats(); s.Rows() != 1 {
			t.Errorf("got %+v, want the row to wait in the journal alone", s)
		}
		j.must(j.read("run_a/2"))

		j.wantRows("run_a/1 decision journal, run_a/2 decision")
	})
}

// Whoever waited was told that the row is not durable, so the journal must not have
// it either when the commit fails after that.
func TestARowThatTheWriterHasBegunIsNotJournaled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, goOn, closure := t.TempDir(), make(chan struct{}), make(chan error, 1)
		journal, err := openJournal(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = journal.Close() })
		hang := func() time.Time { <-goOn; return time.Now() } // the writer asks when it has begun the row
		j := &journaling{t: t, dir: dir, journal: journal, Running: storetest.Start(t, store.Config{
			DSN: "sqlite://" + filepath.Join(dir, "behalf.db"), Journal: journal, Clock: hang,
		})}
		r := j.Append(audit.Entry{Record: storetest.Sample("acme", "run_a/1"), Journal: true})
		go func() { closure <- j.Do(t.Context(), commit) }()
		synctest.Wait()

		if r.Divert(t.Context()) {
			t.Error("what the writer had begun is said to be in the journal")
		}
		close(goOn)
		if <-closure == nil || r.Wait(t.Context()) == nil {
			t.Error("the commit did not fail")
		}
		if s := j.journal.Stats(); s.Kept != 0 {
			t.Errorf("got %+v, want nothing journaled", s)
		}
		j.must(j.read("run_b/1"))

		j.wantRows("run_a/1 decision, run_b/1 decision")
	})
}
