package store

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/audit"
)

// A closure that broke its promise takes the whole transaction with it: nothing
// of it may stay.
func TestAClosureThatStandsAndFailsFailsTheTransaction(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("too late") },
		"panic": func() error { panic("bug") },
	} {
		t.Run(name, func(t *testing.T) {
			s := running(t)

			err := s.Do(t.Context(), func(tx *Tx) error {
				tx.stand()
				if err := putSession(tx, SessionRecord{Tenant: "acme", SessionID: "ses_1"}); err != nil {
					return err
				}
				return fail()
			})

			list, listErr := s.ListSessions(t.Context(), "acme", Owner{}, "", 9)
			if err == nil || listErr != nil || len(list) != 0 {
				t.Errorf("got %v, and %d sessions that were undone, %v", err, len(list), listErr)
			}
			r := &audit.Record{Tenant: "acme", Phase: audit.Decision}
			if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); err != nil || r.Sequence != 1 {
				t.Errorf("got row %d, %v after it", r.Sequence, err)
			}
		})
	}
}

func running(t *testing.T) *Store {
	s, err := Open(t.Context(), Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
