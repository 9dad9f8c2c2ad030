package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// What the store keeps for package runs, in that package's words.
type (
	Owner         = runs.Owner
	RunRecord     = runs.RunRecord
	SessionRecord = runs.SessionRecord
	GrantRecord   = runs.GrantRecord
	Room          = runs.Room
)

var (
	_ runs.Index  = (*Store)(nil)
	_ runs.Grants = (*Store)(nil)
)

// RequestTaken says that the request id belongs to another run. The same digest
// means the same request: answer with its run.
type RequestTaken struct{ RunID, Digest string }

func (e *RequestTaken) Error() string { return "request id belongs to run " + e.RunID }

// PutRun stores a run and claims its request id, both or neither. A run that
// exists is updated; its owner, session, target and creation stay.
func (s *Store) PutRun(ctx context.Context, r RunRecord) error {
	return s.Do(ctx, func(tx *Tx) error {
		if r.RequestID == "" {
			tx.stand() // one change
		}
		if err := s.claimRequest(tx, r); err != nil {
			return err
		}
		return putRun(tx, r)
	})
}

// Begin stores what a new run needs in one closure: its session, the run and,
// unless it is nil, its grant. The closure counts, too: of many that begin at once
// no more get through than there is room for.
func (s *Store) Begin(ctx context.Context, sn SessionRecord, r RunRecord, g *GrantRecord, room Room) error {
	return s.Do(ctx, func(tx *Tx) error {
		_, isNew, err := tx.name(r.Tenant, r.RunID)
		if err != nil {
			return err
		}
		if isNew && r.RequestID == "" && g == nil {
			tx.stand() // the session may be refused, and then nothing has changed; a new run cannot be
		}
		if err := s.claimRequest(tx, r); err != nil {
			return err
		}
		if err := checkRoom(tx, sn, r, room); err != nil {
			return err
		}
		if err := putSession(tx, sn); err != nil {
			return err
		}
		if err := putRun(tx, r); err != nil || g == nil {
			return err
		}
		return putGrant(tx, *g)
	})
}

func putRun(tx *Tx, r RunRecord) error {
	id, _, err := tx.name(r.Tenant, r.RunID)
	if err != nil {
		return err
	}
	session, _, err := tx.name(r.Tenant, r.SessionID)
	if err != nil {
		return err
	}
	n, err := tx.Exec(`INSERT INTO runs (id, session, tenant, owner_issuer, owner_subject, target, kind, state, stop_reason, created, updated, request_id, method, request_digest, detached)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET state = excluded.state, stop_reason = excluded.stop_reason, updated = excluded.updated, detached = excluded.detached
			WHERE runs.owner_issuer = excluded.owner_issuer AND runs.owner_subject = excluded.owner_subject AND runs.session = excluded.session`,
		id, session, r.Tenant, r.Owner.Issuer, r.Owner.Subject, r.Target, r.Kind, r.State, r.StopReason, r.Created, r.Updated, r.RequestID, r.Method, r.RequestDigest, r.Detached)
	return changed(n, err, "run")
}

func (s *Store) claimRequest(tx *Tx, r RunRecord) error {
	if r.RequestID == "" {
		return nil
	}
	now := s.cfg.Clock().UnixNano()
	key := []any{r.Tenant, r.Owner.Issuer, r.Owner.Subject, r.Method, r.RequestID}
	const same = " WHERE tenant = $1 AND owner_issuer = $2 AND owner_subject = $3 AND method = $4 AND request_id = $5"
	if _, err := tx.Exec("DELETE FROM requests"+same+" AND created <= $6", append(key, now-int64(requestLife))...); err != nil {
		return err
	}
	var taken RequestTaken
	err := tx.Row("SELECT run_id, digest FROM requests"+same, key, &taken.RunID, &taken.Digest)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = tx.Exec(`INSERT INTO requests (tenant, owner_issuer, owner_subject, method, request_id, run_id, digest, created)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, append(key, r.RunID, r.RequestDigest, now)...)
		return err
	case err != nil:
		return err
	case taken.RunID == r.RunID && taken.Digest == r.RequestDigest:
		return nil
	}
	return &taken
}

// RequestID finds the run that a request id began within the last 24 hours.
func (s *Store) RequestID(ctx context.Context, tenant string, owner Owner, method, requestID string) (runID, digest string, ok bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT run_id, digest FROM requests WHERE tenant = $1 AND owner_issuer = $2 AND owner_subject = $3 AND method = $4 AND request_id = $5 AND created > $6`,
		tenant, owner.Issuer, owner.Subject, method, requestID, s.cfg.Clock().UnixNano()-int64(requestLife)).Scan(&runID, &digest)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", false, nil
	}
	if err != nil {
		return "", "", false, fmt.Errorf("store: request id: %w", err)
	}
	return runID, digest, true, nil
}

