package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
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
