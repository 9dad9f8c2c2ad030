package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"

	"modernc.org/sqlite"
)

// samePlace refuses to write into a file that was deleted or replaced: SQLite
// would go on writing to what no name leads to any more.
func (w *writer) samePlace() error {
	now, err := os.Stat(w.s.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	if !os.SameFile(now, w.s.file) {
		return ErrReplaced
	}
	return w.wholeWAL()
}

// wholeWAL refuses to write behind what is not there any more: SQLite remembers how
// long its write-ahead log is and does not look. A new connection does, and finds
// out what is lost (agree).
func (w *writer) wholeWAL() error {
	if w.wal == nil {
		return nil
	}
	now, err := os.Stat(w.s.path + "-wal")
	if err != nil {
		return fmt.Errorf("%w: its write-ahead log: %w", ErrReplaced, err)
	}
	if !os.SameFile(now, w.wal) || now.Size() < min(w.wal.Size(), maxWAL) {
		return fmt.Errorf("%w: its write-ahead log was cut", ErrReplaced)
	}
	return nil
}

func (w *writer) connect() error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.s.write.Conn(context.Background())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	w.conn, w.stmts, w.sure = conn, map[string]*sql.Stmt{}, false
	return nil
}

// remember notes the version that our commit made. Until the next transaction
// begins, the connection does not look at what others do, so it is ours. What
// could not be read makes the next transaction compare everything.
func (w *writer) remember() {
	version, err := w.dataVersion()
	w.version, w.sure = version, err == nil
	if info, err := os.Stat(w.s.path + "-wal"); err == nil {
		w.wal = info
	}
}

// dataVersion asks the connection itself: PRAGMA data_version would be one more
// statement in each commit.
func (w *writer) dataVersion() (version uint32, err error) {
	err = w.conn.Raw(func(c any) (err error) {
		version, err = c.(sqlite.FileControl).FileControlDataVersion("main")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("data version: %w", err)
	}
	return version, nil
}

// abandon rolls back and throws the connection away.
func (w *writer) abandon() {
	w.b.line = nil
	clear(w.names)
	w.wal = nil
	if w.conn == nil {
		return
	}
	_, _ = w.conn.ExecContext(context.Background(), "ROLLBACK") // fails if SQLite did it already
	w.closeStatements()
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = w.conn.Close()
	w.conn = nil
}

// release gives the connection back.
func (w *writer) release() {
	if w.conn == nil {
		return
	}
	w.closeStatements()
	_ = w.conn.Close()
	w.conn = nil
}

func (w *writer) closeStatements() {
	for _, st := range w.stmts {
		_ = st.Close()
	}
	clear(w.stmts)
}

// maxStatements bounds what closures can make us keep.
const maxStatements = 128

func (w *writer) stmt(query string) (*sql.Stmt, error) {
	if st := w.stmts[query]; st != nil {
		return st, nil
	}
	if len(w.stmts) >= maxStatements {
		w.closeStatements()
	}
	st, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	w.stmts[query] = st
	return st, nil
}

func (w *writer) run(query string, args ...any) (sql.Result, error) {
	st, err := w.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(context.Background(), args...)
}

// exec runs a statement and says how many rows it changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	res, err := w.run(query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// insert runs an INSERT of one row and says under which number, if it was done.
func (w *writer) insert(query string, args ...any) (id int64, done bool, err error) {
	res, err := w.run(query, args...)
	if err != nil {
		return 0, false, err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return 0, false, err
	}
	id, err = res.LastInsertId()
	return id, true, err
}

// scanner is the answer to a query for one row.
type scanner interface{ Scan(dest ...any) error }

type badRow struct{ err error }

func (b badRow) Scan(...any) error { return b.err }

func (w *writer) row(query string, args ...any) scanner {
	st, err := w.stmt(query)
	if err != nil {
		return badRow{err}
	}
	return st.QueryRowContext(context.Background(), args...)
}

func (w *writer) each(f func(*sql.Rows) error, query string, args ...any) error {
	st, err := w.stmt(query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer rows.Close() // also when f panics: a statement that is still open holds up the commit
	for err == nil && rows.Next() {
		err = f(rows)
	}
	return errors.Join(err, rows.Err())
}
