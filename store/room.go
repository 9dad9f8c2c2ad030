package store

import (
	"database/sql"
	"errors"

	"github.com/behalf-dev/behalf/runs"
)

// checkRoom says why the owner has no room for a session or a run. Sessions are
// counted as they come and go: to count a person's sessions anew for each run would
// cost the more the longer they use the service.
func checkRoom(tx *Tx, sn SessionRecord, r RunRecord, room runs.Room) error {
	if room.Sessions > 0 {
		var kept int
		err := tx.Row("SELECT sessions FROM keepers WHERE tenant = $1 AND issuer = $2 AND subject = $3", []any{sn.Tenant, sn.Owner.Issuer, sn.Owner.Subject}, &kept)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if kept >= room.Sessions {
			return full(tx, sn, room.Sessions)
		}
	}
	if room.Detached == 0 {
		return nil
	}
	var at int
	err := tx.Row(`SELECT count(*) FROM runs WHERE tenant = $1 AND owner_issuer = $2 AND owner_subject = $3
		AND state IN ('running', 'waiting') AND state = 'running' AND detached = 1`, []any{r.Tenant, r.Owner.Issuer, r.Owner.Subject}, &at)
	if err == nil && at >= room.Detached {
		return runs.TooManyRuns(room.Detached)
	}
	return err
}

// full names the oldest session of the owner, which is the first to be deleted.
func full(tx *Tx, sn SessionRecord, most int) error {
	var oldest string
	err := tx.Row(`SELECT n.name FROM sessions t JOIN names n ON n.id = t.id AND n.tenant = t.tenant
		WHERE t.tenant = $1 AND t.owner_issuer = $2 AND t.owner_subject = $3 AND t.deleted = 0 ORDER BY t.created LIMIT 1`,
		[]any{sn.Tenant, sn.Owner.Issuer, sn.Owner.Subject}, &oldest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return runs.TooManySessions(most, oldest)
}

// keep counts a new session.
func keep(tx *Tx, r SessionRecord) error {
	_, err := tx.Exec(`INSERT INTO keepers (tenant, issuer, subject, sessions) VALUES (?, ?, ?, 1)
		ON CONFLICT (tenant, issuer, subject) DO UPDATE SET sessions = sessions + 1`, r.Tenant, r.Owner.Issuer, r.Owner.Subject)
	return err
}

// letGo counts a session that was deleted.
func letGo(tx *Tx, tenant, sessionID string) error {
	_, err := tx.Exec(`UPDATE keepers SET sessions = sessions - 1
		WHERE (tenant, issuer, subject) = (SELECT tenant, owner_issuer, owner_subject FROM sessions WHERE `+named+`)`, tenant, sessionID)
	return err
}
