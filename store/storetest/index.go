package storetest

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/store"
	"github.com/google/go-cmp/cmp"
)

// PublicKey is the public half of Key.
func PublicKey() ed25519.PublicKey { return Key().Public().(ed25519.PublicKey) }

func grantsAreBoundToTheirOwner(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	g := store.GrantRecord{
		ID: "grt_1", Tenant: "acme", Issuer: "https://idp.example", Subject: "alice", Workload: "spiffe://corp.example/x",
		Scopes: []string{}, Roles: []string{"manager"}, Tier: "interactive", Chain: []string{"a", "b"}, Configured: []string{"a"}, Email: "a@b", Name: "Alice", ACR: "mfa", AMR: []string{"pwd", "otp"},
		AuthTime: 1, Expires: 2, CreatedAt: 3,
	}
	must(t, s.PutGrant(t.Context(), g))
	refreshed := g
	refreshed.TokenID, refreshed.Thumbprint = "jti-2", "th"
	refreshed.Scopes, refreshed.AMR, refreshed.Expires = []string{"crm.read"}, []string{"hwk"}, 9
	must(t, s.PutGrant(t.Context(), refreshed))

	got, err := s.Grant(t.Context(), "grt_1")

	if diff := cmp.Diff(got, refreshed); err != nil || diff != "" {
		t.Errorf("got %v, got, want:\n%s", err, diff)
	}
	for _, change := range []func(*store.GrantRecord){
		func(g *store.GrantRecord) { g.Tenant = "globex" }, func(g *store.GrantRecord) { g.Subject = "bob" },
		func(g *store.GrantRecord) { g.Issuer = "x" }, func(g *store.GrantRecord) { g.Workload = "" }, func(g *store.GrantRecord) { g.Chain = nil },
	} {
		other := g
		change(&other)
		if err := s.PutGrant(t.Context(), other); !errors.Is(err, fault.OwnerMismatch) {
			t.Errorf("%+v: got %v, want OWNER_MISMATCH", other, err)
		}
	}
	if _, err := s.Grant(t.Context(), "grt_2"); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want NOT_FOUND", err)
	}
}

func locksAreKept(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	at := func(ns int64) time.Time { return time.Unix(0, ns) }
	ended := policy.Lock{Target: policy.LockTarget{Kind: policy.LockTenant, Tenant: "globex"}, Reason: "x", Created: at(1), Expires: at(2), ByTenant: "ops"}
	user := policy.Lock{
		Target: policy.LockTarget{Kind: policy.LockUser, Tenant: "acme", ID: "alice"}, Reason: "stolen", Created: at(1), Expires: at(90),
		By: audit.User{Issuer: "idp", Subject: "bob", Email: "bob@x"}, ByTenant: "acme",
	}
	tool := policy.Lock{Target: policy.LockTarget{Kind: policy.LockTool, ID: "refund"}, Created: at(3)}
	for _, l := range []policy.Lock{ended, user, tool} {
		must(t, s.PutLock(t.Context(), l))
	}
	user.Reason, user.Created, user.Expires = "lost", at(4), time.Time{}
	must(t, s.PutLock(t.Context(), user))
	must(t, s.DeleteLock(t.Context(), tool.Target))
	must(t, s.DeleteLock(t.Context(), policy.LockTarget{Kind: policy.LockUser, Tenant: "globex", ID: "alice"}))

	got, err := s.Locks(t.Context())

	if diff := cmp.Diff(got, []policy.Lock{user}); err != nil || diff != "" {
		t.Errorf("got %v, got, want:\n%s", err, diff)
	}
}

func sampleRun(i int) store.RunRecord {
	return store.RunRecord{
		Tenant: "acme", RunID: fmt.Sprintf("run_%02d", i), SessionID: "ses_1", Owner: store.Owner{Issuer: "idp", Subject: "alice"},
		Target: "support", Kind: "agent", State: "running", Created: int64(100 + i/2), Updated: int64(100 + i), Method: "RunAgent", Detached: i%2 == 0,
	}
}

