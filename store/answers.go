package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// Request is one call with a request id. The id is its person's and the method's.
type Request struct {
	Tenant string
	Owner  Owner
	Method string
	ID     string
	CallID string // the call that is to answer it
	Digest string // of the request's body
}

// Answer is what is kept of a request: which call answers it, and how.
type Answer struct {
	CallID string
	Digest string
	Body   []byte // nil: it has not been answered yet, or never was
}

// maxAnswers bounds what is kept for one person and method.
const maxAnswers = 1000

// ClaimAnswer takes a request id for a call. Nil: it is the call's now. Otherwise it
// was taken within the last 24 hours.
func (s *Store) ClaimAnswer(ctx context.Context, r Request) (*Answer, error) {
	err := s.Do(ctx, func(tx *Tx) error {
		err := s.claimRequest(tx, RunRecord{Tenant: r.Tenant, Owner: r.Owner, Method: r.Method, RequestID: r.ID, RunID: r.CallID, RequestDigest: r.Digest})
		if err != nil {
			return err
		}
		return boundAnswers(tx, r, s.cfg.Clock())
	})
	taken, ok := errors.AsType[*RequestTaken](err)
	if !ok {
		return nil, err
	}
	a := &Answer{CallID: taken.RunID, Digest: taken.Digest}
	err = s.db.QueryRowContext(ctx, "SELECT body FROM answers WHERE tenant = $1 AND call_id = $2", r.Tenant, a.CallID).Scan(&a.Body)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("store: find an answer: %w", err)
	}
	return a, nil
}

func boundAnswers(tx *Tx, r Request, now time.Time) error {
	var n int
	var first int64
	err := tx.Row("SELECT count(*), COALESCE(min(created), 0) FROM requests WHERE tenant = $1 AND owner_issuer = $2 AND owner_subject = $3 AND method = $4 AND created > $5",
		[]any{r.Tenant, r.Owner.Issuer, r.Owner.Subject, r.Method, now.UnixNano() - int64(requestLife)}, &n, &first)
	if err != nil || n <= maxAnswers {
		return err
	}
	return fault.New(codes.ResourceExhausted, fault.RateLimited, "too many answers are kept for you; leave request_id empty, or wait until one is a day old").
		RetryIn(time.Unix(0, first).Add(requestLife).Sub(now))
}

// KeepAnswer keeps how a call was answered, for as long as its request id.
func (s *Store) KeepAnswer(ctx context.Context, tenant, callID string, body []byte) error {
	return s.Do(ctx, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO answers (tenant, call_id, body, created) VALUES ($1, $2, $3, $4)", tenant, callID, body, s.cfg.Clock().UnixNano())
		return err
	})
}

// DropAnswer frees a request id whose call was not made.
func (s *Store) DropAnswer(ctx context.Context, r Request) error {
	return s.Do(ctx, func(tx *Tx) error {
		_, err := tx.Exec("DELETE FROM requests WHERE tenant = $1 AND owner_issuer = $2 AND owner_subject = $3 AND method = $4 AND request_id = $5 AND run_id = $6",
			r.Tenant, r.Owner.Issuer, r.Owner.Subject, r.Method, r.ID, r.CallID)
		return err
	})
}
