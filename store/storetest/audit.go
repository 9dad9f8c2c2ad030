package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Run runs the suite. dsn names a fresh, empty database for each call.
func Run(t *testing.T, dsn func(t *testing.T) string) {
	for name, test := range map[string]func(*testing.T, string){
		"AppendSealsGaplessChains":          appendSealsGaplessChains,
		"ManyWritersShareOneChain":          manyWritersShareOneChain,
		"ChainsGoOnAfterReopen":             chainsGoOnAfterReopen,
		"OneStoreHasTheDatabase":            oneStoreHasTheDatabase,
		"QueryFindsWhatMatches":             queryFindsWhatMatches,
		"CallDecisionTellsResume":           callDecisionTellsResume,
		"AbandonedRecordsOpenCalls":         abandonedRecordsOpenCalls,
		"RefusalToRepeatEndsTheFirstCall":   refusalToRepeatEndsTheFirstCall,
		"ReservationsAreExact":              reservationsAreExact,
		"ReservationsSurviveReopen":         reservationsSurviveReopen,
		"ClosureThatFailsUndoesOnlyItself":  closureThatFailsUndoesOnlyItself,
		"ClosureKeepsADenial":               closureKeepsADenial,
		"ClosureThatPanicsUndoesOnlyItself": closureThatPanicsUndoesOnlyItself,
		"CheckpointsComeByRowsAndAtTheEnd":  checkpointsComeByRowsAndAtTheEnd,
		"HostileTextIsKept":                 hostileTextIsKept,
		"GrantsAreBoundToTheirOwner":        grantsAreBoundToTheirOwner,
		"LocksAreKept":                      locksAreKept,
		"SessionsAreBounded":                sessionsAreBounded,
		"DetachedRunsAreBounded":            detachedRunsAreBounded,
		"LevelsAreReadAndNotTaken":          levelsAreReadAndNotTaken,
		"DelegationsAreBoundedPerPerson":    delegationsAreBoundedPerPerson,
		"VoicesAreBoundedPerSession":        voicesAreBoundedPerSession,
		"AnswersAreKeptForADay":             answersAreKeptForADay,
		"AnswersAreBoundedPerPerson":        answersAreBoundedPerPerson,
		"RunsAreIndexed":                    runsAreIndexed,
		"RequestIDsAreUniqueForADay":        requestIDsAreUniqueForADay,
		"SessionsAreIndexed":                sessionsAreIndexed,
		"RunBeginsWithItsSession":           aRunBeginsWithItsSessionOrNotAtAll,
		"MemoriesAreTheirOwnersAlone":       memoriesAreTheirOwnersAlone,
		"MemoriesAreNewestFirst":            memoriesAreNewestFirst,
		"AFullMemoryIsAnError":              aFullMemoryIsAnError,
		"ADeletedSessionIsForgotten":        aDeletedSessionIsForgotten,
		"WhatIsForgottenIsOverwritten":      whatIsForgottenIsOverwritten,
	} {
		t.Run(name, func(t *testing.T) { test(t, dsn(t)) })
	}
}

func appendOne(t testing.TB, s audit.Sink, r *audit.Record, reserve ...audit.Reservation) error {
	t.Helper()
	return s.Append(audit.Entry{Record: r, Reserve: reserve}).Wait(t.Context())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Verify fails the test unless the store's log verifies, and gives the report.
func Verify(t testing.TB, s *store.Reader) audit.Report {
	t.Helper()
	r := audit.Verify(s.Rows(t.Context()), s.Checkpoints(t.Context()), nil, PublicKey())
	if !r.OK() {
		t.Fatalf("log does not verify: %+v", r)
	}
	return r
}

func appendSealsGaplessChains(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	var receipts []*audit.Receipt
	for i := range 100 {
		receipts = append(receipts, s.Append(audit.Entry{Record: Sample(fmt.Sprintf("tenant-%d", i%3), fmt.Sprint("run/", i))}))
	}
	for _, r := range receipts {
		must(t, r.Wait(t.Context()))
	}

	got := Verify(t, s.Reader)

	if len(got.Tenants) != 3 || got.Tenants[0].Rows != 34 || got.Tenants[0].Head.Sequence != 34 || got.Tenants[2].Rows != 33 {
		t.Errorf("got %+v", got.Tenants)
	}
}

func manyWritersShareOneChain(t *testing.T, dsn string) {
	const writers, each = 16, 25
	s := Start(t, store.Config{DSN: dsn, CheckpointEvery: 50})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			last := int64(0)
			for i := range each {
				r := Sample("acme", fmt.Sprintf("run-%d/%d", w, i))
				if err := appendOne(t, s, r); err != nil {
					t.Error(err)
				}
				if r.Sequence <= last {
					t.Errorf("writer %d: row %d after %d", w, r.Sequence, last)
				}
				last = r.Sequence
			}
		})
	}
	wg.Wait()

	if got := Verify(t, s.Reader); got.Tenants[0].Rows != writers*each || got.Checkpoints < writers*each/100 {
		t.Errorf("got %+v", got)
	}
}

