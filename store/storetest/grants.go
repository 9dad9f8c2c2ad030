package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/store"
)

func delegationsAreBoundedPerPerson(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	put := func(id, tenant, subject string, ends int64) error {
		return s.PutDelegation(t.Context(), store.GrantRecord{ID: id, Tenant: tenant, Issuer: "idp", Subject: subject, Chain: []string{"helper"}, Expires: ends}, 2, 100)
	}
	must(t, s.PutGrant(t.Context(), store.GrantRecord{ID: "run", Tenant: "acme", Issuer: "idp", Subject: "alice", Expires: 50})) // a run's does not count
	must(t, put("a", "acme", "alice", 200))
	must(t, put("b", "acme", "alice", 90))
	must(t, put("c", "acme", "alice", 300)) // b has ended

	err := put("d", "acme", "alice", 300)
	if f := fault.From(err); f.Reason != fault.RateLimited || f.RetryAfter() != 100*time.Nanosecond {
		t.Errorf("got %v, want RATE_LIMITED until the first ends", err)
	}
	must(t, put("e", "acme", "bob", 300))
	must(t, put("f", "globex", "alice", 300))
	for id, want := range map[string]bool{"run": true, "a": true, "b": false, "c": true, "d": false} {
		if _, err := s.Grant(t.Context(), id); errors.Is(err, fault.NotFound) == want {
			t.Errorf("%s: got %v, want kept: %v", id, err, want)
		}
	}
}

func voicesAreBoundedPerSession(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	put := func(session, subject, id string) error {
		g := store.GrantRecord{ID: id, Tenant: "acme", Issuer: "idp", Subject: subject, Expires: 200}
		return s.PutVoice(t.Context(), runs.Voice{SessionID: session, Grant: g})
	}
	for i := range runs.MaxVoices {
		must(t, put("ses_1", fmt.Sprint("p", i), fmt.Sprint("grt_", i)))
	}

	if err := put("ses_1", "late", "grt_late"); !errors.Is(err, fault.RateLimited) {
		t.Errorf("got %v, want RATE_LIMITED", err)
	}
	must(t, put("ses_1", "p0", "grt_again")) // in the place of their own
	must(t, put("ses_2", "late", "grt_late"))
	all, err := s.Voices(t.Context(), "acme", "ses_1")
	if err != nil || len(all) != runs.MaxVoices {
		t.Errorf("got %d voices, %v, want %d", len(all), err, runs.MaxVoices)
	}
}
