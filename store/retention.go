package store

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// This file removes rows that are older than the log is kept. First a row in their
// own chain says which, and is signed in the same commit; then they go, a few at a
// time. A crash in between leaves a chain that begins later, or not yet as late, as
// that row allows. Checkpoints stay, all of them: they hold the heads of what went.

const (
	// lookEvery is how often rows that have become too old are looked for.
	lookEvery = time.Hour
	// lookTenants is in how many chains at once.
	lookTenants = 16
	// removeAfter is how long rows stay when it is on record that they go: whoever
	// verifies the log meanwhile reads that before they miss them.
	removeAfter = time.Hour
	// removeRows is how many go in one commit, so that nobody waits long for theirs.
	removeRows = 500
	// removePause is how long everybody else has the writer in between.
	removePause = 50 * time.Millisecond
)

// retention is what the writer knows of its own removing.
type retention struct {
	next  time.Time   // when to look for old rows again
	timer *time.Timer // runs while rows are to go
}

// pause is done when the next few rows may go; nil while none are to.
func (w *writer) pause() <-chan time.Time {
	if w.retention.timer == nil {
		return nil
	}
	return w.retention.timer.C
}

// rest ends the waiting.
func (w *writer) rest() {
	if w.retention.timer != nil {
		w.retention.timer.Stop()
	}
}

// retain looks for rows that are too old when that is due, removes some, and comes
// back soon if that were not all.
func (w *writer) retain() {
	w.rest()
	w.retention.timer = nil
	if w.s.cfg.Retention <= 0 || w.s.key == nil || w.damaged != nil {
		return
	}
	more, err := w.look()
	if err == nil {
		var rows bool
		rows, err = w.remove()
		more = more || rows
	}
	if err != nil {
		w.s.cfg.Log.Error("store: rows that are too old could not be removed; it will be tried again", slog.Any("error", err))
		return
	}
	if more {
		w.retention.timer = time.NewTimer(removePause)
	}
}

// look puts on record what is to go, if it is time to.
func (w *writer) look() (more bool, err error) {
	now := w.s.cfg.Clock()
	if now.Before(w.retention.next) {
		return false, nil
	}
	said := 0
	err = w.transact(func() error {
		ends, err := w.oldEnds(now.Add(-w.s.cfg.Retention).UnixNano(), "")
		if err != nil {
			return err
		}
		for _, t := range slices.Sorted(maps.Keys(ends)) {
			if said == lookTenants {
				break
			}
			did, err := w.announce(t, ends[t])
			if err != nil {
				return err
			}
			if did {
				said++
			}
		}
		if said == 0 {
			return nil
		}
		return w.checkpoint()
	})
	if err != nil {
		return false, err
	}
	w.tellWitness()
	if said == lookTenants {
		return true, nil // the other chains come next
	}
	w.retention.next = now.Add(lookEvery)
	return false, nil
}

// oldEnd is the end of the rows of a chain that are too old, and the checkpoint
// that signed it.
type oldEnd struct {
	audit.Head
	checkpoint audit.Checkpoint
}

// oldEnds gives, for each chain or only one, the newest row that a checkpoint signed
// at or before cutoff. One in allEvery checkpoints names all chains, so that it need
// not look further back.
func (w *writer) oldEnds(cutoff int64, only string) (map[string]oldEnd, error) {
	ends := map[string]oldEnd{}
	number, err := w.newestAt(cutoff)
	for ; err == nil && number > 0; number-- {
		var c audit.Checkpoint
		if c, err = w.checkpointAt(number); err != nil {
			break
		}
		for _, h := range c.Heads {
			if _, newer := ends[h.Tenant]; !newer && c.Time <= cutoff {
				ends[h.Tenant] = oldEnd{h.Head, c}
			}
		}
		if _, found := ends[only]; found || number%allEvery == 0 {
			break
		}
	}
	return ends, err
}

