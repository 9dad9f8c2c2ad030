package audit

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// Approval finds an approval of the tenant.
func (m *Memory) Approval(_ context.Context, tenant, id string) (Approval, error) {
	return m.find(func(a *Approval) bool { return a.Tenant == tenant && a.ID == id })
}

// ApprovalOfCall finds the approval that a call waits, or waited, for.
func (m *Memory) ApprovalOfCall(_ context.Context, tenant, callID string) (Approval, error) {
	return m.find(func(a *Approval) bool { return a.Tenant == tenant && a.CallID == callID })
}

func (m *Memory) find(so func(*Approval) bool) (Approval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.asked {
		if so(&m.asked[i]) {
			return m.asked[i], nil
		}
	}
	return Approval{}, fault.New(codes.NotFound, fault.NotFound, "there is no such approval")
}

// DecideApproval stores a person's answer, once.
func (m *Memory) DecideApproval(_ context.Context, tenant, id string, yes bool, by Answer, now time.Time) (Approval, fault.Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.asked, func(a Approval) bool { return a.Tenant == tenant && a.ID == id })
	if i < 0 {
		return Approval{}, fault.NotFound
	}
	a, reason := m.asked[i].Decide(yes, by, now)
	m.asked[i] = a
	return a, reason
}

// The desk of approvals while Memory's lock is held.

func (l ledger) PendingApprovals(tenant, asker string, now int64) (n int, ends int64, err error) {
	for i := range l.m.asked {
		a := &l.m.asked[i]
		if a.Tenant != tenant || a.Asker() != asker || a.State != Pending || a.Expires <= now {
			continue
		}
		n++
		ends = cmp.Or(min(ends, a.Expires), a.Expires)
	}
	return n, ends, nil
}

func (l ledger) AddApproval(a *Approval) (bool, error) {
	if slices.ContainsFunc(l.m.asked, func(o Approval) bool { return o.Tenant == a.Tenant && o.CallID == a.CallID }) {
		return false, nil
	}
	l.m.asked = append(l.m.asked, *a)
	return true, nil
}

func (l ledger) ApprovalToTake(tenant, id string) (Approval, bool, error) {
	for _, a := range l.m.asked {
		if a.Tenant == tenant && a.ID == id {
			return a, true, nil
		}
	}
	return Approval{}, false, nil
}

func (l ledger) UseApproval(tenant, id, call string) error {
	for i := range l.m.asked {
		if a := &l.m.asked[i]; a.Tenant == tenant && a.ID == id {
			a.State, a.UsedBy = Used, call
		}
	}
	return nil
}
