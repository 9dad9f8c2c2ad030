package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/behalf-dev/behalf/policy"
)

var _ policy.LockStore = (*Store)(nil)

// PutLock stores a lock in place of one on the same target, and forgets those
// that have ended.
func (s *Store) PutLock(ctx context.Context, l policy.Lock) error {
	var expires int64
	if !l.Expires.IsZero() {
		expires = l.Expires.UnixNano()
	}
	return s.Do(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(`DELETE FROM locks WHERE expires != 0 AND expires <= $1`, l.Created.UnixNano()); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT OR REPLACE INTO locks (kind, tenant, name, reason, created, expires, by_tenant, by_issuer, by_subject, by_email)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			string(l.Target.Kind), l.Target.Tenant, l.Target.ID, l.Reason, l.Created.UnixNano(), expires, l.ByTenant, l.By.Issuer, l.By.Subject, l.By.Email)
		return err
	})
}

// DeleteLock forgets a lock. One that is not there is no error.
func (s *Store) DeleteLock(ctx context.Context, t policy.LockTarget) error {
	return s.Do(ctx, func(tx *Tx) error {
		_, err := tx.Exec(`DELETE FROM locks WHERE kind = $1 AND tenant = $2 AND name = $3`, string(t.Kind), t.Tenant, t.ID)
		return err
	})
}

// Locks gives all that are stored, also those that have ended.
func (r *Reader) Locks(ctx context.Context) ([]policy.Lock, error) {
	var all []policy.Lock
	err := r.each(ctx, func(rows *sql.Rows) error {
		var l policy.Lock
		var created, expires int64
		err := rows.Scan(&l.Target.Kind, &l.Target.Tenant, &l.Target.ID, &l.Reason, &created, &expires, &l.ByTenant, &l.By.Issuer, &l.By.Subject, &l.By.Email)
		l.Created = time.Unix(0, created)
		if expires != 0 {
			l.Expires = time.Unix(0, expires)
		}
		all = append(all, l)
		return err
	}, `SELECT kind, tenant, name, reason, created, expires, by_tenant, by_issuer, by_subject, by_email FROM locks`)
	return all, err
}