// newestAt is the number of the newest checkpoint that was signed at or before a
// time, 0 if there is none.
func (w *writer) newestAt(cutoff int64) (int64, error) {
	low, high := int64(0), w.last.number
	for low < high {
		middle := low + (high-low+1)/2
		c, err := w.checkpointAt(middle)
		if err != nil {
			return 0, err
		}
		if c.Time <= cutoff {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}

func (w *writer) checkpointAt(number int64) (audit.Checkpoint, error) {
	var line []byte
	if err := w.row("SELECT line FROM checkpoints WHERE number = $1", number).Scan(&line); err != nil {
		return audit.Checkpoint{}, fmt.Errorf("read checkpoint %d: %w", number, err)
	}
	c, err := audit.ParseCheckpoint(line)
	if err != nil || c.Number != number {
		return c, fmt.Errorf("%w: checkpoint %d is not what was written", ErrDamaged, number)
	}
	return c, nil
}

// announce puts on record that the rows of a chain up to end go, as far as they may.
func (w *writer) announce(tenant string, end oldEnd) (bool, error) {
	end, err := w.unneeded(tenant, end)
	if err != nil || end.Sequence == 0 {
		return false, err
	}
	var old bool // the rows that say what went are no reason to say more
	err = w.row(`SELECT EXISTS (SELECT 1 FROM audit WHERE tenant = $1 AND sequence <= $2 AND action <> $3)
		AND NOT EXISTS (SELECT 1 FROM audit WHERE tenant = $1 AND sequence <= (SELECT max(through) FROM removals WHERE tenant = $1))`,
		tenant, end.Sequence, audit.ActionRemove).Scan(&old)
	if err != nil || !old {
		return false, err
	}
	if err := w.ours(end.checkpoint); err != nil {
		return false, err
	}
	r := audit.Removal{Through: end.Sequence, Hash: end.Hash, Checkpoint: end.checkpoint.Number}.Record(tenant, w.s.cfg.Clock().UnixNano())
	if _, err := w.append(audit.Entry{Record: r}); err != nil {
		return false, err
	}
	_, err = w.exec(`INSERT INTO removals (tenant, through, record, checkpoint) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant) DO UPDATE
		SET through = excluded.through, record = excluded.record, checkpoint = excluded.checkpoint`, tenant, end.Sequence, r.Sequence, w.last.number+1)
	w.s.cfg.Log.Info("store: rows that are too old are removed", slog.String("tenant", tenant), slog.Int64("through", end.Sequence), slog.Int64("record", r.Sequence))
	return err == nil, err
}

// unneeded takes the end back before what is still needed: what belongs to open
// calls and open runs, whose ends are not on record.
func (w *writer) unneeded(tenant string, end oldEnd) (oldEnd, error) {
	var needed, at sql.NullInt64
	err := w.row(`SELECT min(sequence) FROM (
		SELECT min(sequence) AS sequence FROM open_calls WHERE tenant = $1
		UNION ALL SELECT min((SELECT min(a.sequence) FROM audit a WHERE a.run = r.id AND a.run <> 0)) FROM runs r WHERE r.tenant = $1 AND r.state IN ('running', 'waiting'))`, tenant).Scan(&needed)
	if err != nil || !needed.Valid || needed.Int64 > end.Sequence {
		return end, err
	}
	if err := w.row("SELECT time FROM audit WHERE tenant = $1 AND sequence = $2", tenant, needed.Int64).Scan(&at); err != nil {
		return oldEnd{}, err
	}
	ends, err := w.oldEnds(at.Int64, tenant)
	if end = ends[tenant]; end.Sequence >= needed.Int64 {
		return oldEnd{}, err
	}
	return end, err
}

// remove takes away a few rows, of which the witness knows that they go.
func (w *writer) remove() (more bool, err error) {
	var tenant string
	var through, record int64
	known := w.last.number
	if w.s.cfg.Witness != nil {
		known = w.witnessed
	}
	err = w.transact(func() error {
		err := w.row(`SELECT r.tenant, r.through, r.record FROM removals r JOIN audit said ON said.tenant = r.tenant AND said.sequence = r.record
			WHERE r.checkpoint <= $1 AND said.time <= $2 AND EXISTS (SELECT 1 FROM audit a WHERE a.tenant = r.tenant AND a.sequence <= r.through) LIMIT 1`,
			known, w.s.cfg.Clock().Add(-removeAfter).UnixNano()).Scan(&tenant, &through, &record)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.mayGo(tenant, through, record); err != nil {
			return err
		}
		n, err := w.exec("DELETE FROM audit WHERE tenant = $1 AND sequence IN (SELECT sequence FROM audit WHERE tenant = $1 AND sequence <= $2 ORDER BY sequence LIMIT $3)", tenant, through, removeRows)
		more = n > 0
		return err
	})
	return more, err
}

// mayGo says whether a row of the chain says that rows go. The table only says
// where to look: whoever can write to it must not have us remove more.
func (w *writer) mayGo(tenant string, through, record int64) error {
	row, err := scanRow(w.row("SELECT "+rowColumns+" FROM audit a WHERE tenant = $1 AND sequence = $2", tenant, record))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read removal: %w", err)
	}
	rec, err := believe(row)
	if err != nil {
		return err
	}
	if m, ok := audit.RemovalOf(&rec); !ok || m.Through < through {
		return fmt.Errorf("%w: no row of tenant %q says that rows up to %d go", ErrDamaged, tenant, through)
	}
	return nil
}

// checkBeginnings finds chains that lack their oldest rows though no signed row
// says that these went. It comes before anything that was found is signed.
func (w *writer) checkBeginnings() error {
	for t, h := range w.heads {
		var first, record int64
		err := w.row("SELECT min(sequence), (SELECT coalesce(max(record), 0) FROM removals WHERE tenant = $1) FROM audit WHERE tenant = $1", t).Scan(&first, &record)
		if err != nil {
			return fmt.Errorf("find first row: %w", err)
		}
		if first == 1 {
			continue
		}
		if record > h.Sequence-w.unsigned[t] {
			return fmt.Errorf("%w: rows 1 to %d of tenant %q are missing", ErrDamaged, first-1, t)
		}
		if err := w.mayGo(t, first-1, record); err != nil {
			return err
		}
	}
	return nil
}

// checkUnsigned refuses to sign rows of a crash if one of them removes others: ours
// are never unsigned.
func (w *writer) checkUnsigned(tenant string) error {
	return w.each(func(rows *sql.Rows) error {
		row, err := scanRow(rows)
		if err != nil {
			return err
		}
		rec, err := believe(row)
		if err != nil {
			return err
		}
		if rec.Action == audit.ActionRemove {
			return fmt.Errorf("%w: row %d of tenant %q removes rows and is not signed", ErrDamaged, rec.Sequence, tenant)
		}
		return nil
	}, "SELECT "+rowColumns+" FROM audit a WHERE tenant = $1 AND sequence > $2 ORDER BY sequence", tenant, w.heads[tenant].Sequence-w.unsigned[tenant])
}
