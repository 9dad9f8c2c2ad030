package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/store"
)

func answersAreKeptForADay(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	ask := func(change func(*store.Request)) *store.Answer {
		t.Helper()
		r := store.Request{Tenant: "acme", Owner: store.Owner{Issuer: "idp", Subject: "alice"}, Method: "CallTool", ID: "one", CallID: "run_1/0", Digest: "d1"}
		if change != nil {
			change(&r)
		}
		a, err := s.ClaimAnswer(t.Context(), r)
		must(t, err)
		return a
	}
	second := func(r *store.Request) { r.CallID = "run_2/0" }

	if a := ask(nil); a != nil {
		t.Fatalf("got %+v, want the id free", a)
	}
	if a := ask(second); a == nil || a.CallID != "run_1/0" || a.Digest != "d1" || a.Body != nil {
		t.Errorf("got %+v, want the first call without an answer", a)
	}
	must(t, s.KeepAnswer(t.Context(), "acme", "run_1/0", []byte("done")))
	if a := ask(second); a == nil || string(a.Body) != "done" {
		t.Errorf("got %+v, want the answer", a)
	}
	for i, change := range []func(*store.Request){
		func(r *store.Request) { r.Tenant = "globex" }, func(r *store.Request) { r.Owner.Subject = "bob" }, func(r *store.Request) { r.Method = "CheckToolCall" },
	} {
		if a := ask(func(r *store.Request) { r.CallID = fmt.Sprint("run_3/", i); change(r) }); a != nil {
			t.Errorf("got %+v, want the id free for another tenant, person or method", a)
		}
	}
	must(t, s.DropAnswer(t.Context(), store.Request{Tenant: "acme", Owner: store.Owner{Issuer: "idp", Subject: "alice"}, Method: "CallTool", ID: "one", CallID: "run_2/0"}))
	if a := ask(second); a == nil {
		t.Error("a call gave back an id that is another's")
	}

	s.Clock.Add(24 * time.Hour)
	if a := ask(second); a != nil {
		t.Errorf("a day later: got %+v, want the id free", a)
	}
}

func answersAreBoundedPerPerson(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	claim := func(subject string, i int) error {
		_, err := s.ClaimAnswer(t.Context(), store.Request{
			Tenant: "acme", Owner: store.Owner{Issuer: "idp", Subject: subject}, Method: "CallTool", ID: fmt.Sprint(i), CallID: fmt.Sprintf("run_%s%d/0", subject, i), Digest: "d",
		})
		return err
	}
	var group sync.WaitGroup
	for at := range 100 { // at once: they share commits
		group.Go(func() {
			for i := range 10 {
				if err := claim("alice", 10*at+i); err != nil {
					t.Errorf("claim: %v", err)
				}
			}
		})
	}
	group.Wait()

	err := claim("alice", 1000)
	if f := fault.From(err); !errors.Is(err, fault.RateLimited) || f.RetryAfter() <= 0 {
		t.Errorf("got %v, want RATE_LIMITED and when to come back", err)
	}
	must(t, claim("bob", 0))
}
