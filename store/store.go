package store

import (
	"context"
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// Errors of the store. The Guard maps the first two to AUDIT_UNAVAILABLE.
var (
	ErrBusy     = errors.New("store: queue is full")
	ErrClosed   = errors.New("store: closed")
	ErrDamaged  = errors.New("store: audit log is damaged; run behalf audit verify")
	ErrReplaced = errors.New("store: the database file is not the one that was opened")
	ErrInUse    = errors.New("store: another process has the database open")
)

// Config is how to open a store.
type Config struct {
	DSN     string           // sqlite://path; required
	Key     crypto.Signer    // signs checkpoints, with Ed25519; nil: chains without signatures
	Witness *audit.Witness   // where checkpoints go outside of the store; nil: nowhere. The store does not close it.
	Clock   func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nothing is logged

	CheckpointEvery    int64         // rows; 0: 1,000
	CheckpointInterval time.Duration // 0: 10 s
	Retention          time.Duration // rows whose checkpoint is older are removed; 0: none
	Journal            *Journal      // where entries go that may, when the log cannot be written; nil: nowhere. The store does not close it.

	Queue int // entries that may wait; 0: 4,096
	Batch int // entries that share a commit; 0: 512
}

func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	set(&c.CheckpointEvery, 1000)
	set(&c.CheckpointInterval, 10*time.Second)
	set(&c.Queue, 4096)
	set(&c.Batch, 512)
	return c
}

func set[T ~int | ~int64](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// Store is an open database with its one writer. See the package comment.
type Store struct {
	*Reader
	cfg   Config
	path  string
	file  fs.FileInfo // the database file, to notice that it was replaced
	write *sql.DB

	key     *signing // nil: nothing is signed
	unlock  func()
	queue   *queue
	failing atomic.Bool // the newest commit failed

	w writer // Run's alone, and Open's before it
}

var (
	_ audit.Sink    = (*Store)(nil)
	_ audit.Querier = (*Store)(nil)
)

// Open opens or creates the database, keeps other processes from writing to it,
// brings its schema up to date, and holds the end of every chain against the
// checkpoints and the witness. Rows that no checkpoint covers (a crash) are
// adopted: that is logged, recorded in the chain "system", and signed. Run must
// be started for anything else to be written, and Close called in the end.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	key, err := newSigning(cfg.Key)
	if err != nil {
		return nil, err
	}
	path, err := sqlitePath(cfg.DSN)
	if err != nil {
		return nil, err
	}
	file, err := prepareFile(path)
	if err != nil {
		return nil, err
	}
	unlock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, path: path, file: file, unlock: unlock, queue: newQueue(cfg.Queue), key: key}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.write, err = openWriter(s.path); err != nil {
		return err
	}
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if s.Reader, err = openReaders(s.path); err != nil {
		return err
	}
	s.w = newWriter(s)
	if err := s.w.load(); err != nil {
		return err
	}
	if err := s.w.meetWitness(ctx); err != nil {
		return err
	}
	if err := s.w.adopt(); err != nil {
		return err
	}
	if j := s.cfg.Journal; j != nil && j.torn > 0 {
		s.cfg.Log.Warn("store: the journal ended in a line that was never acknowledged; it was cut off", slog.Int("bytes", j.torn))
	}
	return s.w.takeJournal()
}

// Append queues the entry; see audit.Sink.
func (s *Store) Append(e audit.Entry) *audit.Receipt {
	j := &job{entry: e, receipt: s.receipt()}
	if err := e.Check(); err != nil {
		j.end(err)
		return j.receipt
	}
	s.divertible(j)
	j.run = e.Record.RunID
	if err := s.queue.put(j); err != nil {
		j.end(err)
	}
	return j.receipt
}

// Do runs f in the writer's shared transaction and returns when it is durable.
// An error of f undoes what f did and is returned; *audit.Exhausted undoes
// nothing, because the denial it stands for is recorded (see Tx.Append).
//
// f runs on the writer's goroutine and holds up everybody: it must be short, must
// not wait for anything, and must not call the store but through tx. When ctx
// ends before f was begun, f will not run; when it ends later the outcome is not
// known, and what f captured must not be touched.
func (s *Store) Do(ctx context.Context, f func(tx *Tx) error) error {
	j := &job{do: f, receipt: s.receipt()}
	if err := s.queue.put(j); err != nil {
		return err
	}
	err := j.receipt.Wait(ctx)
	if err != nil && ctx.Err() != nil && j.claim() {
		return fmt.Errorf("store: not begun: %w", context.Cause(ctx))
	}
	return err
}

// Ready says why nothing can be recorded. It writes only if the newest commit failed:
// a full disk takes a transaction that is empty.
func (s *Store) Ready(ctx context.Context) error {
	if !s.failing.Load() {
		return s.Do(ctx, func(*Tx) error { return nil })
	}
	err := s.Do(ctx, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO pulse (id, beat) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET beat = beat + 1")
		return err
	})
	if err == nil {
		s.failing.Store(false)
	}
	return err
}

func (s *Store) receipt() *audit.Receipt { return audit.NewReceiptUrging(s.queue.urge) }

// Run is the writer. It returns nil when ctx ends, after everything that was
// queued is durable or failed and the last checkpoint is written. Errors of the
// disk go to the receipts they concern; Run goes on and tries again with the
// next.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.CheckpointInterval)
	defer tick.Stop()
	defer s.w.release()
	defer s.w.rest()
	for {
		select {
		case <-s.queue.wake:
			s.w.commit(s.drain())
		case <-tick.C:
			s.w.tick()
			s.w.retain()
		case <-s.w.pause():
			s.w.retain()
		case <-ctx.Done():
			s.refuse()
			s.w.finish()
			return nil
		}
	}
}

// refuse lets nobody in any more and writes what is queued.
func (s *Store) refuse() {
	s.queue.close()
	for s.queue.len() > 0 {
		s.w.commit(s.drain())
	}
}

// Close closes the database. Call it after Run has returned; what is still
// queued fails.
func (s *Store) Close() error {
	s.queue.close()
	for _, j := range s.queue.take(math.MaxInt) {
		j.end(ErrClosed)
	}
	s.w.release()
	var err error
	if s.Reader != nil {
		err = s.Reader.Close()
	}
	if s.write != nil {
		err = errors.Join(err, s.write.Close())
	}
	s.unlock()
	return err
}