func chainsGoOnAfterReopen(t *testing.T, dsn string) {
	for i := range 3 {
		s := Start(t, store.Config{DSN: dsn})
		r := Sample("acme", fmt.Sprint("run/", i))
		must(t, appendOne(t, s, r))
		if r.Sequence != int64(i+1) {
			t.Errorf("got row %d, want %d", r.Sequence, i+1)
		}
		Verify(t, s.Reader)
		s.Stop()
	}
}

func oneStoreHasTheDatabase(t *testing.T, dsn string) {
	a := Start(t, store.Config{DSN: dsn})
	must(t, appendOne(t, a, Sample("acme", "run/1")))

	second, err := store.Open(t.Context(), store.Config{DSN: dsn, Key: Key()})

	if second != nil || !errors.Is(err, store.ErrInUse) {
		t.Errorf("got %v, %v, want ErrInUse", second, err)
	}
	must(t, appendOne(t, a, Sample("acme", "run/2")))
	a.Stop()
	must(t, appendOne(t, Start(t, store.Config{DSN: dsn}), Sample("acme", "run/3")))
}

func queryFindsWhatMatches(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	for i := range 600 { // more than one page
		r := Sample([]string{"acme", "globex"}[i%2], fmt.Sprint("run/", i))
		r.Time = int64(1000 + i)
		r.User.Subject = []string{"alice", "bob", "", "carol"}[i/2%4]
		r.Tool = []string{"refund_order", "", "get_customer"}[i/2%3]
		r.Agent = []string{"support", ""}[i/4%2]
		r.RunID = []string{"run_1", "run_2", ""}[i/2%3]
		r.SessionID = []string{"ses_1", ""}[i/4%2]
		r.Decision = []string{audit.Allow, audit.Deny, audit.Wait, ""}[i/2%4]
		s.Append(audit.Entry{Record: r})
	}
	must(t, s.Do(t.Context(), func(*store.Tx) error { return nil })) // all before it are durable
	mem := audit.NewMemory(nil)
	for row, err := range s.Rows(t.Context()) {
		must(t, err)
		r, err := audit.Parse(row.Body)
		must(t, err)
		must(t, appendOne(t, mem, &r))
	}
	for _, f := range []audit.Filter{
		{},
		{User: "alice"},
		{User: "nobody"},
		{Tool: "refund_order"},
		{Agent: "support"},
		{Decision: audit.Allow},
		{Decision: audit.Deny},
		{Decision: audit.Wait},
		{RunID: "run_2"},
		{SessionID: "ses_1"},
		{Since: 1100},
		{Until: 1100},
		{Since: 1050, Until: 1060},
		{User: "bob", Tool: "refund_order", Since: 1010},
		{Limit: 7},
		{Limit: 290},
		{Decision: audit.Deny, Limit: 3},
		{Limit: 5000},
		{User: "alice", Tool: "get_customer", Agent: "support", Decision: audit.Allow, RunID: "run_2", SessionID: "ses_1"},
	} {
		f.Tenant = "acme"
		if diff := cmp.Diff(collect(t, s, f), collect(t, mem, f), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%+v: got, want:\n%s", f, diff)
		}
	}
	for _, err := range s.Query(t.Context(), audit.Filter{User: "alice"}) {
		if !errors.Is(err, audit.ErrTenant) {
			t.Errorf("got %v, want ErrTenant", err)
		}
	}
}

func collect(t *testing.T, q audit.Querier, f audit.Filter) []audit.Record {
	t.Helper()
	var out []audit.Record
	for r, err := range q.Query(t.Context(), f) {
		must(t, err)
		out = append(out, r)
	}
	return out
}

func reservationsAreExact(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	bucket := audit.Reservation{Bucket: "mail-rate/alice", Cost: 1, Limit: 60, Window: time.Minute}
	var wg sync.WaitGroup
	var mu sync.Mutex
	fit := 0
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				r := Sample("acme", fmt.Sprintf("run-%d/%d", w, i))
				err := appendOne(t, s, r, bucket)
				full, exhausted := errors.AsType[*audit.Exhausted](err)
				switch {
				case err == nil && r.Decision == audit.Allow:
					mu.Lock()
					fit++
					mu.Unlock()
				case !exhausted || r.Decision != audit.Deny || r.Reason != "RATE_LIMITED" || full.RetryAfter <= 0 || full.RetryAfter > 61*time.Second:
					t.Errorf("got %v, %s %s", err, r.Decision, r.Reason)
				}
			}
		})
	}
	wg.Wait()
	if fit != 60 {
		t.Errorf("got %d through, want 60", fit)
	}
	s.Clock.Add(61 * time.Second)
	if err := appendOne(t, s, Sample("acme", "run/later"), bucket); err != nil {
		t.Errorf("got %v after the window", err)
	}
	if got := Verify(t, s.Reader); got.Tenants[0].Rows != 161 {
		t.Errorf("got %d rows, want all 161: denials are recorded", got.Tenants[0].Rows)
	}
	if n := len(collect(t, s, audit.Filter{Tenant: "acme", Decision: audit.Deny})); n != 100 {
		t.Errorf("got %d denials, want 100", n)
	}
}

