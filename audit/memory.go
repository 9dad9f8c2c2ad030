package audit

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"
)

// Memory is a Sink that keeps everything in memory, for tests and benchmarks. It
// seals, reserves and orders exactly as a store does; only nothing survives it.
// It may be used by many goroutines.
type Memory struct {
	now func() time.Time

	mu      sync.Mutex
	refuse  error
	heads   map[string]Head
	rows    []*Row
	records []*Record
	spends  map[string][]Spend
	asked   []Approval
}

// NewMemory makes an empty sink. now is the clock of reservations; nil means
// time.Now.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, heads: map[string]Head{}, spends: map[string][]Spend{}}
}

var (
	_ Sink    = (*Memory)(nil)
	_ Querier = (*Memory)(nil)
)

// Refuse makes every later Append fail with err, as a broken disk would; nil
// ends it.
func (m *Memory) Refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

// Append seals the entry at once.
func (m *Memory) Append(e Entry) *Receipt {
	r := NewReceipt()
	r.Settle(m.append(e))
	return r
}

func (m *Memory) append(e Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return m.refuse
	}
	full, err := e.Claim(ledger{m}, m.now())
	if err != nil {
		return err
	}
	tenant := e.Record.Tenant
	body := Seal(m.heads[tenant], e.Record)
	m.heads[tenant] = e.Record.Head()
	record := *e.Record
	m.rows = append(m.rows, &Row{Columns: record.Columns(), Hash: record.Hash, Body: body})
	m.records = append(m.records, &record)
	if full != nil {
		return full
	}
	return nil
}

// Reserve makes reservations that belong to no record.
func (m *Memory) Reserve(_ context.Context, rs []Reservation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	full, err := Reserve(ledger{m}, m.now(), rs)
	if full != nil {
		return full
	}
	return err
}

// Levels says how full buckets are, and takes nothing.
func (m *Memory) Levels(_ context.Context, rs []Reservation) ([]Level, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Look(ledger{m}.Spends, m.now(), rs)
}

// Records gives all records in the order of Append.
func (m *Memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Record, len(m.records))
	for i, r := range m.records {
		all[i] = *r
	}
	return all
}

// Rows gives the rows as a store would, for Verify and Export.
func (m *Memory) Rows() iter.Seq2[Row, error] {
	m.mu.Lock()
	rows := slices.Clone(m.rows)
	m.mu.Unlock()
	slices.SortStableFunc(rows, func(a, b *Row) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return func(yield func(Row, error) bool) {
		for _, r := range rows {
			if !yield(*r, nil) {
				return
			}
		}
	}
}

// Heads gives the heads of all chains, sorted, as a checkpoint holds them.
func (m *Memory) Heads() []TenantHead {
	m.mu.Lock()
	defer m.mu.Unlock()
	return SortedHeads(m.heads)
}

// SortedHeads gives heads in a checkpoint's order.
func SortedHeads(heads map[string]Head) []TenantHead {
	out := make([]TenantHead, 0, len(heads))
	for t, h := range heads {
		out = append(out, TenantHead{Tenant: t, Head: h})
	}
	slices.SortFunc(out, func(a, b TenantHead) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return out
}

// ErrTenant is a query without a tenant: it would see everybody's records.
var ErrTenant = errors.New("audit query without tenant")

// Query gives the records that match, oldest first.
func (m *Memory) Query(_ context.Context, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if f.Tenant == "" {
			yield(Record{}, ErrTenant)
			return
		}
		found := slices.DeleteFunc(m.Records(), func(r Record) bool { return !f.Match(&r) })
		if f.Limit > 0 && len(found) > f.Limit {
			found = found[len(found)-f.Limit:]
		}
		for _, r := range found {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// CallDecision says whether a call of a tool was allowed, and whether it came to
// an end.
func (m *Memory) CallDecision(_ context.Context, tenant, callID string) (decided, finished bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		if r.Tenant != tenant || r.CallID != callID {
			continue
		}
		decided = decided || r.Phase == Decision && r.Decision == Allow
		finished = finished || r.Phase == Outcome || r.Phase == Abandoned
	}
	return decided, finished, nil
}

// ledger is Memory's buckets while its lock is held.
type ledger struct{ m *Memory }

func (l ledger) Spends(bucket string, after int64) ([]Spend, error) {
	kept := slices.DeleteFunc(slices.Clone(l.m.spends[bucket]), func(s Spend) bool { return s.End <= after })
	return kept, nil
}

func (l ledger) Put(bucket string, s Spend, _ int64) error {
	spends := l.m.spends[bucket]
	i, ok := slices.BinarySearchFunc(spends, s.End, func(x Spend, end int64) int { return cmp.Compare(x.End, end) })
	if ok {
		spends[i] = s
		return nil
	}
	l.m.spends[bucket] = slices.Insert(spends, i, s)
	return nil
}
