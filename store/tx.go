package store

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"

	"github.com/behalf-dev/behalf/audit"
)

// Tx is the writer's transaction as a closure of Do sees it. It is valid only
// until the closure returns, on its goroutine. Placeholders are $1, $2, ….
type Tx struct {
	w     *writer
	saved bool // a savepoint was set
	firm  bool // none will be
	done  bool // something was changed without one
	heads map[string]audit.Head
	grown int64
	err   error // set when the transaction itself is broken, or over
}

var errOver = errors.New("store: transaction is over")

const savepoint = "closure"

// Exec runs a statement and says how many rows it changed.
func (t *Tx) Exec(query string, args ...any) (int64, error) {
	if err := t.save(); err != nil {
		return 0, err
	}
	n, err := t.w.exec(query, args...)
	if t.firm {
		t.err, t.done = err, t.done || n > 0 // SQLite may have rolled back everything
	}
	return n, err
}

// stand has the closure do without a savepoint, which costs two statements and a
// copy of every page that is touched. It is for closures that return no error
// once they have changed something; if one does, or panics, the transaction fails
// for everybody in it.
func (t *Tx) stand() { t.firm = true }

// Row reads one row into dest; sql.ErrNoRows when there is none.
func (t *Tx) Row(query string, args []any, dest ...any) error {
	if t.err != nil {
		return t.err
	}
	return t.w.row(query, args...).Scan(dest...)
}

// one is Row for a reader of rows.
func (t *Tx) one(query string, args ...any) scanner {
	if t.err != nil {
		return badRow{t.err}
	}
	return t.w.row(query, args...)
}

// Each calls f for each row of the answer. f only scans.
func (t *Tx) Each(f func(*sql.Rows) error, query string, args ...any) error {
	if t.err != nil {
		return t.err
	}
	return t.w.each(f, query, args...)
}

// Append seals a record in this transaction, with its reservations. On
// *audit.Exhausted the record was sealed as a denial: return the error, or nil,
// to keep it. Append before anything that a denial must not do.
func (t *Tx) Append(e audit.Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	if err := t.save(); err != nil {
		return err
	}
	t.done = t.done || t.firm
	full, err := t.w.append(e)
	if err != nil {
		t.err = err
		return err
	}
	if full != nil {
		return full
	}
	return nil
}

// name numbers the name of a run or a session, and says whether it had no number
// yet, so that nothing is stored under it. The number may stay when the closure
// is undone: it says nothing but that somebody asked for it.
func (t *Tx) name(tenant, name string) (id int64, isNew bool, err error) {
	if t.err == nil {
		id, isNew, t.err = t.w.name(tenant, name)
	}
	return id, isNew, t.err
}

// save sets a savepoint before the first change. What only reads needs none.
func (t *Tx) save() error {
	if t.err != nil || t.saved || t.firm {
		return t.err
	}
	if _, t.err = t.w.exec("SAVEPOINT " + savepoint); t.err == nil {
		t.saved, t.heads, t.grown = true, maps.Clone(t.w.b.heads), t.w.b.grown
	}
	return t.err
}

// closure runs one closure. What was sealed before it is written first, so that
// undoing the closure undoes nothing else.
func (w *writer) closure(j *job) error {
	if err := w.flush(); err != nil {
		return err
	}
	tx := &Tx{w: w}
	j.err = protect(j.do, tx)
	broken := tx.err
	tx.err = errOver
	if broken == nil && j.err != nil && tx.done {
		broken = fmt.Errorf("closure failed and cannot be undone: %w", j.err)
	}
	if broken != nil || !tx.saved {
		return broken
	}
	_, exhausted := errors.AsType[*audit.Exhausted](j.err)
	if j.err == nil || exhausted {
		return w.releaseSavepoint()
	}
	clear(w.names)
	w.b.heads, w.b.grown = tx.heads, tx.grown
	w.b.rows, w.b.opened, w.b.closed = w.b.rows[:0], w.b.opened[:0], w.b.closed[:0]
	if _, err := w.exec("ROLLBACK TO " + savepoint); err != nil {
		return fmt.Errorf("undo closure: %w", err)
	}
	return w.releaseSavepoint()
}

func (w *writer) releaseSavepoint() error {
	if err := w.flush(); err != nil {
		return err
	}
	_, err := w.exec("RELEASE " + savepoint)
	return err
}

// protect turns a panic of the closure into its error: the transaction is not
// its own, and nothing of it stays.
func protect(f func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: closure panicked: %v", p)
		}
	}()
	return f(tx)
}
