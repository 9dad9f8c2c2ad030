package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/memory"
	"github.com/behalf-dev/behalf/runs"
)

var _ memory.Store = (*Store)(nil)

// ownMemories is whose items a statement touches. No statement about items is
// without it, but that of a deleted session, which is nobody's any more.
const ownMemories = "tenant = $1 AND issuer = $2 AND subject = $3"

// whichMemories are the items that a memory.Which means.
const whichMemories = ownMemories + " AND ($4 OR $5 AND session = '' OR session <> '' AND session = $6)"

func ownerArgs(o memory.Owner) []any { return []any{o.Tenant, o.Issuer, o.Subject} }

func whichArgs(w memory.Which) []any { return append(ownerArgs(w.Owner), w.All, w.Person, w.Session) }

// Remember implements memory.Store. It is idempotent: a text that is there keeps
// its id. The session is looked up in the same transaction, so that nothing is
// remembered of one that was just deleted.
func (s *Store) Remember(ctx context.Context, o memory.Owner, sessionID, text string) (memory.Item, error) {
	id, err := runs.NewID("mem_", rand.Reader)
	if err != nil {
		return memory.Item{}, fmt.Errorf("store: %w", err)
	}
	m := remembering{owner: o, digest: sha256.Sum256([]byte(text)), item: memory.Item{ID: id, SessionID: sessionID, Text: text, Created: s.cfg.Clock().UTC()}}
	kept := make(chan memory.Item, 1) // what the closure captured is not ours if ctx ends
	err = s.Do(ctx, func(tx *Tx) error {
		err := m.do(tx)
		if err == nil {
			kept <- m.item
		}
		return err
	})
	if err != nil {
		return memory.Item{}, err
	}
	return <-kept, nil
}

// remembering is one text on its way into the store.
type remembering struct {
	owner  memory.Owner
	item   memory.Item
	digest [sha256.Size]byte
}

func (m *remembering) do(tx *Tx) error {
	if err := m.session(tx); err != nil {
		return err
	}
	if err := m.again(tx); err != nil {
		return err
	}
	if err := m.room(tx); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO memories (id, tenant, issuer, subject, session, created, digest, text) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		m.item.ID, m.owner.Tenant, m.owner.Issuer, m.owner.Subject, m.item.SessionID, m.item.Created.UnixNano(), m.digest[:], m.item.Text)
	return err
}

func (m *remembering) session(tx *Tx) error {
	if m.item.SessionID == "" {
		return nil
	}
	var there int
	err := tx.Row("SELECT 1 FROM sessions WHERE "+named+" AND deleted = 0", []any{m.owner.Tenant, m.item.SessionID}, &there)
	if err != nil {
		return missing("session", err)
	}
	return nil
}

// again takes out the same text, which is about to become the newest.
func (m *remembering) again(tx *Tx) error {
	args := append(ownerArgs(m.owner), m.item.SessionID, m.digest[:])
	const same = " FROM memories WHERE " + ownMemories + " AND session = $4 AND digest = $5"
	err := tx.Row("SELECT id"+same, args, &m.item.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = tx.Exec("DELETE"+same, args...)
	}
	return err
}

func (m *remembering) room(tx *Tx) error {
	var all, here int
	err := tx.Row("SELECT count(*), count(CASE WHEN session = $4 THEN 1 END) FROM memories WHERE "+ownMemories,
		append(ownerArgs(m.owner), m.item.SessionID), &all, &here)
	switch {
	case err != nil:
		return err
	case all >= memory.MaxItems:
		return &memory.FullError{}
	case m.item.SessionID != "" && here >= memory.MaxPerSession:
		return &memory.FullError{Session: true}
	}
	return nil
}

// Memories implements memory.Store.
func (s *Store) Memories(ctx context.Context, w memory.Which, after string, limit int) ([]memory.Item, error) {
	args, behind := append(whichArgs(w), limit), ""
	if after != "" {
		var number int64
		err := s.db.QueryRowContext(ctx, "SELECT number FROM memories WHERE "+ownMemories+" AND id = $4", append(ownerArgs(w.Owner), after)...).Scan(&number)
		if err != nil {
			return nil, missing("memory to go on from; begin again without after", err)
		}
		args, behind = append(args, number), " AND number < $8"
	}
	var out []memory.Item
	err := s.each(ctx, func(rows *sql.Rows) error {
		var item memory.Item
		var created int64
		err := rows.Scan(&item.ID, &item.SessionID, &item.Text, &created)
		item.Created = time.Unix(0, created).UTC()
		out = append(out, item)
		return err
	}, "SELECT id, session, text, created FROM memories WHERE "+whichMemories+behind+" ORDER BY number DESC LIMIT $7", args...)
	return out, err
}

// Forget implements memory.Store.
func (s *Store) Forget(ctx context.Context, o memory.Owner, id string) (bool, error) {
	n, err := s.erase(ctx, ownMemories+" AND id = $4", append(ownerArgs(o), id)...)
	return n > 0, err
}

// ForgetAll implements memory.Store.
func (s *Store) ForgetAll(ctx context.Context, w memory.Which) (int, error) {
	return s.erase(ctx, whichMemories, whichArgs(w)...)
}

func (s *Store) erase(ctx context.Context, where string, args ...any) (int, error) {
	gone := make(chan int64, 1)
	err := s.Do(ctx, func(tx *Tx) error {
		n, err := eraseMemories(tx, where, args...)
		gone <- n
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(<-gone), nil
}

// eraseMemories deletes items and overwrites what they were, which SQLite would
// leave in the file until it needs the room. The file that a commit goes through
// first (the WAL) is written over as it is used again, and gone at a shut-down.
func eraseMemories(tx *Tx, where string, args ...any) (int64, error) {
	if _, err := tx.Exec("PRAGMA secure_delete = ON"); err != nil {
		return 0, err
	}
	n, err := tx.Exec("DELETE FROM memories WHERE "+where, args...)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec("PRAGMA secure_delete = OFF")
	return n, err
}
