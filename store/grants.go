package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// PutGrant stores a grant, or refreshes it: a grant that exists keeps its
// tenant, person, workload, tier, chain and creation, and a record that names
// others is refused.
func (s *Store) PutGrant(ctx context.Context, g GrantRecord) error {
	return s.Do(ctx, func(tx *Tx) error { return putGrant(tx, g) })
}

// PutDelegation stores a grant with a chain, which a person may have at most so
// many of. Those that have ended are forgotten.
func (s *Store) PutDelegation(ctx context.Context, g GrantRecord, most int, now int64) error {
	return s.Do(ctx, func(tx *Tx) error {
		whose := []any{g.Tenant, g.Issuer, g.Subject, g.Workload}
		const theirs = "tenant = $1 AND issuer = $2 AND subject = $3 AND (subject <> '' OR workload = $4) AND chain <> '[]'"
		if _, err := tx.Exec("DELETE FROM grants WHERE "+theirs+" AND expires <= $5", append(whose, now)...); err != nil {
			return err
		}
		var n int
		var first int64
		if err := tx.Row("SELECT count(*), COALESCE(min(expires), 0) FROM grants WHERE "+theirs, whose, &n, &first); err != nil {
			return err
		}
		if n >= most {
			return fault.New(codes.ResourceExhausted, fault.RateLimited, "you have too many delegated grants; use one of them again, or wait until one ends").
				RetryIn(time.Duration(first - now))
		}
		return putGrant(tx, g)
	})
}

func putGrant(tx *Tx, g GrantRecord) error {
	l, err := lists(g.Scopes, g.Roles, g.Chain, g.Configured, g.AMR)
	if err != nil {
		return err
	}
	n, err := tx.Exec(`INSERT INTO grants (id, tenant, issuer, subject, workload, token_id, thumbprint, scopes, roles, tier, chain, configured, email, name, acr, amr, auth_time, expires, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
		ON CONFLICT (id) DO UPDATE SET token_id = excluded.token_id, thumbprint = excluded.thumbprint, scopes = excluded.scopes, roles = excluded.roles, email = excluded.email, name = excluded.name,
			acr = excluded.acr, amr = excluded.amr, auth_time = excluded.auth_time, expires = excluded.expires
		WHERE grants.tenant = excluded.tenant AND grants.issuer = excluded.issuer AND grants.subject = excluded.subject
			AND grants.workload = excluded.workload AND grants.tier = excluded.tier AND grants.chain = excluded.chain AND grants.configured = excluded.configured`,
		g.ID, g.Tenant, g.Issuer, g.Subject, g.Workload, g.TokenID, g.Thumbprint, l[0], l[1], g.Tier, l[2], l[3], g.Email, g.Name, g.ACR, l[4], g.AuthTime, g.Expires, g.CreatedAt)
	if err == nil && n == 0 {
		return fault.New(codes.PermissionDenied, fault.OwnerMismatch, "this grant was made for somebody else")
	}
	return err
}

// Grant reads a grant. The caller compares its tenant, person and workload with
// the ones it verified.
func (r *Reader) Grant(ctx context.Context, id string) (GrantRecord, error) {
	var g GrantRecord
	var scopes, roles, chain, configured, amr string
	err := r.db.QueryRowContext(ctx, `SELECT id, tenant, issuer, subject, workload, token_id, thumbprint, scopes, roles, tier, chain, configured, email, name, acr, amr, auth_time, expires, created
		FROM grants WHERE id = $1`, id).Scan(&g.ID, &g.Tenant, &g.Issuer, &g.Subject, &g.Workload, &g.TokenID, &g.Thumbprint, &scopes, &roles, &g.Tier, &chain, &configured, &g.Email, &g.Name, &g.ACR, &amr, &g.AuthTime, &g.Expires, &g.CreatedAt)
	if err != nil {
		return GrantRecord{}, missing("grant", err)
	}
	for text, list := range map[*string]*[]string{&scopes: &g.Scopes, &roles: &g.Roles, &chain: &g.Chain, &configured: &g.Configured, &amr: &g.AMR} {
		if err := json.Unmarshal([]byte(*text), list); err != nil {
			return GrantRecord{}, fmt.Errorf("store: grant: %w", err)
		}
	}
	return g, nil
}

// lists writes lists as JSON, an absent one as an empty one.
func lists(all ...[]string) ([]string, error) {
	out := make([]string, len(all))
	for i, l := range all {
		text, err := json.Marshal(slices.Concat([]string{}, l))
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		out[i] = string(text)
		if l == nil {
			out[i] = "[]"
		}
	}
	return out, nil
}

// missing makes "no such row" the fault it is for the caller.
func missing(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(codes.NotFound, fault.NotFound, "there is no such "+what)
	}
	return fmt.Errorf("store: read %s: %w", what, err)
}