// UpdateRunState moves a run on. It does not wait: the state is what this store
// answers with from now on, and is durable before whatever is queued after it.
func (s *Store) UpdateRunState(_ context.Context, tenant, runID, state, stopReason string) error {
	return s.queue.put(&job{state: &runState{run: nameKey{tenant, runID}, state: state, stopReason: stopReason, updated: s.cfg.Clock().UnixNano()}})
}

// runState is a new state of a run on its way to the disk.
type runState struct {
	run               nameKey
	state, stopReason string
	updated           int64
}

func (w *writer) setState(st *runState) error {
	id, err := w.known(st.run)
	if err != nil {
		return err
	}
	n, err := w.exec("UPDATE runs SET state = ?, stop_reason = ?, updated = ? WHERE id = ?", st.state, st.stopReason, st.updated, id)
	if err != nil {
		return fmt.Errorf("update run: %w", err)
	}
	if n == 0 {
		w.s.cfg.Log.Error("store: a run that is not indexed has a new state", slog.String("run_id", st.run.name), slog.String("state", st.state))
	}
	return nil
}

// apply is the record as it will be once the state is stored; st may be nil.
func (st *runState) apply(r *RunRecord) {
	if st != nil {
		r.State, r.StopReason, r.Updated = st.state, st.stopReason, st.updated
	}
}

// RunByID reads a run of the tenant.
func (s *Store) RunByID(ctx context.Context, tenant, runID string) (RunRecord, error) {
	st := s.queue.pending(nameKey{tenant, runID}) // first: what is not pending any more is stored
	r, err := s.Reader.RunByID(ctx, tenant, runID)
	if err == nil {
		st.apply(&r)
	}
	return r, err
}

// ListRuns gives the owner's runs, newest first, those behind the run after (or
// from the newest, when after is empty).
func (s *Store) ListRuns(ctx context.Context, tenant string, owner Owner, after string, limit int) ([]RunRecord, error) {
	pending := s.queue.allPending()
	list, err := s.Reader.ListRuns(ctx, tenant, owner, after, limit)
	for i := range list {
		pending[nameKey{tenant, list[i].RunID}].apply(&list[i])
	}
	return list, err
}

// OpenRuns gives the runs that are running or waiting, of all tenants, for the
// start after a crash. A run that ended does not open again.
func (s *Store) OpenRuns(ctx context.Context) ([]RunRecord, error) {
	pending := s.queue.allPending()
	list, err := s.Reader.OpenRuns(ctx)
	for i := range list {
		pending[nameKey{list[i].Tenant, list[i].RunID}].apply(&list[i])
	}
	return slices.DeleteFunc(list, func(r RunRecord) bool { return r.State != runs.StateRunning && r.State != runs.StateWaiting }), err
}

