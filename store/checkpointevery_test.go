package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

func TestACheckpointComesEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Start(t, store.Config{DSN: tempDSN(t), Clock: time.Now})
		signed := func() int64 { return storetest.Verify(t, s.Reader).Tenants[0].Signed }
		for want := int64(1); want <= 3; want++ {
			if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/1")}).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}

			<-time.After(9*time.Second - time.Millisecond)
			if got := signed(); got != want-1 {
				t.Errorf("after nine seconds: %d rows are signed, want %d", got, want-1)
			}
			<-time.After(time.Second + 2*time.Millisecond)
			if got := signed(); got != want {
				t.Errorf("after ten seconds: %d rows are signed, want %d", got, want)
			}
		}
		s.Stop()
	})
}
