package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
)

// append reserves and seals one entry into the batch. An error is one of the
// transaction: what an entry can do wrong by itself was checked before.
func (w *writer) append(e audit.Entry) (*audit.Exhausted, error) {
	full, err := e.Claim(ledger{w}, w.s.cfg.Clock())
	if err != nil {
		return nil, err
	}
	body := audit.Seal(w.head(e.Record.Tenant), e.Record)
	row := audit.Row{Columns: e.Record.Columns(), Hash: e.Record.Hash, Body: body}
	w.b.heads[row.Tenant] = e.Record.Head()
	w.b.rows = append(w.b.rows, row)
	w.b.grown++
	return full, w.track(e.Record, row.Columns)
}

// head is where a tenant's chain ends, including what this batch sealed. The
// database is not asked: what it says is compared (agree), never taken over.
func (w *writer) head(tenant string) audit.Head {
	if h, ok := w.b.heads[tenant]; ok {
		return h
	}
	return w.heads[tenant]
}

// believe gives the record of a row whose hash and columns follow from its bytes.
func believe(row audit.Row) (audit.Record, error) {
	rec, err := audit.Parse(row.Body)
	if err != nil || rec.Hash != row.Hash || rec.Columns() != row.Columns {
		return audit.Record{}, fmt.Errorf("%w: tenant %q, row %d", ErrDamaged, row.Tenant, row.Sequence)
	}
	return rec, nil
}

// track keeps open_calls: allowed effects without an outcome. A question has
// none; its call id says so (policy.Guard.Read).
func (w *writer) track(r *audit.Record, c audit.Columns) error {
	switch {
	case c.CallID == "" || strings.HasPrefix(c.CallID, "read_"):
	case r.Phase == audit.Outcome || r.Phase == audit.Abandoned:
		w.b.closed = append(w.b.closed, c)
	case r.Phase != audit.Decision:
	case r.Decision == audit.Allow:
		w.b.opened = append(w.b.opened, c)
	case r.Decision == audit.Deny && (r.Reason == string(fault.OutcomeUnknown) || w.left[nameKey{c.Tenant, c.CallID}]):
		return w.giveUp(c)
	}
	return nil
}

// giveUp records of an earlier decision that nobody will bring its outcome: the
// call was refused when its run came back to it.
func (w *writer) giveUp(denied audit.Columns) error {
	if err := w.flush(); err != nil {
		return err
	}
	row, err := scanRow(w.row("SELECT "+rowColumns+" FROM open_calls o JOIN audit a ON a.tenant = o.tenant AND a.sequence = o.sequence WHERE o.tenant = ? AND o.call_id = ?", denied.Tenant, denied.CallID))
	if errors.Is(err, sql.ErrNoRows) {
		return nil // it was never begun, or has its outcome
	}
	if err != nil {
		return fmt.Errorf("find open call: %w", err)
	}
	decision, err := believe(row)
	if err != nil {
		return err
	}
	_, err = w.append(audit.Entry{Record: abandon(decision, w.s.cfg.Clock().UnixNano())})
	return err
}

// flush writes what is sealed, in few statements of many rows: most of what a
// row costs is the way into the database.
func (w *writer) flush() error {
	if err := inParts(w.b.rows, w.insertRows); err != nil {
		return fmt.Errorf("insert rows: %w", err)
	}
	if err := inParts(w.b.opened, w.openCalls); err != nil {
		return fmt.Errorf("open calls: %w", err)
	}
	if err := inParts(w.b.closed, w.closeCalls); err != nil {
		return fmt.Errorf("close calls: %w", err)
	}
	clear(w.b.rows) // let go of the bytes
	w.b.rows, w.b.opened, w.b.closed = w.b.rows[:0], w.b.opened[:0], w.b.closed[:0]
	return nil
}

