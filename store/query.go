package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/behalf-dev/behalf/audit"
)

// Query gives the records that match, oldest first; with a limit, the newest so
// many. Each is checked against its own hash; the chain is Verify's business.
func (r *Reader) Query(ctx context.Context, f audit.Filter) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		if f.Tenant == "" {
			yield(audit.Record{}, audit.ErrTenant)
			return
		}
		q := where(f)
		after, err := r.begin(ctx, q, f.Limit)
		for left := f.Limit; err == nil; {
			var rows []audit.Row
			query := fmt.Sprintf("SELECT %s FROM audit a WHERE %s AND sequence > $%d ORDER BY sequence LIMIT $%d", rowColumns, q.sql, len(q.args)+1, len(q.args)+2)
			size := page
			if f.Limit > 0 {
				size = min(page, left)
			}
			rows, err = r.rows(ctx, query, append(q.args, after, size)...)
			for _, row := range rows {
				rec, err := believe(row)
				if !yield(rec, err) || err != nil {
					return
				}
				if left--; left == 0 {
					return
				}
				after = row.Sequence
			}
			if err == nil && len(rows) < size {
				return
			}
		}
		yield(audit.Record{}, err)
	}
}

// begin is the sequence before the first record that is wanted.
func (r *Reader) begin(ctx context.Context, q condition, limit int) (int64, error) {
	if limit <= 0 {
		return 0, nil
	}
	var first sql.NullInt64
	query := fmt.Sprintf("SELECT min(sequence) FROM (SELECT sequence FROM audit WHERE %s ORDER BY sequence DESC LIMIT $%d) AS newest", q.sql, len(q.args)+1) //nolint:gosec // q.sql is made of constants, its values are arguments
	if err := r.db.QueryRowContext(ctx, query, append(q.args, limit)...).Scan(&first); err != nil {
		return 0, fmt.Errorf("store: query: %w", err)
	}
	return first.Int64 - 1, nil
}

// condition is the part of a statement after WHERE and its arguments.
type condition struct {
	sql  string
	args []any
}

// where writes the filter so that the partial indexes apply: each says what its
// index leaves out.
func where(f audit.Filter) condition {
	c := f.Columns()
	var sql strings.Builder
	var args []any
	add := func(column, op string, v any, rest string) {
		args = append(args, v)
		if sql.Len() > 0 {
			sql.WriteString(" AND ")
		}
		fmt.Fprintf(&sql, "%s %s $%d%s", column, op, len(args), rest)
	}
	add("tenant", "=", c.Tenant, "")
	for _, t := range []struct{ column, value string }{
		{"subject", c.Subject}, {"tool", c.Tool}, {"agent", c.Agent}, {"run", c.RunID}, {"session", c.SessionID}, {"decision", c.Decision},
	} {
		switch {
		case t.value == "":
		case t.column == "run" || t.column == "session":
			args = append(args, t.value)
			fmt.Fprintf(&sql, " AND %[1]s = (SELECT id FROM names WHERE tenant = $1 AND name = $%[2]d) AND %[1]s <> 0", t.column, len(args))
		case t.column != "decision":
			add(t.column, "=", t.value, " AND "+t.column+" <> ''")
		case t.value == audit.Allow:
			add(t.column, "=", t.value, "")
		default:
			add(t.column, "=", t.value, " AND decision <> 'allow' AND decision <> ''")
		}
	}
	if f.Since != 0 {
		add("time", ">=", f.Since, "")
	}
	if f.Until != 0 {
		add("time", "<", f.Until, "")
	}
	return condition{sql: sql.String(), args: args}
}

// CallDecision says whether a call of a tool was allowed, and whether it came to
// an end. What was allowed and did not end may have happened.
func (r *Reader) CallDecision(ctx context.Context, tenant, callID string) (decided, finished bool, err error) {
	if tenant == "" || callID == "" {
		return false, false, nil
	}
	see := func(rows *sql.Rows) error {
		var phase, decision string
		err := rows.Scan(&phase, &decision)
		decided = decided || phase == string(audit.Decision) && decision == audit.Allow
		finished = finished || phase == string(audit.Outcome) || phase == string(audit.Abandoned)
		return err
	}
	c := (&audit.Record{Tenant: tenant, CallID: callID}).Columns()
	err = r.each(ctx, see, `SELECT phase, decision FROM audit
		WHERE run = (SELECT id FROM names WHERE tenant = $1 AND name = $2) AND run <> 0 AND tenant = $1 AND call_id = $3`, c.Tenant, audit.CallRun(c.CallID), c.CallID)
	if err != nil {
		return false, false, err
	}
	err = r.each(ctx, see, "SELECT phase, decision FROM audit WHERE tenant = $1 AND loose_call = $2 AND loose_call <> ''", c.Tenant, c.CallID)
	return decided, finished, err
}

// Abandoned appends an ABANDONED record for every allowed effect that has no
// outcome, unless keep says that its run may still bring one. The root calls it
// once at start, after Run is started and before any run goes on. It says how
// many there were.
func (s *Store) Abandoned(ctx context.Context, keep func(audit.Record) bool) (int, error) {
	n, lastTenant, lastCall := 0, "", ""
	for {
		rows, err := s.rows(ctx, "SELECT "+rowColumns+`
			FROM open_calls o JOIN audit a ON a.tenant = o.tenant AND a.sequence = o.sequence
			WHERE (o.tenant, o.call_id) > ($1, $2) ORDER BY o.tenant, o.call_id LIMIT $3`, lastTenant, lastCall, page)
		if err != nil {
			return n, err
		}
		receipts := make([]*audit.Receipt, 0, len(rows))
		for _, row := range rows {
			lastTenant, lastCall = row.Tenant, row.CallID
			rec, err := believe(row)
			if err != nil {
				return n, err
			}
			if keep == nil || !keep(rec) {
				receipts = append(receipts, s.Append(audit.Entry{Record: abandon(rec, s.cfg.Clock().UnixNano())}))
			}
		}
		for _, r := range receipts {
			if err := r.Wait(ctx); err != nil {
				return n, errors.Join(errors.New("store: record abandoned call"), err)
			}
			n++
		}
		if len(rows) < page {
			return n, nil
		}
	}
}

// abandon is the decision once more, as the record that its effect is unknown.
func abandon(decision audit.Record, now int64) *audit.Record {
	r := decision
	r.Time, r.Phase, r.Outcome, r.ResultDigest, r.Duration = now, audit.Abandoned, "unknown", "", 0
	return &r
}