// The columns of a run and a session as they are read: ids by name, and only if
// the name is the tenant's.
const (
	runColumns = `t.tenant, n.name, (SELECT name FROM names WHERE id = t.session AND tenant = t.tenant),
		t.owner_issuer, t.owner_subject, t.target, t.kind, t.state, t.stop_reason, t.created, t.updated, t.request_id, t.method, t.request_digest, t.detached
		FROM runs t JOIN names n ON n.id = t.id AND n.tenant = t.tenant`
	sessionColumns = `t.tenant, n.name, t.owner_issuer, t.owner_subject, t.target, t.created, t.updated, t.last_run, t.deleted, t.authority
		FROM sessions t JOIN names n ON n.id = t.id AND n.tenant = t.tenant`
	named = "id = (SELECT id FROM names WHERE tenant = $1 AND name = $2)"
)

func scanRun(s scanner) (r RunRecord, err error) {
	err = s.Scan(&r.Tenant, &r.RunID, &r.SessionID, &r.Owner.Issuer, &r.Owner.Subject, &r.Target, &r.Kind, &r.State, &r.StopReason, &r.Created, &r.Updated, &r.RequestID, &r.Method, &r.RequestDigest, &r.Detached)
	return r, err
}

// RunByID reads a run of the tenant.
func (r *Reader) RunByID(ctx context.Context, tenant, runID string) (RunRecord, error) {
	run, err := scanRun(r.db.QueryRowContext(ctx, "SELECT "+runColumns+" WHERE t."+named, tenant, runID))
	if err != nil {
		return RunRecord{}, missing("run", err)
	}
	return run, nil
}

// ListRuns gives the owner's runs, newest first, those behind the run after (or
// from the newest, when after is empty).
func (r *Reader) ListRuns(ctx context.Context, tenant string, owner Owner, after string, limit int) ([]RunRecord, error) {
	return list(ctx, r, scanRun, listing{columns: runColumns, table: "runs", rest: "1 = 1"}, tenant, owner, after, limit)
}

// OpenRuns gives the runs that are running or waiting, of all tenants, for the
// start after a crash.
func (r *Reader) OpenRuns(ctx context.Context) ([]RunRecord, error) {
	var out []RunRecord
	err := r.each(ctx, func(rows *sql.Rows) error {
		run, err := scanRun(rows)
		out = append(out, run)
		return err
	}, "SELECT "+runColumns+" WHERE t.state IN ('running', 'waiting') ORDER BY t.tenant, n.name")
	return out, err
}

// PutSession stores a session, or brings Updated and LastRun of an existing one
// up to date. One that was deleted stays deleted.
func (s *Store) PutSession(ctx context.Context, r SessionRecord) error {
	return s.Do(ctx, func(tx *Tx) error {
		tx.stand() // one change
		return putSession(tx, r)
	})
}

func putSession(tx *Tx, r SessionRecord) error {
	id, _, err := tx.name(r.Tenant, r.SessionID)
	if err != nil {
		return err
	}
	var known int
	if err := tx.Row("SELECT count(*) FROM sessions WHERE id = ?", []any{id}, &known); err != nil {
		return err
	}
	if known == 0 {
		if err := keep(tx, r); err != nil {
			return err
		}
	}
	n, err := tx.Exec(`INSERT INTO sessions (id, tenant, owner_issuer, owner_subject, target, created, updated, last_run, deleted, authority)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET updated = excluded.updated, last_run = excluded.last_run
			WHERE sessions.owner_issuer = excluded.owner_issuer AND sessions.owner_subject = excluded.owner_subject AND sessions.target = excluded.target AND sessions.deleted = 0`,
		id, r.Tenant, r.Owner.Issuer, r.Owner.Subject, r.Target, r.Created, r.Updated, r.LastRun, r.Deleted, r.Authority)
	return changed(n, err, "session")
}

// UpdateSession notes the session's newest run.
func (s *Store) UpdateSession(ctx context.Context, tenant, sessionID, lastRun string) error {
	return s.Do(ctx, func(tx *Tx) error {
		tx.stand() // one change
		return s.touchSession(tx, "UPDATE sessions SET last_run = $3, updated = $4 WHERE "+named+" AND deleted = 0", tenant, sessionID, lastRun)
	})
}

