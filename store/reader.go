package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"github.com/behalf-dev/behalf/audit"
)

// Reader reads a database. It may be used by many goroutines. No method holds a
// transaction while the caller works on what it got, so a slow caller does not
// keep the WAL from being emptied.
type Reader struct {
	db   *sql.DB
	path string
	file fs.FileInfo // of a file that is read without locks, to notice a change
}

// OpenReadOnly opens a database for verifying and exporting. It changes nothing:
// not the file, and no WAL comes into being. A server may have it open.
func OpenReadOnly(path string) (*Reader, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	q := readOnly()
	r := &Reader{path: path}
	if !hasWAL(path) {
		// Nobody has it open. SQLite would make a WAL just to read; told that
		// the file cannot change, it does not.
		q.Set("immutable", "1")
		r.file = info
	}
	if r.db, err = sql.Open("sqlite", fileURI(path, q)); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	r.db.SetMaxOpenConns(1)
	return r, nil
}

func hasWAL(path string) bool {
	_, err := os.Stat(path + "-wal")
	return err == nil
}

// Close closes the database.
func (r *Reader) Close() error { return r.db.Close() }

var errChanged = errors.New("store: a server opened the database while it was read; try again")

// unchanged notices that a file read without locks was written meanwhile.
func (r *Reader) unchanged() error {
	if r.file == nil {
		return nil
	}
	now, err := os.Stat(r.path)
	if err != nil || hasWAL(r.path) || now.Size() != r.file.Size() || !now.ModTime().Equal(r.file.ModTime()) {
		return errChanged
	}
	return nil
}

// page is how many rows are read at once.
const page = 256

// Rows gives all rows as they are, by tenant and sequence, for Verify and Export.
func (r *Reader) Rows(ctx context.Context) iter.Seq2[audit.Row, error] {
	return func(yield func(audit.Row, error) bool) {
		last := audit.Row{}
		for {
			rows, err := r.rows(ctx, "SELECT "+rowColumns+" FROM audit a WHERE (tenant, sequence) > ($1, $2) ORDER BY tenant, sequence LIMIT $3", last.Tenant, last.Sequence, page)
			for _, row := range rows {
				if last = row; !yield(row, nil) {
					return
				}
			}
			if err == nil && len(rows) < page {
				err = r.unchanged()
			}
			if err != nil {
				yield(audit.Row{}, err)
				return
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// rows gives what could be read, and what went wrong then.
func (r *Reader) rows(ctx context.Context, query string, args ...any) (out []audit.Row, err error) {
	err = r.each(ctx, func(rows *sql.Rows) error {
		row, err := scanRow(rows)
		if err == nil {
			out = append(out, row)
		}
		return err
	}, query, args...)
	return out, err
}

func (r *Reader) each(ctx context.Context, f func(*sql.Rows) error, query string, args ...any) error {
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("store: query: %w", err)
	}
	defer rows.Close()
	for err == nil && rows.Next() {
		err = f(rows)
	}
	if err := errors.Join(err, rows.Err()); err != nil {
		return fmt.Errorf("store: read: %w", err)
	}
	return nil
}

// Checkpoints gives the lines of all checkpoints, for Verify and Export.
func (r *Reader) Checkpoints(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for c, err := range r.checkpointsAfter(ctx, 0) {
			if !yield(c.line, err) {
				return
			}
		}
	}
}

type numbered struct {
	number int64
	line   []byte
}

func (r *Reader) checkpointsAfter(ctx context.Context, after int64) iter.Seq2[numbered, error] {
	return func(yield func(numbered, error) bool) {
		for {
			var lines []numbered
			err := r.each(ctx, func(rows *sql.Rows) error {
				var n numbered
				err := rows.Scan(&n.number, &n.line)
				lines = append(lines, n)
				return err
			}, "SELECT number, line FROM checkpoints WHERE number > $1 ORDER BY number LIMIT $2", after, page)
			if err != nil {
				yield(numbered{}, err)
				return
			}
			for _, n := range lines {
				if after = n.number; !yield(n, nil) {
					return
				}
			}
			if len(lines) < page {
				return
			}
		}
	}
}

// checkpointLine is the line of one checkpoint, nil if there is none.
func (r *Reader) checkpointLine(ctx context.Context, number int64) ([]byte, error) {
	var line []byte
	err := r.db.QueryRowContext(ctx, "SELECT line FROM checkpoints WHERE number = $1", number).Scan(&line)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("store: read checkpoint: %w", err)
	}
	return line, nil
}

// checkHeads says whether the rows that were signed are there, or before the
// beginning of their chain, which Open has checked: a witness may lag behind what
// retention removed.
func (r *Reader) checkHeads(ctx context.Context, heads []audit.TenantHead) error {
	for _, h := range heads {
		var hash string
		var first sql.NullInt64
		err := r.db.QueryRowContext(ctx, "SELECT coalesce((SELECT hash FROM audit WHERE tenant = $1 AND sequence = $2), ''), (SELECT min(sequence) FROM audit WHERE tenant = $1)", h.Tenant, h.Sequence).Scan(&hash, &first)
		if err != nil {
			return fmt.Errorf("store: read head: %w", err)
		}
		if hash != h.Hash && first.Int64 <= h.Sequence {
			return fmt.Errorf("%w: row %d of tenant %q is not the one the witness knows", ErrDamaged, h.Sequence, h.Tenant)
		}
	}
	return nil
}
