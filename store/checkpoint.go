package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// checkpointHead is the end of the chain of checkpoints; the zero value is a
// chain without any.
type checkpointHead struct {
	number int64
	hash   string
}

// tick writes what is due by time, and forgets what is of no more use. Also with
// nothing to write it begins a transaction, to notice who else wrote.
func (w *writer) tick() {
	if w.damaged != nil {
		w.testify()
		return
	}
	if err := w.takeJournal(); err != nil {
		w.s.cfg.Log.Error("store: the journal waits", slog.Any("error", err))
	}
	err := w.transact(func() error {
		if len(w.dirty) == 0 {
			return nil
		}
		if err := w.sweep(); err != nil {
			return err
		}
		return w.checkpoint()
	})
	switch {
	case err != nil:
		w.s.cfg.Log.Error("store: checkpoint failed", slog.Any("error", err))
	case w.s.key == nil:
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
	if _, err := w.exec("DELETE FROM answers WHERE created <= $1", now-int64(requestLife)); err != nil {
		return fmt.Errorf("sweep answers: %w", err)
	}
	return nil
}

// allEvery is how often a checkpoint names all chains and not only those that
// grew, so that Open need not look further back.
const allEvery = 1024

// checkpoint signs the heads of the chains that grew, in this transaction: the
// statement becomes durable with what it states. The heads are the writer's own,
// never read back.
func (w *writer) checkpoint() error {
	key := w.s.key
	if key == nil {
		return nil
	}
	heads := make(map[string]audit.Head, len(w.dirty)+len(w.b.heads))
	if (w.last.number+1)%allEvery == 0 {
		maps.Copy(heads, w.heads)
	}
	for t := range w.dirty {
		heads[t] = w.head(t)
	}
	maps.Copy(heads, w.b.heads)
	c := w.statement(heads)
	line, err := key.sign(&c)
	if err != nil {
		return err
	}
	w.b.line, w.b.last = line, checkpointHead{number: c.Number, hash: c.Hash()}
	return w.insertCheckpoint(c.Number, w.b.line)
}

// statement is the next checkpoint, not yet signed.
func (w *writer) statement(heads map[string]audit.Head) audit.Checkpoint {
	return audit.Checkpoint{Number: w.last.number + 1, Time: w.s.cfg.Clock().UnixNano(), Previous: w.last.hash, Heads: audit.SortedHeads(heads)}
}

func (w *writer) insertCheckpoint(number int64, line []byte) error {
	if _, err := w.exec("INSERT INTO checkpoints (number, line) VALUES ($1, $2)", number, line); err != nil {
		return fmt.Errorf("insert checkpoint: %w", err)
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
	if witness == nil || w.damaged != nil || w.b.line == nil && w.witnessed >= w.last.number {
		return
	}
	line := w.b.line
	w.b.line = nil
	if !w.heardAll() {
		return
	}
	if line != nil && w.b.last.number == w.witnessed+1 {
		w.tell(w.b.last.number, line)
		return
	}
	for c, err := range w.s.checkpointsAfter(context.Background(), w.witnessed) {
		if err != nil {
			w.heard(w.witnessed+1, err)
			return
		}
		if !w.tell(c.number, c.line) {
			return
		}
	}
}

// witnessPatience is how long the writer waits for the witness, of whom nobody's call
// depends. One that hangs is one that was not told.
const witnessPatience = 2 * time.Second

var errWitnessHangs = errors.New("it does not answer")

// telling is a line that the witness has not acknowledged yet.
type telling struct {
	number int64
	done   chan error
}

// tell writes one line to the witness and says whether it has it. While it hangs
// the writer goes on without.
func (w *writer) tell(number int64, line []byte) bool {
	t := &telling{number, make(chan error, 1)}
	go func() { t.done <- w.s.cfg.Witness.Append(line) }() // ends when the witness answers; one at a time
	over := time.NewTimer(witnessPatience)
	defer over.Stop()
	select {
	case err := <-t.done:
		w.heard(number, err)
		return err == nil
	case <-over.C:
		w.telling = t
		w.heard(number, errWitnessHangs)
		return false
	}
}

// heardAll says whether the witness may be told something: it has answered to what
// it was told before.
func (w *writer) heardAll() bool {
	t := w.telling
	if t == nil {
		return true
	}
	select {
	case err := <-t.done:
		w.telling = nil
		w.heard(t.number, err)
		return err == nil
	default:
		return false
	}
}

func (w *writer) heard(number int64, err error) {
	if err != nil {
		w.s.cfg.Log.Error("store: witness was not told; it will be", slog.Int64("checkpoint", number), slog.Any("error", err))
		return
	}
	w.witnessed = number
}