func runsAreIndexed(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	alice := store.Owner{Issuer: "idp", Subject: "alice"}
	for i := range 7 {
		must(t, s.PutRun(t.Context(), sampleRun(i)))
	}
	must(t, s.UpdateRunState(t.Context(), "acme", "run_03", "finished", "text_mention"))

	got, err := s.RunByID(t.Context(), "acme", "run_03")
	want := sampleRun(3)
	want.State, want.StopReason, want.Updated = "finished", "text_mention", s.Clock.Now().UnixNano()
	if diff := cmp.Diff(got, want); err != nil || diff != "" {
		t.Errorf("got %v, got, want:\n%s", err, diff)
	}
	var pages [][]string
	for after := ""; ; {
		list, err := s.ListRuns(t.Context(), "acme", alice, after, 3)
		must(t, err)
		if len(list) == 0 {
			break
		}
		var ids []string
		for _, r := range list {
			ids = append(ids, r.RunID)
		}
		pages, after = append(pages, ids), ids[len(ids)-1]
	}
	if diff := cmp.Diff(pages, [][]string{{"run_06", "run_05", "run_04"}, {"run_03", "run_02", "run_01"}, {"run_00"}}); diff != "" {
		t.Errorf("got, want:\n%s", diff)
	}
	if open, err := s.OpenRuns(t.Context()); err != nil || len(open) != 6 {
		t.Errorf("got %d open runs, %v", len(open), err)
	}
	for _, o := range []store.Owner{{}, {Subject: "alice"}, {Issuer: "idp", Subject: "bob"}} {
		if list, err := s.ListRuns(t.Context(), "acme", o, "", 9); err != nil || len(list) != 0 {
			t.Errorf("%+v: got %d runs of somebody else, %v", o, len(list), err)
		}
	}
	stolen := sampleRun(1)
	stolen.Owner.Subject = "bob"
	if err := s.PutRun(t.Context(), stolen); !errors.Is(err, fault.OwnerMismatch) {
		t.Errorf("got %v, want OWNER_MISMATCH", err)
	}
	if _, err := s.RunByID(t.Context(), "globex", "run_03"); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want NOT_FOUND", err)
	}
	must(t, s.UpdateRunState(t.Context(), "globex", "run_03", "failed", ""))
	must(t, s.PutRun(t.Context(), sampleRun(9))) // durable after what was queued before it
	if got, err := s.RunByID(t.Context(), "acme", "run_03"); err != nil || got.State != "finished" {
		t.Errorf("got %+v, %v: another tenant's update reached the run", got, err)
	}
}

func requestIDsAreUniqueForADay(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	alice := store.Owner{Issuer: "idp", Subject: "alice"}
	put := func(i int, change func(*store.RunRecord)) error {
		r := sampleRun(i)
		r.RequestID, r.RequestDigest = "req-1", "digest-1"
		if change != nil {
			change(&r)
		}
		return s.PutRun(t.Context(), r)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			err := put(i, nil)
			taken, ok := errors.AsType[*store.RequestTaken](err)
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if !ok || taken.Digest != "digest-1" {
				t.Errorf("got %v, want taken", err)
			}
		})
	}
	wg.Wait()
	runID, digest, ok, err := s.RequestID(t.Context(), "acme", alice, "RunAgent", "req-1")
	if won != 1 || !ok || digest != "digest-1" || err != nil {
		t.Fatalf("got %d winners, %s, %s, %v, %v", won, runID, digest, ok, err)
	}
	if list, _ := s.ListRuns(t.Context(), "acme", alice, "", 0); len(list) != 1 || list[0].RunID != runID {
		t.Errorf("got %+v: a run without its request id", list)
	}
	for i, change := range []func(*store.RunRecord){
		func(r *store.RunRecord) { r.Tenant = "globex" }, func(r *store.RunRecord) { r.Owner.Subject = "bob" }, func(r *store.RunRecord) { r.Method = "CreateRun" },
	} {
		if err := put(20+i, change); err != nil {
			t.Errorf("got %v, want room beside another tenant, person or method", err)
		}
	}
	if id, _, ok, err := s.RequestID(t.Context(), "acme", store.Owner{Issuer: "idp", Subject: "bob"}, "RunAgent", "req-1"); !ok || err != nil || id == runID {
		t.Errorf("got %s, %v, %v, want bob's own run", id, ok, err)
	}
	if id, _, ok, _ := s.RequestID(t.Context(), "acme", store.Owner{Issuer: "partner", Subject: "alice"}, "RunAgent", "req-1"); ok {
		t.Errorf("got %s for somebody who used no such id", id)
	}
	s.Clock.Add(24*time.Hour - 1)
	if err := put(30, nil); err == nil {
		t.Error("got the id before the day was over")
	}
	s.Clock.Add(1)
	if _, _, ok, _ := s.RequestID(t.Context(), "acme", alice, "RunAgent", "req-1"); ok {
		t.Error("the id is still known after a day")
	}
	must(t, put(31, nil))
}

