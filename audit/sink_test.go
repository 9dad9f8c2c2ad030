package audit_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func reserve(t *testing.T, m *audit.Memory, rs ...audit.Reservation) (audit.Record, error) {
	t.Helper()
	r := sample()
	err := m.Append(audit.Entry{Record: &r, Reserve: rs}).Wait(t.Context())
	return r, err
}

func TestReservationNeverExceedsItsLimitInAnyWindow(t *testing.T) {
	const limit, window = 50, time.Minute
	c, rnd := newClock(), rand.New(rand.NewPCG(5, 6))
	m := audit.NewMemory(c.Now)
	type spend struct {
		at   time.Time
		cost int64
	}
	var spent []spend
	for range 3000 {
		c.Add(time.Duration(rnd.Int64N(int64(4 * time.Second))))
		cost := rnd.Int64N(9)
		_, err := reserve(t, m, audit.Reservation{Bucket: "b", Cost: cost, Limit: limit, Window: window})
		used, loose := cost, cost
		for _, s := range spent {
			if s.at.After(c.Now().Add(-window)) {
				used += s.cost
			}
			if s.at.After(c.Now().Add(-window - window/60)) {
				loose += s.cost
			}
		}
		if err == nil {
			spent = append(spent, spend{c.Now(), cost})
		}
		if err == nil && used > limit {
			t.Fatalf("%d in one window, want at most %d", used, limit)
		}
		if err != nil && loose <= limit {
			t.Fatalf("refused at %d of %d: %v", loose, limit, err)
		}
	}
}

func TestReservationFitsAfterRetryAfter(t *testing.T) {
	c := newClock()
	m := audit.NewMemory(c.Now)
	bucket := audit.Reservation{Bucket: "b", Cost: 1, Limit: 3, Window: time.Minute}
	for range 3 {
		c.Add(7 * time.Second)
		if _, err := reserve(t, m, bucket); err != nil {
			t.Fatal(err)
		}
	}

	r, err := reserve(t, m, bucket)

	full, ok := errors.AsType[*audit.Exhausted](err)
	if !ok || r.Decision != audit.Deny || r.Reason != "RATE_LIMITED" || r.Sequence != 4 || full.Bucket != "b" {
		t.Fatalf("got %+v, %v", r, err)
	}
	c.Add(full.RetryAfter - time.Nanosecond)
	if _, err := reserve(t, m, bucket); err == nil {
		t.Error("got room before RetryAfter")
	}
	c.Add(time.Nanosecond)
	if _, err := reserve(t, m, bucket); err != nil {
		t.Errorf("got %v after RetryAfter", err)
	}
}

func TestExhaustedEntryReservesNothing(t *testing.T) {
	m := audit.NewMemory(newClock().Now)
	big := audit.Reservation{Bucket: "big", Cost: 1, Limit: 2, Window: time.Minute}
	small := audit.Reservation{Bucket: "small", Cost: 1, Limit: 1, Window: time.Minute}

	_, first := reserve(t, m, big, small)
	_, second := reserve(t, m, big, small)
	_, third := reserve(t, m, big)
	_, fourth := reserve(t, m, big)

	if first != nil || second == nil || third != nil || fourth == nil {
		t.Errorf("got %v, %v, %v, %v; want fits, full, fits, full", first, second, third, fourth)
	}
}

func TestOneEntryMayNameABucketTwice(t *testing.T) {
	m := audit.NewMemory(newClock().Now)
	minute := audit.Reservation{Bucket: "b", Cost: 2, Limit: 3, Window: time.Minute}
	hour := audit.Reservation{Bucket: "b", Cost: 2, Limit: 9, Window: time.Hour}

	if _, err := reserve(t, m, minute, minute); err == nil {
		t.Error("got room for 4 of 3")
	}
	if _, err := reserve(t, m, minute); err != nil {
		t.Errorf("got %v, want room for 2 of 3", err)
	}
	if _, err := reserve(t, m, hour, minute); err == nil {
		t.Error("got room for 2+2 in a minute of 3")
	}
}

func TestGivingBackMakesRoomButNeverMoreThanWasTaken(t *testing.T) {
	c := newClock()
	m := audit.NewMemory(c.Now)
	budget := func(cost int64) error {
		_, err := reserve(t, m, audit.Reservation{Bucket: "tokens", Cost: cost, Limit: 100, Window: time.Hour})
		return err
	}
	steps := []struct {
		cost int64
		fits bool
	}{{100, true}, {1, false}, {-90, true}, {90, true}, {1, false}, {-1000, true}, {100, true}, {1, false}}
	for i, s := range steps {
		if err := budget(s.cost); (err == nil) != s.fits {
			t.Fatalf("step %d: got %v", i, err)
		}
	}
	c.Add(50 * time.Minute)
	_ = budget(-1)
	if budget(1) != nil || budget(1) == nil {
		t.Error("what was given back late did not make room for exactly itself")
	}
	c.Add(12 * time.Minute)
	if budget(99) != nil || budget(1) == nil {
		t.Error("after the first spends left, 99 must fit beside the late 1")
	}
}

