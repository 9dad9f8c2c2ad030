package audit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/fault"
)

// Spend is what a bucket lost in one slot of time. It counts against a window
// until the window begins at or after End.
type Spend struct {
	End  int64 // nanoseconds; the slot's end
	Cost int64
}

// Ledger keeps the spends of buckets. A sink gives one to Reserve inside its
// transaction.
type Ledger interface {
	// Spends gives the bucket's spends with End > after, oldest first.
	Spends(bucket string, after int64) ([]Spend, error)
	// Put sets what the bucket lost in one slot; from forget on, the slot is of
	// no interest to the reservation that wrote it.
	Put(bucket string, s Spend, forget int64) error
}

// slots is how finely a window slides. A spend counts until the end of its slot
// has left the window, so a window never holds more than its limit and a spend
// is held back at most one sixtieth of the window too long.
const slots = 60

// ErrEntry is an entry that makes no sense; a sink settles it with this at once.
var ErrEntry = errors.New("audit entry is incomplete")

// Check refuses an entry that cannot be sealed or accounted for, so that it
// fails alone and not in the middle of a shared transaction.
func (e Entry) Check() error {
	if e.Record == nil || e.Record.Tenant == "" {
		return fmt.Errorf("%w: no record, or a record without tenant", ErrEntry)
	}
	if t := e.Record.Tenant; column(t) != t || !utf8.ValidString(t) {
		return fmt.Errorf("%w: tenant %+q", ErrEntry, t) // it would join another tenant's chain
	}
	if e.Record.Action == ActionRemove {
		return fmt.Errorf("%w: only the log itself removes rows", ErrEntry)
	}
	if e.Journal && (len(e.Reserve) > 0 || e.Ask != nil || e.Take != nil) {
		return fmt.Errorf("%w: a claim cannot be journaled", ErrEntry)
	}
	for _, r := range e.Reserve {
		if r.Bucket == "" || r.Window <= 0 || r.Cost == math.MinInt64 {
			return fmt.Errorf("%w: reservation %q", ErrEntry, r.Bucket)
		}
	}
	return e.checkApproval()
}

// exhaust makes the entry the denial that is sealed when something that it claims
// is not to be had.
func (e Entry) exhaust(full *Exhausted) {
	e.Record.Decision, e.Record.Reason = Deny, cmp.Or(full.Reason, string(fault.RateLimited))
}

// Reserve takes all reservations from their buckets, or none and says which did
// not fit. A negative cost gives back: it shrinks the oldest spends, which can
// only be too strict, never too generous.
func Reserve(l Ledger, now time.Time, rs []Reservation) (*Exhausted, error) {
	books := make([]book, 0, len(rs))
	for _, r := range rs {
		b, err := open(l, &books, r.Bucket, now.UnixNano()-int64(r.Window))
		if err != nil {
			return nil, err
		}
		if full := b.take(now.UnixNano(), r); full != nil {
			return full, nil
		}
	}
	for i := range books {
		if err := books[i].write(l); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Level is how full a bucket is.
type Level struct {
	Used int64         // of the limit, in the window that ends now
	Wait time.Duration // until the cost fits; 0: it does
}

// Look says how full the buckets of the reservations are, and takes nothing.
func Look(spends func(bucket string, after int64) ([]Spend, error), now time.Time, rs []Reservation) ([]Level, error) {
	levels := make([]Level, len(rs))
	for i, r := range rs {
		found, err := spends(r.Bucket, now.UnixNano()-int64(r.Window))
		if err != nil {
			return nil, fmt.Errorf("read limit: %w", err)
		}
		b := book{spends: found}
		levels[i].Used = b.used(now.UnixNano(), r.Window)
		if full := b.fits(now.UnixNano(), r); full != nil {
			levels[i].Wait = full.RetryAfter
		}
	}
	return levels, nil
}

// book is a bucket's spends while one entry's reservations are worked out.
type book struct {
	bucket  string
	from    int64 // spends that ended before are not loaded
	spends  []Spend
	changed map[int64]int64 // slot end -> forget
}

// open finds the bucket's book or loads it. Two windows of one bucket in one
// entry share it, loaded from the older of the two.
func open(l Ledger, books *[]book, bucket string, from int64) (*book, error) {
	i := slices.IndexFunc(*books, func(b book) bool { return b.bucket == bucket })
	if i >= 0 && (*books)[i].from <= from {
		return &(*books)[i], nil
	}
	spends, err := l.Spends(bucket, from)
	if err != nil {
		return nil, fmt.Errorf("read limit: %w", err)
	}
	if i < 0 {
		*books = append(*books, book{bucket: bucket, from: from, spends: spends, changed: map[int64]int64{}})
		return &(*books)[len(*books)-1], nil
	}
	b := &(*books)[i]
	older := slices.DeleteFunc(spends, func(s Spend) bool { return s.End > b.from })
	b.from, b.spends = from, append(older, b.spends...)
	return b, nil
}

func (b *book) take(now int64, r Reservation) *Exhausted {
	if r.Cost < 0 {
		b.giveBack(now, r)
		return nil
	}
	if full := b.fits(now, r); full != nil || r.Cost == 0 || r.Probe {
		return full
	}
	g := max(int64(r.Window)/slots, 1)
	end := (now/g + 1) * g
	b.note(end, end+int64(r.Window))
	if i := slices.IndexFunc(b.spends, func(s Spend) bool { return s.End == end }); i >= 0 {
		b.spends[i].Cost += r.Cost
		return nil
	}
	b.spends = append(b.spends, Spend{End: end, Cost: r.Cost})
	slices.SortFunc(b.spends, func(x, y Spend) int { return cmp.Compare(x.End, y.End) })
	return nil
}

func (b *book) used(now int64, window time.Duration) (used int64) {
	for _, s := range b.spends {
		if s.End > now-int64(window) {
			used += s.Cost
		}
	}
	return used
}

// fits says when the cost will fit, if it does not now.
func (b *book) fits(now int64, r Reservation) *Exhausted {
	used := b.used(now, r.Window)
	// Written so that a huge cost or limit cannot overflow.
	if r.Cost <= r.Limit && used <= r.Limit-r.Cost {
		return nil
	}
	full := &Exhausted{Bucket: r.Bucket, Reason: r.Reason, RetryAfter: r.Window}
	if r.Cost > r.Limit {
		return full // it will never fit; the window is as good an answer as any
	}
	for _, s := range b.spends {
		if s.End <= now-int64(r.Window) {
			continue
		}
		if used -= s.Cost; used <= r.Limit-r.Cost {
			full.RetryAfter = time.Duration(s.End + int64(r.Window) - now)
			break
		}
	}
	return full
}

func (b *book) giveBack(now int64, r Reservation) {
	left := -r.Cost
	for i := range b.spends {
		s := &b.spends[i]
		if s.End <= now-int64(r.Window) || s.Cost == 0 {
			continue
		}
		n := min(left, s.Cost)
		s.Cost, left = s.Cost-n, left-n
		b.note(s.End, s.End+int64(r.Window))
		if left == 0 {
			return
		}
	}
}

func (b *book) note(end, forget int64) { b.changed[end] = max(b.changed[end], forget) }

func (b *book) write(l Ledger) error {
	for _, s := range b.spends {
		forget, ok := b.changed[s.End]
		if !ok {
			continue
		}
		if err := l.Put(b.bucket, s, forget); err != nil {
			return fmt.Errorf("write limit: %w", err)
		}
	}
	return nil
}
