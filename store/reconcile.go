package store

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/behalf-dev/behalf/audit"
)

// takeJournal brings what waits in the journal into the log. The writer does it
// before anything else, so a row of the journal comes before the rows of later
// calls, and before the outcome of its own.
func (w *writer) takeJournal() error {
	j := w.s.cfg.Journal
	if j == nil {
		return nil
	}
	id, rows, lost := j.state()
	if rows == 0 && lost == 0 {
		return nil
	}
	if lost > 0 {
		w.s.cfg.Log.Error("store: ALARM: the journal has lines that cannot be read; the file is put aside", slog.String("journal", id), slog.Int64("lines", lost))
	}
	for {
		more, err := w.takePart(j, id, lost)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	w.s.cfg.Log.Warn("store: rows of the journal are in the log now", slog.String("journal", id), slog.Int("rows", rows))
	return nil
}

// takePart appends some lines. How far it got is stored with them, so a crash in
// between neither loses a line nor has one twice.
func (w *writer) takePart(j *Journal, id string, lost int64) (more bool, err error) {
	var last int64
	err = w.transact(func() error {
		if last, err = w.taken(id); err != nil {
			return err
		}
		fresh := last < 0
		last = max(last, 0)
		if fresh && lost > 0 {
			if err := w.note("lose_journal_lines", system, lost); err != nil {
				return err
			}
		}
		lines := j.part(last)
		more = len(lines) == journalPart
		for _, l := range lines {
			if err := w.takeLine(l); err != nil {
				return err
			}
			last = l.number
		}
		_, err := w.exec("INSERT INTO journals (id, taken) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET taken = excluded.taken", id, last)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("take the journal over: %w", err)
	}
	if err := j.took(last); err != nil { // it says of itself that all of it is in the log
		w.s.cfg.Log.Error("store: the journal's file could not be removed", slog.Any("error", err))
	}
	return more, nil
}

func (w *writer) takeLine(l journalLine) error {
	r, err := audit.Parse(l.body)
	if err != nil {
		return err
	}
	if there, err := w.has(&r); there || err != nil {
		return err
	}
	_, err = w.append(audit.Entry{Record: &r})
	return err
}

// taken is the number of the last line that is in the log, -1 for a journal that
// was never met.
func (w *writer) taken(id string) (int64, error) {
	var n int64
	err := w.row("SELECT taken FROM journals WHERE id = $1", id).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return -1, nil
	}
	return n, err
}

// has says whether the log has a journaled row already: its commit seemed to fail
// and had happened.
func (w *writer) has(r *audit.Record) (there bool, err error) {
	c := r.Columns()
	find := func(query string, args ...any) {
		if err != nil || there {
			return
		}
		err = w.row("SELECT EXISTS ("+query+" AND phase = ? AND time = ?)", append(args, c.Phase, c.Time)...).Scan(&there)
	}
	if c.LooseCall != "" {
		find("SELECT 1 FROM audit WHERE tenant = ? AND loose_call = ? AND loose_call <> ''", c.Tenant, c.LooseCall)
		return there, err
	}
	run, err := w.known(nameKey{c.Tenant, c.RunID})
	if run != 0 {
		find("SELECT 1 FROM audit WHERE run = ? AND run <> 0 AND tenant = ? AND call_id = ?", run, c.Tenant, c.CallID)
	}
	return there, err
}