// DeleteSession takes the session out of all lists and erases what everybody
// remembered in it, with the authority of who spoke. What happened in it stays in
// the audit log.
func (s *Store) DeleteSession(ctx context.Context, tenant, sessionID string) error {
	return s.Do(ctx, func(tx *Tx) error {
		err := s.touchSession(tx, "UPDATE sessions SET deleted = $3, updated = $4 WHERE "+named+" AND deleted = 0", tenant, sessionID, 1)
		if err == nil {
			err = letGo(tx, tenant, sessionID)
		}
		if err == nil {
			_, err = eraseMemories(tx, "tenant = $1 AND session <> '' AND session = $2", tenant, sessionID)
		}
		if err == nil {
			_, err = tx.Exec("DELETE FROM grants WHERE id IN (SELECT grant_id FROM voices WHERE tenant = $1 AND session = $2)", tenant, sessionID)
		}
		if err == nil {
			_, err = tx.Exec("DELETE FROM voices WHERE tenant = $1 AND session = $2", tenant, sessionID)
		}
		return err
	})
}

func (s *Store) touchSession(tx *Tx, query, tenant, sessionID string, v any) error {
	n, err := tx.Exec(query, tenant, sessionID, v, s.cfg.Clock().UnixNano())
	if err == nil && n == 0 {
		return missing("session", sql.ErrNoRows)
	}
	return err
}

func scanSession(s scanner) (r SessionRecord, err error) {
	err = s.Scan(&r.Tenant, &r.SessionID, &r.Owner.Issuer, &r.Owner.Subject, &r.Target, &r.Created, &r.Updated, &r.LastRun, &r.Deleted, &r.Authority)
	return r, err
}

// SessionByID reads a session of the tenant; a deleted one is not found.
func (r *Reader) SessionByID(ctx context.Context, tenant, sessionID string) (SessionRecord, error) {
	ses, err := scanSession(r.db.QueryRowContext(ctx, "SELECT "+sessionColumns+" WHERE t."+named+" AND t.deleted = 0", tenant, sessionID))
	if err != nil {
		return SessionRecord{}, missing("session", err)
	}
	return ses, nil
}

// ListSessions gives the owner's sessions, newest first, those behind the
// session after.
func (r *Reader) ListSessions(ctx context.Context, tenant string, owner Owner, after string, limit int) ([]SessionRecord, error) {
	return list(ctx, r, scanSession, listing{columns: sessionColumns, table: "sessions", rest: "t.deleted = 0"}, tenant, owner, after, limit)
}

// listing names the parts of a paged list. They are constants of this file.
type listing struct{ columns, table, rest string }

// maxList is the longest list that is given at once.
const maxList = 1000

func list[T any](ctx context.Context, r *Reader, scan func(scanner) (T, error), l listing, tenant string, owner Owner, after string, limit int) ([]T, error) {
	if limit <= 0 || limit > maxList {
		limit = maxList
	}
	args := []any{tenant, owner.Issuer, owner.Subject, limit}
	behind := ""
	if after != "" {
		behind = " AND (t.created, t.id) < (SELECT created, id FROM " + l.table + ` WHERE tenant = $1 AND owner_issuer = $2 AND owner_subject = $3
			AND id = (SELECT id FROM names WHERE tenant = $1 AND name = $5))`
		args = append(args, after)
	}
	var out []T
	err := r.each(ctx, func(rows *sql.Rows) error {
		v, err := scan(rows)
		out = append(out, v)
		return err
	}, fmt.Sprintf("SELECT %s WHERE t.tenant = $1 AND t.owner_issuer = $2 AND t.owner_subject = $3 AND %s%s ORDER BY t.created DESC, t.id DESC LIMIT $4", l.columns, l.rest, behind), args...)
	return out, err
}

// changed refuses to touch what belongs to somebody else, without saying whose.
func changed(n int64, err error, what string) error {
	if err == nil && n == 0 {
		return fault.New(codes.PermissionDenied, fault.OwnerMismatch, "this "+what+" belongs to somebody else")
	}
	return err
}