// inParts calls f with one part of the list after the other. The parts have few
// lengths, because each is a statement to prepare.
func inParts[T any](list []T, f func([]T) error) error {
	for _, n := range []int{32, 8, 1} {
		for ; len(list) >= n; list = list[n:] {
			if err := f(list[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) insertRows(rows []audit.Row) (err error) {
	args := make([]any, 0, len(rows)*rowWidth)
	for i := range rows {
		if args, err = w.appendRow(args, &rows[i]); err != nil {
			return err
		}
	}
	_, err = w.exec(insertQuery(len(rows)), args...)
	return err
}

func (w *writer) openCalls(calls []audit.Columns) error {
	args := make([]any, 0, 3*len(calls))
	for i := range calls {
		args = append(args, calls[i].Tenant, calls[i].CallID, calls[i].Sequence)
	}
	_, err := w.exec("INSERT INTO open_calls (tenant, call_id, sequence) VALUES "+repeat("(?, ?, ?)", len(calls))+" ON CONFLICT DO NOTHING", args...)
	return err
}

func (w *writer) closeCalls(calls []audit.Columns) error {
	args := make([]any, 0, 2*len(calls))
	for i := range calls {
		args = append(args, calls[i].Tenant, calls[i].CallID)
	}
	_, err := w.exec("DELETE FROM open_calls WHERE (tenant, call_id) IN (VALUES "+repeat("(?, ?)", len(calls))+")", args...)
	return err
}

// storedColumns is what a row is written as, rowColumns what it is read as: runs
// and sessions by name, and only if the name is the tenant's.
const (
	storedColumns = "tenant, sequence, time, subject, agent, tool, action, phase, decision, session, run, call_id, loose_call, hash, body"
	rowWidth      = 15

	rowColumns = `a.tenant, a.sequence, a.time, a.subject, a.agent, a.tool, a.action, a.phase, a.decision,
		COALESCE((SELECT name FROM names n WHERE n.id = a.session AND n.tenant = a.tenant), ''),
		COALESCE((SELECT name FROM names n WHERE n.id = a.run AND n.tenant = a.tenant), ''),
		a.call_id, a.loose_call, a.hash, a.body`
)

func insertQuery(n int) string {
	return "INSERT INTO audit (" + storedColumns + ") VALUES " + repeat("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", n)
}

// repeat lists n rows of parameters. They are plain question marks: the driver
// looks a numbered parameter up by its name, every time.
func repeat(row string, n int) string { return row + strings.Repeat(", "+row, n-1) }

func (w *writer) appendRow(args []any, r *audit.Row) ([]any, error) {
	session, _, err := w.name(r.Tenant, r.SessionID)
	if err != nil {
		return nil, err
	}
	run, _, err := w.name(r.Tenant, r.RunID)
	return append(args, r.Tenant, r.Sequence, r.Time, r.Subject, r.Agent, r.Tool, r.Action, r.Phase, r.Decision, session, run, r.CallID, r.LooseCall, r.Hash, r.Body), err
}

func scanRow(s scanner) (audit.Row, error) {
	var r audit.Row
	err := s.Scan(&r.Tenant, &r.Sequence, &r.Time, &r.Subject, &r.Agent, &r.Tool, &r.Action, &r.Phase, &r.Decision, &r.SessionID, &r.RunID, &r.CallID, &r.LooseCall, &r.Hash, &r.Body)
	return r, err
}

type nameKey struct{ tenant, name string }

// maxNames bounds the numbers that are remembered; what is active is a few.
const maxNames = 16384

// name gives the number of a run's or session's name, a new one if need be.
func (w *writer) name(tenant, name string) (id int64, isNew bool, err error) {
	if name == "" {
		return 0, false, nil
	}
	key := nameKey{tenant, name}
	if id, ok := w.names[key]; ok {
		return id, false, nil
	}
	return w.newName(key)
}

// known gives the number of a name, 0 if it has none.
func (w *writer) known(key nameKey) (int64, error) {
	if id, ok := w.names[key]; ok {
		return id, nil
	}
	var id int64
	err := w.row("SELECT id FROM names WHERE tenant = ? AND name = ?", key.tenant, key.name).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("find name: %w", err)
	}
	return id, nil
}

func (w *writer) newName(key nameKey) (id int64, isNew bool, err error) {
	id, isNew, err = w.insert("INSERT INTO names (tenant, name) VALUES (?, ?) ON CONFLICT DO NOTHING", key.tenant, key.name)
	if err == nil && !isNew {
		if id, err = w.known(key); err == nil && id == 0 {
			err = sql.ErrNoRows
		}
	}
	if err != nil {
		return 0, false, fmt.Errorf("number name: %w", err)
	}
	if len(w.names) >= maxNames {
		clear(w.names)
	}
	w.names[key] = id
	return id, isNew, nil
}

// ledger is the buckets of reservations, inside the transaction.
type ledger struct{ w *writer }

const spendsQuery = "SELECT ends, cost FROM spends WHERE bucket = $1 AND ends > $2 ORDER BY ends"

func (l ledger) Spends(bucket string, after int64) ([]audit.Spend, error) {
	var out []audit.Spend
	err := l.w.each(func(rows *sql.Rows) error {
		var s audit.Spend
		err := rows.Scan(&s.End, &s.Cost)
		out = append(out, s)
		return err
	}, spendsQuery, bucket, after)
	return out, err
}

func (l ledger) Put(bucket string, s audit.Spend, forget int64) error {
	_, err := l.w.exec(`INSERT INTO spends (bucket, ends, cost, forget) VALUES ($1, $2, $3, $4)
		ON CONFLICT (bucket, ends) DO UPDATE SET cost = excluded.cost,
			forget = CASE WHEN excluded.forget > spends.forget THEN excluded.forget ELSE spends.forget END`, bucket, s.End, s.Cost, forget)
	return err
}

// Levels says how full buckets are, and takes nothing.
func (s *Store) Levels(ctx context.Context, rs []audit.Reservation) ([]audit.Level, error) {
	return audit.Look(func(bucket string, after int64) (out []audit.Spend, err error) {
		err = s.each(ctx, func(rows *sql.Rows) error {
			var one audit.Spend
			err := rows.Scan(&one.End, &one.Cost)
			out = append(out, one)
			return err
		}, spendsQuery, bucket, after)
		return out, err
	}, s.cfg.Clock(), rs)
}

// Reserve makes reservations that belong to no record. What does not fit is
// *audit.Exhausted, and then nothing is reserved.
func (s *Store) Reserve(ctx context.Context, rs []audit.Reservation) error {
	return s.Do(ctx, func(tx *Tx) error {
		tx.stand() // all fit before the first is written
		full, err := audit.Reserve(ledger{tx.w}, s.cfg.Clock(), rs)
		if err != nil {
			tx.err = err
			return err
		}
		if full != nil {
			return full
		}
		return nil
	})
}