func reservationsSurviveReopen(t *testing.T, dsn string) {
	bucket := audit.Reservation{Bucket: "b", Cost: 1, Limit: 1, Window: time.Minute}
	s := Start(t, store.Config{DSN: dsn})
	must(t, appendOne(t, s, Sample("acme", "run/1"), bucket))
	s.Stop()
	s = Start(t, store.Config{DSN: dsn})

	err := appendOne(t, s, Sample("acme", "run/2"), bucket)

	if _, ok := errors.AsType[*audit.Exhausted](err); !ok {
		t.Errorf("got %v, want exhausted", err)
	}
}

func closureThatFailsUndoesOnlyItself(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	mine := errors.New("mine")
	before := s.Append(audit.Entry{Record: Sample("acme", "run/1")})
	err := s.Do(t.Context(), func(tx *store.Tx) error {
		must(t, tx.Append(audit.Entry{Record: Sample("acme", "run/2"), Reserve: []audit.Reservation{{Bucket: "b", Cost: 1, Limit: 1, Window: time.Hour}}}))
		must(t, tx.Append(audit.Entry{Record: Sample("new-tenant", "run/2")}))
		return mine
	})
	after := Sample("acme", "run/3")
	must(t, errors.Join(before.Wait(t.Context()), appendOne(t, s, after, audit.Reservation{Bucket: "b", Cost: 1, Limit: 1, Window: time.Hour})))

	if !errors.Is(err, mine) || after.Sequence != 2 {
		t.Errorf("got %v, row %d", err, after.Sequence)
	}
	if got := Verify(t, s.Reader); len(got.Tenants) != 1 || got.Tenants[0].Rows != 2 {
		t.Errorf("got %+v", got)
	}
}

func closureKeepsADenial(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	none := audit.Reservation{Bucket: "b", Cost: 1, Limit: 0, Window: time.Hour}

	err := s.Do(t.Context(), func(tx *store.Tx) error {
		return tx.Append(audit.Entry{Record: Sample("acme", "run/1"), Reserve: []audit.Reservation{none}})
	})

	if _, ok := errors.AsType[*audit.Exhausted](err); !ok {
		t.Errorf("got %v, want exhausted", err)
	}
	if got := collect(t, s, audit.Filter{Tenant: "acme", Decision: audit.Deny}); len(got) != 1 || got[0].Reason != "RATE_LIMITED" {
		t.Errorf("got %+v", got)
	}
}

func closureThatPanicsUndoesOnlyItself(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})

	err := s.Do(t.Context(), func(tx *store.Tx) error {
		must(t, tx.Append(audit.Entry{Record: Sample("acme", "run/1")}))
		panic("bug")
	})
	var kept *store.Tx
	must(t, s.Do(t.Context(), func(tx *store.Tx) error { kept = tx; return nil }))
	r := Sample("acme", "run/2")
	must(t, appendOne(t, s, r))

	if err == nil || r.Sequence != 1 {
		t.Errorf("got %v, row %d", err, r.Sequence)
	}
	if _, err := kept.Exec("SELECT 1"); err == nil {
		t.Error("a transaction that is over took a statement")
	}
}

func checkpointsComeByRowsAndAtTheEnd(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn, CheckpointEvery: 10})
	for i := range 25 {
		must(t, appendOne(t, s, Sample("acme", fmt.Sprint("run/", i))))
	}
	if got := Verify(t, s.Reader); got.Checkpoints != 2 || got.Tenants[0].Signed != 20 {
		t.Errorf("got %+v", got)
	}
	s.Stop()
	s = Start(t, store.Config{DSN: dsn, CheckpointInterval: time.Millisecond})
	if got := Verify(t, s.Reader); got.Checkpoints != 3 || got.Tenants[0].Signed != 25 {
		t.Errorf("got %+v", got)
	}

	must(t, appendOne(t, s, Sample("acme", "run/26")))

	for deadline := time.Now().Add(10 * time.Second); ; {
		if got := Verify(t, s.Reader); got.Tenants[0].Signed == 26 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no checkpoint by time")
		}
	}
	s.Stop()
	s = Start(t, store.Config{DSN: dsn})
	if got := Verify(t, s.Reader); got.Checkpoints != 4 {
		t.Errorf("got %d checkpoints, want none more when nothing is new", got.Checkpoints)
	}
}

func hostileTextIsKept(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	r := Sample("acme", "run/1")
	r.Tool, r.User.Subject, r.RunID = "a\x00b'; DROP TABLE audit; --", "\xff\xfe", string(make([]byte, 3000))
	r.RedactedArguments = "\u2028\x1b[31m<script>"
	must(t, appendOne(t, s, r))

	got := collect(t, s, audit.Filter{Tenant: "acme", Tool: r.Tool, User: r.User.Subject, RunID: r.RunID})

	if len(got) != 1 || got[0].Tool != r.Tool || got[0].User.Subject != "\ufffd\ufffd" || got[0].RedactedArguments != r.RedactedArguments || got[0].RunID != r.RunID {
		t.Errorf("got %+v", got)
	}
	Verify(t, s.Reader)
}
