package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// checkpointHead is the end of the chain of checkpoints; number 0 means that it
// is not known.
type checkpointHead struct {
	number int64
	hash   string
	known  bool
}

// tick writes what is due by time, and forgets what is of no more use.
func (w *writer) tick() {
	if len(w.dirty) == 0 {
		w.tellWitness()
		return
	}
	err := w.transact(func() error {
		if err := w.sweep(); err != nil {
			return err
		}
		return w.checkpoint()
	})
	switch {
	case err != nil:
		w.s.cfg.Log.Error("store: checkpoint failed", slog.Any("error", err))
	case w.s.cfg.Key == nil:
		clear(w.dirty)
	}
	w.tellWitness()
}

// finish writes the last checkpoint.
func (w *writer) finish() { w.tick() }

// requestLife is how long a request id is unique (DESIGN 9).
const requestLife = 24 * time.Hour

func (w *writer) sweep() error {
	now := w.s.cfg.Clock().UnixNano()
	if _, err := w.exec("DELETE FROM spends WHERE forget <= $1", now); err != nil {
		return fmt.Errorf("sweep limits: %w", err)
	}
	if _, err := w.exec("DELETE FROM requests WHERE created <= $1", now-int64(requestLife)); err != nil {
		return fmt.Errorf("sweep requests: %w", err)
	}
	return nil
}

// checkpoint signs the heads of the chains that grew, in this transaction: the
// statement becomes durable with what it states.
func (w *writer) checkpoint() error {
	key := w.s.cfg.Key
	if key == nil {
		return nil
	}
	if err := w.loadLast(); err != nil {
		return err
	}
	heads := make(map[string]audit.Head, len(w.dirty)+len(w.b.heads))
	for t := range w.dirty {
		h, err := w.head(t)
		if err != nil {
			return err
		}
		heads[t] = h
	}
	for t, h := range w.b.heads {
		heads[t] = h
	}
	c := audit.Checkpoint{Number: w.last.number + 1, Time: w.s.cfg.Clock().UnixNano(), Previous: w.last.hash, Heads: audit.SortedHeads(heads)}
	w.b.line = c.Sign(key)
	w.b.last = checkpointHead{number: c.Number, hash: c.Hash(), known: true}
	if _, err := w.exec("INSERT INTO checkpoints (number, line) VALUES ($1, $2)", c.Number, w.b.line); err != nil {
		return fmt.Errorf("insert checkpoint: %w", err)
	}
	return nil
}

func (w *writer) loadLast() error {
	if w.last.known {
		return nil
	}
	c, err := w.lastCheckpoint()
	if err != nil {
		return err
	}
	w.last = checkpointHead{number: c.Number, known: true}
	if c.Number > 0 {
		w.last.hash = c.Hash()
	}
	return nil
}

func (w *writer) lastCheckpoint() (audit.Checkpoint, error) {
	var line []byte
	err := w.row("SELECT line FROM checkpoints ORDER BY number DESC LIMIT 1").Scan(&line)
	if errors.Is(err, sql.ErrNoRows) {
		return audit.Checkpoint{}, nil
	}
	if err != nil {
		return audit.Checkpoint{}, fmt.Errorf("last checkpoint: %w", err)
	}
	c, err := audit.ParseCheckpoint(line)
	if err != nil {
		return audit.Checkpoint{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return c, nil
}

// loadSigned finds out which chains grew since they were last signed. It looks
// at recent checkpoints only; a chain that they do not name is signed once more.
func (w *writer) loadSigned() error {
	if err := w.loadLast(); err != nil {
		return err
	}
	signed := map[audit.TenantHead]bool{}
	err := w.each(func(rows *sql.Rows) error {
		var line []byte
		if err := rows.Scan(&line); err != nil {
			return err
		}
		c, err := audit.ParseCheckpoint(line)
		for _, h := range c.Heads {
			signed[h] = true
		}
		return err
	}, "SELECT line FROM checkpoints ORDER BY number DESC LIMIT 64")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	for t, h := range w.heads {
		if !signed[audit.TenantHead{Tenant: t, Head: h}] {
			w.dirty[t] = true
		}
	}
	return nil
}

// meetWitness holds the store against its witness before anything is written: a
// store that was put back to an older state must not go on as if nothing were.
func (w *writer) meetWitness(ctx context.Context) error {
	witness := w.s.cfg.Witness
	if witness == nil || !witness.Kept() {
		w.witnessed = w.last.number // a stream hears of what is new
		return nil
	}
	line := witness.Last()
	if line == nil {
		w.tellWitness()
		return nil
	}
	seen, err := audit.ParseCheckpoint(line)
	if err != nil {
		return fmt.Errorf("%w: last line of the witness: %w", ErrDamaged, err)
	}
	own, err := w.s.checkpointLine(ctx, seen.Number)
	if err != nil {
		return err
	}
	if string(own) != string(line) {
		return fmt.Errorf("%w: the witness has checkpoint %d and the store has not, so the store is not what it was; to accept the loss, put the witness aside", ErrDamaged, seen.Number)
	}
	if err := w.s.checkHeads(ctx, seen.Heads); err != nil {
		return err
	}
	w.witnessed = seen.Number
	w.tellWitness()
	return nil
}

// tellWitness brings the witness up to date. It comes after the commit: the
// witness never knows more than the store, and what it missed it gets later.
func (w *writer) tellWitness() {
	witness := w.s.cfg.Witness
	if witness == nil || w.b.line == nil && w.witnessed >= w.last.number {
		return
	}
	if w.b.line != nil && w.b.last.number == w.witnessed+1 {
		w.heard(w.b.last.number, witness.Append(w.b.line))
		w.b.line = nil
		return
	}
	w.b.line = nil
	for c, err := range w.s.checkpointsAfter(context.Background(), w.witnessed) {
		if err == nil {
			err = witness.Append(c.line)
		}
		if w.heard(c.number, err); err != nil {
			return
		}
	}
}

func (w *writer) heard(number int64, err error) {
	if err != nil {
		w.s.cfg.Log.Error("store: witness was not told; it will be", slog.Int64("checkpoint", number), slog.Any("error", err))
		return
	}
	w.witnessed = number
}
