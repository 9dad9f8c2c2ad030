package store

import (
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"runtime"
	"sync/atomic"

	"github.com/behalf-dev/behalf/audit"
)

// job is one queued piece of work: an entry, a closure, or the state of a run,
// for which nobody waits.
type job struct {
	receipt *audit.Receipt
	entry   audit.Entry
	do      func(*Tx) error
	state   *runState
	run     string // whose row it is; Seal may write into the record
	begun   atomic.Int32
	err     error // what to settle with if the commit succeeds
}

// claim says whether the caller is the one who may decide about the job: the
// writer that begins it, or Do that gives it up.
func (j *job) claim() bool { return j.begun.CompareAndSwap(idle, begun) }

// Whose a job is.
const (
	idle      = iota // it waits
	begun            // the writer's, or Do's that gave it up
	forsaken         // the writer's, and nobody counts on it any more
	withdrawn        // on its way to the journal; who takes it there settles it
)

// isOpen says that the writer is at a job that might be journaled.
func (j *job) isOpen() bool {
	return j.entry.Journal && j.begun.Load() == begun && !j.receipt.Settled()
}

// end tells who waits.
func (j *job) end(err error) {
	if j.receipt != nil {
		j.receipt.Settle(err)
	}
}

// writer is the one who writes: a connection, what it knows about the ends of
// the chains, and the transaction in progress. One goroutine.
//
// Statements run without a context on purpose. SQLite rolls back the whole
// transaction when a statement in it is interrupted, and the transaction belongs
// to others too.
type writer struct {
	s       *Store
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	version uint32      // of the data: changes with each commit, ours too
	sure    bool        // that version is the one after our last commit
	wal     fs.FileInfo // of the write-ahead log after our last commit; nil: not known

	names map[nameKey]int64     // numbers of names; forgotten whenever something is undone
	heads map[string]audit.Head // where the chains end that Open found or this writer sealed; none: no rows
	last  checkpointHead
	dirty map[string]bool // tenants that grew since the last checkpoint
	grown int64           // by so many rows

	opened   bool             // heads and last are what was found; from now on the disk must agree
	doubt    *batch           // its COMMIT failed and may have happened all the same
	unsigned map[string]int64 // rows that Open found behind the newest checkpoint
	left     map[nameKey]bool // calls that an earlier process left open

	damaged    error             // somebody else wrote: nothing is written any more
	accusation *audit.Checkpoint // says so; nil: without a key nobody would believe it
	testimony  []byte            // the same, signed
	testified  bool              // it is in the store

	retention retention

	witnessed int64    // the newest checkpoint that the witness has
	telling   *telling // what the witness hangs at; nil: nothing

	b batch
}

// batch is what a transaction will have done once it is committed.
type batch struct {
	heads  map[string]audit.Head
	rows   []audit.Row // sealed and not yet inserted
	opened []audit.Columns
	closed []audit.Columns
	grown  int64
	last   checkpointHead // of the checkpoint in this transaction
	line   []byte
}

func newWriter(s *Store) writer {
	return writer{s: s, names: map[nameKey]int64{}, heads: map[string]audit.Head{}, dirty: map[string]bool{}, left: map[nameKey]bool{}}
}

// drain takes what is queued, up to a batch. It gives way until that brings
// nothing more, which costs no time when nobody is about to append, and lets all
// those whose receipts were just settled be in one batch instead of two.
func (s *Store) drain() []*job {
	for n := -1; n < s.cfg.Batch; {
		before := n
		if n = s.queue.len(); n == before {
			break
		}
		runtime.Gosched()
	}
	return s.queue.take(s.cfg.Batch)
}

// commit runs the jobs in one transaction and settles them.
func (w *writer) commit(jobs []*job) {
	if len(jobs) == 0 {
		return // they were in the batch before
	}
	if err := w.takeJournal(); err != nil {
		w.fail(jobs, err)
		return
	}
	// Closures first, then the entries in their order: all become durable at once,
	// and so the rows of the entries are written in one go.
	wrote := false
	err := w.transact(func() error {
		defer func() { wrote = w.b.grown > 0 }()
		for _, closures := range []bool{true, false} {
			for _, j := range jobs {
				if (j.entry.Record == nil) != closures {
					continue
				}
				if err := w.do(j); err != nil {
					return err
				}
			}
		}
		if w.grown+w.b.grown < w.s.cfg.CheckpointEvery {
			return nil
		}
		return w.checkpoint()
	})
	if err != nil {
		w.fail(jobs, err)
		return
	}
	if wrote {
		w.s.failing.Store(false)
		w.s.queue.pay()
	}
	for _, j := range jobs {
		w.settle(j, nil)
	}
	w.tellWitness()
}

// fail settles jobs that did not become durable in the log.
func (w *writer) fail(jobs []*job, err error) {
	w.s.cfg.Log.Error("store: commit failed", slog.Int("entries", len(jobs)), slog.Any("error", err))
	w.s.failing.Store(true)
	w.keepFailed(jobs, err)
	for _, j := range jobs {
		w.settle(j, err)
	}
}

func (w *writer) settle(j *job, err error) {
	switch {
	case j.state != nil && err != nil:
		w.s.queue.owe(j)
	case j.state != nil:
		w.s.queue.forget(j.state)
	}
	if j.begun.Load() == withdrawn {
		return
	}
	if err == nil {
		j.end(j.err)
		return
	}
	if r := j.entry.Record; r != nil {
		r.Sequence, r.PreviousHash, r.Hash = 0, "", ""
	}
	j.end(fmt.Errorf("store: not durable: %w", err))
}

// do runs one job. An error is one of the transaction; the job's own stays in it.
func (w *writer) do(j *job) error {
	if !j.claim() {
		j.err = ErrClosed // nobody waits for it any more
		return nil
	}
	switch {
	case j.do != nil:
		return w.closure(j)
	case j.state != nil:
		return w.setState(j.state)
	}
	full, err := w.append(j.entry)
	if full != nil {
		j.err = full
	}
	return err
}

// transact runs f between BEGIN and COMMIT. After an error it is not known
// whether the commit happened; a new connection finds out next time (agree).
func (w *writer) transact(f func() error) error {
	if w.damaged != nil {
		return w.damaged
	}
	err := w.begin()
	if err == nil {
		err = f()
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		if _, err = w.exec("COMMIT"); err != nil {
			b := w.b
			w.doubt = &b
		}
	}
	if err != nil {
		w.abandon()
		w.testify()
		return err
	}
	w.keep(&w.b)
	w.remember()
	return nil
}

func (w *writer) begin() error {
	w.b = batch{heads: map[string]audit.Head{}, rows: w.b.rows[:0], opened: w.b.opened[:0], closed: w.b.closed[:0]}
	if err := w.samePlace(); err != nil {
		return err
	}
	if err := w.connect(); err != nil {
		return err
	}
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	return w.notice()
}

// notice holds the database against what this writer knows when somebody else
// may have written to it since our last commit.
func (w *writer) notice() error {
	version, err := w.dataVersion()
	if err != nil {
		return err
	}
	if w.sure && version == w.version {
		return nil
	}
	clear(w.names)
	if w.opened {
		return w.agree()
	}
	return nil
}

// keep takes over what a batch did.
func (w *writer) keep(b *batch) {
	maps.Copy(w.heads, b.heads)
	for t := range b.heads {
		w.dirty[t] = true
	}
	w.grown += b.grown
	if b.line != nil {
		w.last, w.grown = b.last, 0
		clear(w.dirty)
	}
}
