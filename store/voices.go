package store

import (
	"context"
	"database/sql"

	"github.com/behalf-dev/behalf/runs"
)

var _ runs.Voices = (*Store)(nil)

// PutVoice stores a voice and its grant, in the place of the same person's earlier
// one.
func (s *Store) PutVoice(ctx context.Context, v runs.Voice) error {
	return s.Do(ctx, func(tx *Tx) error {
		g := v.Grant
		owner := runs.OwnerOf(g.Restore())
		if err := putGrant(tx, g); err != nil {
			return err
		}
		var others int
		err := tx.Row("SELECT count(*) FROM voices WHERE tenant = $1 AND session = $2 AND NOT (issuer = $3 AND subject = $4)",
			[]any{g.Tenant, v.SessionID, owner.Issuer, owner.Subject}, &others)
		if err != nil {
			return err
		}
		if others >= runs.MaxVoices {
			return runs.TooManyVoices()
		}
		_, err = tx.Exec(`INSERT INTO voices (tenant, session, issuer, subject, grant_id) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (tenant, session, issuer, subject) DO UPDATE SET grant_id = excluded.grant_id`,
			g.Tenant, v.SessionID, owner.Issuer, owner.Subject, g.ID)
		return err
	})
}

// Voices lists who has spoken in a session. A grant that is not there is an error:
// to leave its person out would widen what the others may do.
func (r *Reader) Voices(ctx context.Context, tenant, sessionID string) ([]runs.Voice, error) {
	var all []runs.Voice
	err := r.each(ctx, func(rows *sql.Rows) error {
		v := runs.Voice{SessionID: sessionID}
		err := rows.Scan(&v.Grant.ID)
		all = append(all, v)
		return err
	}, "SELECT grant_id FROM voices WHERE tenant = $1 AND session = $2 ORDER BY issuer, subject", tenant, sessionID)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Grant, err = r.Grant(ctx, all[i].Grant.ID); err != nil {
			return nil, err
		}
	}
	return all, nil
}