func sessionsAreIndexed(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	alice := store.Owner{Issuer: "idp", Subject: "alice"}
	for i := range 3 {
		must(t, s.PutSession(t.Context(), store.SessionRecord{Tenant: "acme", SessionID: fmt.Sprint("ses_", i), Owner: alice, Target: "support", Created: int64(i), Updated: int64(i)}))
	}
	must(t, s.UpdateSession(t.Context(), "acme", "ses_1", "run_1"))
	must(t, s.DeleteSession(t.Context(), "acme", "ses_2"))

	got, err := s.SessionByID(t.Context(), "acme", "ses_1")

	want := store.SessionRecord{Tenant: "acme", SessionID: "ses_1", Owner: alice, Target: "support", Created: 1, Updated: s.Clock.Now().UnixNano(), LastRun: "run_1"}
	if diff := cmp.Diff(got, want); err != nil || diff != "" {
		t.Errorf("got %v, got, want:\n%s", err, diff)
	}
	if list, err := s.ListSessions(t.Context(), "acme", alice, "", 10); err != nil || len(list) != 2 || list[0].SessionID != "ses_1" {
		t.Errorf("got %+v, %v", list, err)
	}
	for _, id := range []string{"ses_2", "ses_9"} {
		if _, err := s.SessionByID(t.Context(), "acme", id); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want NOT_FOUND", id, err)
		}
		if err := s.UpdateSession(t.Context(), "acme", id, "run_2"); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want NOT_FOUND", id, err)
		}
	}
	other := want
	other.Target = "billing"
	if err := s.PutSession(t.Context(), other); !errors.Is(err, fault.OwnerMismatch) {
		t.Errorf("got %v, want refusal of another target", err)
	}
}

func aRunBeginsWithItsSessionOrNotAtAll(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	run := sampleRun(1)
	session := store.SessionRecord{Tenant: "acme", SessionID: "ses_1", Owner: run.Owner, Target: "support", Created: 1, Updated: 1, LastRun: run.RunID}
	bobs := session
	bobs.Owner.Subject, bobs.LastRun = "bob", ""
	must(t, s.PutSession(t.Context(), bobs))

	for _, requestID := range []string{"", "", "req-1"} { // the name of the run is new once
		run.RequestID = requestID
		beside := s.Append(audit.Entry{Record: Sample("acme", "run/1")})
		if err := s.Begin(t.Context(), session, run, nil, store.Room{}); !errors.Is(err, fault.OwnerMismatch) {
			t.Errorf("got %v, want refusal of somebody else's session", err)
		}
		must(t, beside.Wait(t.Context()))
		if _, err := s.RunByID(t.Context(), "acme", run.RunID); !errors.Is(err, fault.NotFound) {
			t.Errorf("got %v, want no run in somebody else's session", err)
		}
	}
	session.SessionID, run.SessionID = "ses_2", "ses_2"
	must(t, s.Begin(t.Context(), session, run, nil, store.Room{}))

	got, err := s.RunByID(t.Context(), "acme", run.RunID)
	if diff := cmp.Diff(got, run); err != nil || diff != "" {
		t.Errorf("got %v, got, want:\n%s", err, diff)
	}
	if got, err := s.SessionByID(t.Context(), "acme", "ses_1"); err != nil || got != bobs {
		t.Errorf("got %+v, %v, want bob's session untouched", got, err)
	}
}
