package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// kept is how long an approval is kept after its end. The record is in the audit
// log for ever.
const kept = 30 * 24 * time.Hour

const approvalColumns = "body, state, decided, answer, used_by"

func scanApproval(s scanner) (audit.Approval, error) {
	var a audit.Approval
	var body, answer, state, usedBy string
	var decided int64
	if err := s.Scan(&body, &state, &decided, &answer, &usedBy); err != nil {
		return a, err
	}
	if err := errors.Join(json.Unmarshal([]byte(body), &a), json.Unmarshal([]byte(answer), &a.Answer)); err != nil {
		return a, fmt.Errorf("store: approval: %w", err)
	}
	a.State, a.Decided, a.UsedBy = state, decided, usedBy
	return a, nil
}

// Approval finds an approval of the tenant.
func (r *Reader) Approval(ctx context.Context, tenant, id string) (audit.Approval, error) {
	a, err := scanApproval(r.db.QueryRowContext(ctx, "SELECT "+approvalColumns+" FROM approvals WHERE tenant = ? AND id = ?", tenant, id))
	if err != nil {
		return a, missing("approval", err)
	}
	return a, nil
}

// ApprovalOfCall finds the approval that a call waits, or waited, for.
func (r *Reader) ApprovalOfCall(ctx context.Context, tenant, callID string) (audit.Approval, error) {
	a, err := scanApproval(r.db.QueryRowContext(ctx, "SELECT "+approvalColumns+" FROM approvals WHERE tenant = ? AND call_id = ?", tenant, callID))
	if err != nil {
		return a, missing("approval", err)
	}
	return a, nil
}

// Approvals lists the tenant's, the newest first: those that were made before the
// approval after, or all when that is empty.
func (r *Reader) Approvals(ctx context.Context, tenant, after string, limit int) ([]audit.Approval, error) {
	return r.approvals(ctx, `SELECT `+approvalColumns+` FROM approvals WHERE tenant = $1
		AND ($2 = '' OR (created, id) < (SELECT created, id FROM approvals WHERE tenant = $1 AND id = $2))
		ORDER BY created DESC, id DESC LIMIT $3`, tenant, after, limit)
}

// UntoldApprovals lists approvals that have ended, one way or the other, without
// the run that waits for them having been told.
func (r *Reader) UntoldApprovals(ctx context.Context, now time.Time, limit int) ([]audit.Approval, error) {
	return r.approvals(ctx, "SELECT "+approvalColumns+` FROM approvals WHERE told = 0 AND run <> ''
		AND (state <> 'pending' OR expires <= $1) ORDER BY expires LIMIT $2`, now.UnixNano(), limit)
}

func (r *Reader) approvals(ctx context.Context, query string, args ...any) (out []audit.Approval, err error) {
	err = r.each(ctx, func(rows *sql.Rows) error {
		a, err := scanApproval(rows)
		out = append(out, a)
		return err
	}, query, args...)
	return out, err
}

// DecideApproval stores a person's answer, once. The caller has checked that it is
// theirs to give. Faults: NOT_FOUND, APPROVAL_CONSUMED (decided before),
// APPROVAL_EXPIRED.
func (s *Store) DecideApproval(ctx context.Context, tenant, id string, yes bool, by audit.Answer) (audit.Approval, error) {
	var after audit.Approval
	err := s.Do(ctx, func(tx *Tx) error {
		before, err := scanApproval(tx.one("SELECT "+approvalColumns+" FROM approvals WHERE tenant = ? AND id = ?", tenant, id))
		if err != nil {
			return missing("approval", err)
		}
		a, reason := before.Decide(yes, by, s.cfg.Clock())
		if reason != "" {
			return tooLate(reason)
		}
		answer, err := json.Marshal(a.Answer)
		if err != nil {
			return fmt.Errorf("store: approval: %w", err)
		}
		after = a
		_, err = tx.Exec("UPDATE approvals SET state = ?, decided = ?, answer = ? WHERE tenant = ? AND id = ? AND state = 'pending'", a.State, a.Decided, string(answer), tenant, id)
		return err
	})
	return after, err
}

func tooLate(reason fault.Reason) *fault.Error {
	if reason == fault.ApprovalExpired {
		return fault.New(codes.FailedPrecondition, reason, "nobody decided in time; the call must be asked for again")
	}
	return fault.New(codes.FailedPrecondition, reason, "this was decided before")
}

// ApprovalTold notes that the run knows how its approval ended.
func (s *Store) ApprovalTold(ctx context.Context, tenant, id string) error {
	return s.Do(ctx, func(tx *Tx) error {
		tx.stand()
		_, err := tx.Exec("UPDATE approvals SET told = 1 WHERE tenant = ? AND id = ?", tenant, id)
		return err
	})
}

// ForgetApprovals deletes what ended long ago.
func (s *Store) ForgetApprovals(ctx context.Context, now time.Time) error {
	return s.Do(ctx, func(tx *Tx) error {
		tx.stand()
		_, err := tx.Exec("DELETE FROM approvals WHERE expires < ? AND (told = 1 OR run = '')", now.Add(-kept).UnixNano())
		return err
	})
}

// The desk of approvals, inside the transaction.

func (l ledger) PendingApprovals(tenant, asker string, now int64) (n int, ends int64, err error) {
	var first sql.NullInt64
	err = l.w.row("SELECT count(*), min(expires) FROM approvals WHERE tenant = ? AND asker = ? AND state = 'pending' AND expires > ?", tenant, asker, now).Scan(&n, &first)
	return n, first.Int64, err
}

func (l ledger) AddApproval(a *audit.Approval) (bool, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("store: approval: %w", err)
	}
	n, err := l.w.exec(`INSERT INTO approvals (id, tenant, asker, call_id, run, state, created, expires, decided, answer, used_by, told, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '{}', '', 0, ?) ON CONFLICT DO NOTHING`,
		a.ID, a.Tenant, a.Asker(), a.CallID, a.RunID, a.State, a.Created, a.Expires, string(body))
	return n == 1, err
}

func (l ledger) ApprovalToTake(tenant, id string) (audit.Approval, bool, error) {
	a, err := scanApproval(l.w.row("SELECT "+approvalColumns+" FROM approvals WHERE tenant = ? AND id = ?", tenant, id))
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	return a, err == nil, err
}

func (l ledger) UseApproval(tenant, id, call string) error {
	_, err := l.w.exec("UPDATE approvals SET state = 'consumed', used_by = ? WHERE tenant = ? AND id = ? AND state = 'approved'", call, tenant, id)
	return err
}
