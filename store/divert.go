package store

import (
	"context"
	"errors"
	"log/slog"

	"github.com/behalf-dev/behalf/audit"
)

// The ways into the journal: of what failed, by the writer; of what waits too long
// for a writer that hangs, by whoever waits.

// keepFailed journals those of the jobs that may be, after their commit failed.
// Then they have not failed.
func (w *writer) keepFailed(jobs []*job, why error) {
	if w.s.cfg.Journal == nil || errors.Is(why, ErrDamaged) {
		return // a log that was forged shall stop everything
	}
	var mine []*job
	for _, j := range jobs {
		if r := j.entry.Record; j.entry.Journal && (j.begun.CompareAndSwap(begun, withdrawn) || j.begun.CompareAndSwap(idle, withdrawn)) {
			r.Sequence, r.PreviousHash, r.Hash = 0, "", ""
			mine = append(mine, j)
		}
	}
	w.s.keep(mine, why)
}

// keep journals jobs that were withdrawn from the writer, all or none, and settles
// them.
func (s *Store) keep(jobs []*job, why error) {
	if len(jobs) == 0 {
		return
	}
	records := make([]*audit.Record, len(jobs))
	for i, j := range jobs {
		records[i] = j.entry.Record
	}
	err := s.cfg.Journal.put(records)
	if err != nil {
		s.cfg.Log.Error("store: the journal could not take rows either", slog.Int("rows", len(jobs)), slog.Any("error", err))
		why = errors.Join(why, err)
	} else {
		s.cfg.Log.Error("store: ALARM: the log cannot be written; rows of reads went to the journal", slog.Int("rows", len(jobs)))
		why = nil
	}
	for _, j := range jobs {
		j.end(why)
	}
}

var errHangs = errors.New("store: the writer does not answer")

// divertible lets whoever waits for a job in vain have it journaled, after those
// that are before it: the outcome of a call must not come later than what its run
// did next.
func (s *Store) divertible(j *job) {
	if !j.entry.Journal || s.cfg.Journal == nil {
		return
	}
	j.receipt.Divertible(func(ctx context.Context) bool {
		these, ok := s.queue.withdraw(j)
		if ok {
			go s.keep(these, errHangs) // ends when the journal's disk answers; others give up on it
		}
		return (ok || j.begun.Load() == withdrawn || j.receipt.Settled()) && j.receipt.Wait(ctx) == nil
	})
}
