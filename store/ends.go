package store

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"

	"github.com/behalf-dev/behalf/audit"
)

// ends is where the chains of rows and the chain of checkpoints end on the disk.
type ends struct {
	heads   map[string]audit.Head
	last    checkpointHead
	damaged error // a last row or checkpoint that is none; its head equals no other
}

func (e ends) equal(o ends) bool {
	return e.damaged == nil && o.damaged == nil && e.last == o.last && maps.Equal(e.heads, o.heads)
}

// own is where the writer says that the chains end.
func (w *writer) own() ends { return ends{heads: w.heads, last: w.last} }

// readEnds reads them. Everything is derived from the bytes of the last rows: a
// chain is not continued from a row that was tampered with.
func (w *writer) readEnds() (ends, error) {
	e := ends{heads: map[string]audit.Head{}}
	var tenants []string
	err := w.each(func(rows *sql.Rows) error {
		var t string
		err := rows.Scan(&t)
		tenants = append(tenants, t)
		return err
	}, listTenants)
	if err != nil {
		return e, fmt.Errorf("list tenants: %w", err)
	}
	for _, t := range tenants {
		row, err := scanRow(w.row("SELECT "+rowColumns+" FROM audit a WHERE tenant = $1 ORDER BY sequence DESC LIMIT 1", t))
		if err != nil {
			return e, fmt.Errorf("load head: %w", err)
		}
		rec, err := believe(row)
		e.heads[t], e.damaged = audit.Head{Sequence: row.Sequence, Hash: rec.Hash}, errors.Join(e.damaged, err)
	}
	var line []byte
	err = w.row("SELECT line FROM checkpoints ORDER BY number DESC LIMIT 1").Scan(&line)
	if errors.Is(err, sql.ErrNoRows) {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("last checkpoint: %w", err)
	}
	c, err := audit.ParseCheckpoint(line)
	if err != nil {
		e.damaged = errors.Join(e.damaged, fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	e.last = checkpointHead{number: c.Number, hash: c.Hash()}
	return e, nil
}

// listTenants jumps from tenant to tenant in the primary key instead of reading
// all of it.
const listTenants = `WITH RECURSIVE t(tenant) AS (
	SELECT min(tenant) FROM audit
	UNION ALL
	SELECT (SELECT min(audit.tenant) FROM audit WHERE audit.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL
) SELECT tenant FROM t WHERE tenant IS NOT NULL`

// load reads all ends, what of them is signed, and which calls are open.
func (w *writer) load() error {
	return w.transact(func() error {
		e, err := w.readEnds()
		if err := errors.Join(err, e.damaged); err != nil {
			return err
		}
		w.heads, w.last, w.opened = e.heads, e.last, true
		if err := w.loadSigned(); err != nil {
			return err
		}
		if err := w.checkBeginnings(); err != nil {
			return err
		}
		return w.each(func(rows *sql.Rows) error {
			var k nameKey
			err := rows.Scan(&k.tenant, &k.name)
			w.left[k] = true
			return err
		}, "SELECT tenant, call_id FROM open_calls")
	})
}

// loadSigned finds out how far each chain was signed, newest checkpoint first,
// until all are found, and that what was signed is there.
func (w *writer) loadSigned() error {
	w.unsigned = map[string]int64{}
	for t, h := range w.heads {
		w.unsigned[t] = h.Sequence
	}
	found := map[string]bool{}
	for before := int64(math.MaxInt64); len(found) == 0 || len(found) < len(w.heads); {
		var lines []numbered
		err := w.each(func(rows *sql.Rows) error {
			var n numbered
			err := rows.Scan(&n.number, &n.line)
			lines = append(lines, n)
			return err
		}, "SELECT number, line FROM checkpoints WHERE number <= $1 ORDER BY number DESC LIMIT 64", before)
		if err != nil {
			return fmt.Errorf("read checkpoints: %w", err)
		}
		if len(lines) == 0 {
			break
		}
		for _, n := range lines {
			if err := w.readSigned(n.line, found); err != nil {
				return err
			}
			before = n.number - 1
		}
	}
	for t, n := range w.unsigned {
		if n == 0 {
			delete(w.unsigned, t)
			continue
		}
		w.dirty[t] = true
	}
	return nil
}

// readSigned takes from a checkpoint the heads of the chains that no newer one
// names.
func (w *writer) readSigned(line []byte, found map[string]bool) error {
	c, err := audit.ParseCheckpoint(line)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	c.Heads = slices.DeleteFunc(c.Heads, func(h audit.TenantHead) bool { return found[h.Tenant] })
	if len(c.Heads) == 0 {
		return nil
	}
	if err := w.signedByUs(line); err != nil {
		return err
	}
	for _, h := range c.Heads {
		var hash string
		err := w.row("SELECT hash FROM audit WHERE tenant = $1 AND sequence = $2", h.Tenant, h.Sequence).Scan(&hash)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read head: %w", err)
		}
		if hash != h.Hash {
			return fmt.Errorf("%w: row %d of tenant %q is not the one that checkpoint %d signed", ErrDamaged, h.Sequence, h.Tenant, c.Number)
		}
		found[h.Tenant] = true
		w.unsigned[h.Tenant] -= h.Sequence
	}
	return nil
}

// signedByUs refuses a checkpoint that names our key and was not signed with it.
// One of a former key is Verify's business.
func (w *writer) signedByUs(line []byte) error {
	c, err := audit.ParseCheckpoint(line)
	if err != nil {
		return err
	}
	return w.ours(c)
}

// ours is signedByUs for a checkpoint that was read.
func (w *writer) ours(c audit.Checkpoint) error {
	key := w.s.key
	if key == nil {
		return nil
	}
	if c.Key == audit.KeyID(key.public) && !c.SignedBy(key.public) {
		return fmt.Errorf("%w: the signature of checkpoint %d is not ours", ErrDamaged, c.Number)
	}
	return nil
}

// adopt goes on from rows that a crash left unsigned. Nobody can prove that they
// are what was written, so that they were taken over is on record, and from now
// on they are signed.
func (w *writer) adopt() error {
	if w.s.key == nil || len(w.unsigned) == 0 {
		return nil
	}
	err := w.transact(func() error {
		for _, t := range slices.Sorted(maps.Keys(w.unsigned)) {
			if err := w.checkUnsigned(t); err != nil {
				return err
			}
			w.s.cfg.Log.Warn("store: rows that no checkpoint covers were adopted; a crash leaves such rows", slog.String("tenant", t), slog.Int64("rows", w.unsigned[t]))
			if err := w.note("adopt_unsigned_rows", t, w.unsigned[t]); err != nil {
				return err
			}
		}
		return w.checkpoint()
	})
	w.unsigned = nil
	w.tellWitness()
	return err
}

// note records something about a tenant's chain in the chain of no tenant.
func (w *writer) note(action, tenant string, rows int64) error {
	args, err := json.Marshal(struct {
		Tenant string `json:"tenant"`
		Rows   int64  `json:"rows"`
	}{tenant, rows})
	if err != nil {
		return err
	}
	_, err = w.append(audit.Entry{Record: &audit.Record{
		Time: w.s.cfg.Clock().UnixNano(), Tenant: system, Phase: audit.Decision, Action: action,
		Resource: fmt.Sprintf("Tenant::%q", tenant), Decision: audit.Allow, RedactedArguments: string(args), Governed: true,
	}})
	return err
}

// system is the tenant of what belongs to none.
const system = "system"

// agree holds the ends on the disk against the writer's own. They are equal, or
// those of a batch whose COMMIT failed after it happened; else somebody forged
// the log, and nothing is recorded in it any more.
func (w *writer) agree() error {
	disk, err := w.readEnds()
	if err != nil {
		return err
	}
	doubt := w.doubt
	if disk.equal(w.own()) {
		w.doubt = nil
		return nil
	}
	if doubt != nil {
		then := ends{heads: maps.Clone(w.heads), last: w.last}
		maps.Copy(then.heads, doubt.heads)
		if doubt.line != nil {
			then.last = doubt.last
		}
		if disk.equal(then) {
			w.keep(doubt)
			w.doubt = nil
			return nil
		}
	}
	return w.condemn(disk)
}

// condemn ends all writing. What it seals for its testimony are the rows that
// come next in the chains that were forged: they are not on the disk, others may
// be in their place, and so the log does not verify any more, whatever is done
// to its end.
func (w *writer) condemn(disk ends) error {
	var forged []string
	for t := range disk.heads {
		if disk.heads[t] != w.heads[t] {
			forged = append(forged, t)
		}
	}
	for t := range w.heads {
		if _, ok := disk.heads[t]; !ok {
			forged = append(forged, t)
		}
	}
	slices.Sort(forged)
	w.damaged = fmt.Errorf("%w: somebody else wrote to it; chains that do not end as they did: %q", ErrDamaged, forged)
	w.s.cfg.Log.Error("store: ALARM: the audit log was forged; nothing is recorded from now on", slog.Any("tenants", forged),
		slog.Int64("checkpoint", w.last.number), slog.Int64("checkpoint_found", disk.last.number))
	if w.s.key == nil {
		return w.damaged
	}
	heads := maps.Clone(w.heads)
	for _, t := range forged {
		alarm := &audit.Record{
			Time: w.s.cfg.Clock().UnixNano(), Tenant: t, Phase: audit.Decision, Action: "refuse_forged_log",
			Resource: fmt.Sprintf("Tenant::%q", t), Decision: audit.Deny, Governed: true,
		}
		audit.Seal(heads[t], alarm)
		heads[t] = alarm.Head()
	}
	c := w.statement(heads)
	w.accusation = &c
	w.accuse()
	return w.damaged
}

// accuse signs the testimony, and tells the witness first: the store is not to be
// trusted any more. A key that does not answer is asked again at the next tick.
func (w *writer) accuse() {
	if w.accusation == nil || w.testimony != nil {
		return
	}
	line, err := w.s.key.sign(w.accusation)
	if err != nil {
		w.s.cfg.Log.Error("store: the forged log could not be testified against; it will be tried again", slog.Any("error", err))
		return
	}
	w.testimony = line
	if w.s.cfg.Witness != nil && w.heardAll() {
		w.tell(w.accusation.Number, line)
	}
}

// testify brings the testimony into the store, so that the next start refuses as
// well. It is tried again at each tick.
func (w *writer) testify() {
	w.accuse()
	if w.damaged == nil || w.testified || w.testimony == nil {
		return
	}
	c, err := audit.ParseCheckpoint(w.testimony)
	if err == nil {
		err = w.samePlace()
	}
	if err == nil {
		err = w.connect()
	}
	if err == nil {
		err = w.insertCheckpoint(c.Number, w.testimony)
	}
	if err != nil {
		w.s.cfg.Log.Error("store: the forged log could not be marked; it will be tried again", slog.Any("error", err), slog.String("checkpoint", string(bytes.TrimSpace(w.testimony))))
	}
	w.testified = err == nil
	w.abandon()
}