func TestHugeCostsDoNotOverflow(t *testing.T) {
	m := audit.NewMemory(newClock().Now)
	for _, c := range []struct {
		cost, limit int64
		fits        bool
	}{{math.MaxInt64, math.MaxInt64 - 1, false}, {math.MaxInt64, math.MaxInt64, true}, {math.MaxInt64, math.MaxInt64, false}, {1, math.MaxInt64, false}, {1, 0, false}, {1, -5, false}, {0, -5, false}} {
		if _, err := reserve(t, m, audit.Reservation{Bucket: "b", Cost: c.cost, Limit: c.limit, Window: time.Hour}); (err == nil) != c.fits {
			t.Errorf("cost %d of %d: got %v", c.cost, c.limit, err)
		}
	}
}

func TestAppendRefusesAnIncompleteEntry(t *testing.T) {
	m := audit.NewMemory(nil)
	for name, e := range map[string]audit.Entry{
		"no record":        {},
		"no tenant":        {Record: &audit.Record{}},
		"tenant not UTF8":  {Record: &audit.Record{Tenant: "a\xff"}},
		"tenant with NUL":  {Record: &audit.Record{Tenant: "a\x00"}},
		"no bucket":        {Record: &audit.Record{Tenant: "a"}, Reserve: []audit.Reservation{{Window: 1}}},
		"claim in journal": {Record: &audit.Record{Tenant: "a"}, Journal: true, Reserve: []audit.Reservation{{Bucket: "b", Cost: 1, Limit: 1, Window: 1}}},
		"no window":        {Record: &audit.Record{Tenant: "a"}, Reserve: []audit.Reservation{{Bucket: "b"}}},
	} {
		if err := m.Append(e).Wait(t.Context()); !errors.Is(err, audit.ErrEntry) {
			t.Errorf("%s: got %v, want ErrEntry", name, err)
		}
	}
	if n := len(m.Records()); n != 0 {
		t.Errorf("got %d records, want none", n)
	}
}

func TestMemoryRefusesWhenTold(t *testing.T) {
	m, broken := audit.NewMemory(nil), errors.New("disk")
	m.Refuse(broken)
	if _, err := reserve(t, m); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	m.Refuse(nil)
	if r, err := reserve(t, m); err != nil || r.Sequence != 1 {
		t.Errorf("got %v, %v", r.Sequence, err)
	}
}

func TestMemoryAnswersQueriesAndCalls(t *testing.T) {
	m := audit.NewMemory(nil)
	r, _ := reserve(t, m)
	out := r
	out.Phase, out.Outcome, out.Decision = audit.Outcome, "succeeded", ""
	if decided, finished, _ := m.CallDecision(t.Context(), "acme", r.CallID); !decided || finished {
		t.Errorf("got %v, %v before the outcome", decided, finished)
	}
	m.Append(audit.Entry{Record: &out})
	if decided, finished, _ := m.CallDecision(t.Context(), "acme", r.CallID); !decided || !finished {
		t.Errorf("got %v, %v after the outcome", decided, finished)
	}
	if decided, _, _ := m.CallDecision(t.Context(), "globex", r.CallID); decided {
		t.Error("another tenant sees the call")
	}
	n := 0
	for got, err := range m.Query(t.Context(), audit.Filter{Tenant: "acme", Tool: "refund_order", Limit: 1}) {
		if n++; err != nil || got.Phase != audit.Outcome {
			t.Errorf("got %+v, %v, want the newest", got, err)
		}
	}
	for _, err := range m.Query(t.Context(), audit.Filter{}) {
		if n++; !errors.Is(err, audit.ErrTenant) {
			t.Errorf("got %v, want ErrTenant", err)
		}
	}
	if n != 2 {
		t.Errorf("got %d elements, want 2", n)
	}
}

func TestReceiptThatIsNotSettledIsNotDurable(t *testing.T) {
	r := audit.NewReceipt()
	ctx, cancel := timeout(t)
	defer cancel()

	if err := r.Wait(ctx); err == nil {
		t.Error("got durable, want an error")
	}
}

func BenchmarkMemory(b *testing.B) {
	m := audit.NewMemory(nil)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := sample()
			if err := m.Append(audit.Entry{Record: &r}).Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
