package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// These tests hold that retention leaves what is still needed.

func TestRowsOfOpenCallsAndOpenRunsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 5)
		<-time.After(time.Hour)
		open := storetest.Sample("acme", "run_open/1")
		open.Time, open.RunID = time.Now().UnixNano(), "run_open"
		first := *open
		if err := a.Append(audit.Entry{Record: &first}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		session := store.SessionRecord{SessionID: "ses_1", Tenant: "acme", Owner: store.Owner{Issuer: "idp", Subject: "alice"}}
		run := store.RunRecord{RunID: "run_open", SessionID: "ses_1", Tenant: "acme", Owner: store.Owner{Issuer: "idp", Subject: "alice"}, State: "running"}
		if err := a.Begin(t.Context(), session, run, nil, store.Room{}); err != nil {
			t.Fatal(err)
		}
		a.calls(t, "acme", 5)
		<-time.After(4 * day)
		if c := a.chain(t, "acme"); c.Removed != 10 {
			t.Errorf("got %+v, want the rows before the open call removed and no other", c)
		}

		if err := a.Append(audit.Entry{Record: storetest.Outcome(open)}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(4 * time.Hour)
		if c := a.chain(t, "acme"); c.Removed != 10 {
			t.Errorf("got %+v, want the rows of the open run kept", c)
		}
		if err := a.UpdateRunState(t.Context(), "acme", "run_open", "finished", ""); err != nil {
			t.Fatal(err)
		}
		<-time.After(4 * time.Hour)
		if c := a.chain(t, "acme"); c.Removed < 21 {
			t.Errorf("got %+v, want them removed when the run has ended", c)
		}
		a.Stop()
	})
}

func TestTheRowOfAnOpenCallOfNoRunStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 5)
		<-time.After(time.Hour)
		open := storetest.Sample("acme", "call_open")
		open.Time, open.RunID, open.SessionID = time.Now().UnixNano(), "", ""
		first := *open
		if err := a.Append(audit.Entry{Record: &first}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.calls(t, "acme", 5)
		<-time.After(4 * day)
		if c := a.chain(t, "acme"); c.Removed != 10 {
			t.Errorf("got %+v, want the rows before the open call removed and no other", c)
		}

		if err := a.Append(audit.Entry{Record: storetest.Outcome(open)}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(4 * time.Hour)
		if c := a.chain(t, "acme"); c.Removed < 21 {
			t.Errorf("got %+v, want them removed when it has ended", c)
		}
		a.Stop()
	})
}
