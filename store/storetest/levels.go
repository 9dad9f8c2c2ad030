package storetest

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
)

func levelsAreReadAndNotTaken(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	two := audit.Reservation{Bucket: "b", Cost: 1, Limit: 2, Window: time.Minute}
	for want := range int64(3) {
		levels, err := s.Levels(t.Context(), []audit.Reservation{two, {Bucket: "other", Cost: 1, Limit: 1, Window: time.Hour}})
		must(t, err)
		if levels[0].Used != want || (levels[0].Wait > 0) != (want == 2) || levels[1] != (audit.Level{}) {
			t.Errorf("got %+v after %d, want %d used of two", levels, want, want)
		}
		if want < 2 {
			must(t, s.Reserve(t.Context(), []audit.Reservation{two}))
		}
	}
}
