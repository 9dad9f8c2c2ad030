package runstest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// Index is a [runs.Index] and [runs.Grants] in memory. It may be used by many
// goroutines.
type Index struct {
	mu       sync.Mutex
	runs     map[[2]string]runs.RunRecord
	sessions map[[2]string]runs.SessionRecord
	grants   map[string]runs.GrantRecord
	requests map[request]runs.RunRecord
	voices   []runs.Voice
}

type request struct {
	tenant     string
	owner      runs.Owner
	method, id string
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	return &Index{
		runs: map[[2]string]runs.RunRecord{}, sessions: map[[2]string]runs.SessionRecord{},
		grants: map[string]runs.GrantRecord{}, requests: map[request]runs.RunRecord{},
	}
}

// PutRun implements runs.Index.
func (x *Index) PutRun(_ context.Context, r runs.RunRecord) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.RequestID != "" {
		id := request{r.Tenant, r.Owner, r.Method, r.RequestID}
		if other, taken := x.requests[id]; taken && other.RunID != r.RunID {
			return errors.New("the request id is taken")
		}
		x.requests[id] = r
	}
	k := [2]string{r.Tenant, r.RunID}
	if old, ok := x.runs[k]; ok {
		old.State, old.StopReason, old.Updated, old.Detached = r.State, r.StopReason, r.Updated, r.Detached
		r = old
	}
	x.runs[k] = r
	return nil
}

// Begin implements runs.Index.
func (x *Index) Begin(ctx context.Context, s runs.SessionRecord, r runs.RunRecord, g *runs.GrantRecord, room runs.Room) error {
	if err := x.has(s, r, room); err != nil {
		return err
	}
	if err := x.PutRun(ctx, r); err != nil || g == nil {
		return errors.Join(err, x.PutSession(ctx, s))
	}
	return errors.Join(x.PutGrant(ctx, *g), x.PutSession(ctx, s))
}

// has says whether there is room. Between it and what is stored another may begin:
// exact is the store.
func (x *Index) has(s runs.SessionRecord, r runs.RunRecord, room runs.Room) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	kept, at := 0, 0
	for _, o := range x.sessions {
		if o.Tenant == s.Tenant && o.Owner == s.Owner && !o.Deleted {
			kept++
		}
	}
	for _, o := range x.runs {
		if o.Tenant == r.Tenant && o.Owner == r.Owner && o.Detached && o.State == runs.StateRunning {
			at++
		}
	}
	switch {
	case room.Sessions > 0 && kept >= room.Sessions:
		return runs.TooManySessions(room.Sessions, "")
	case room.Detached > 0 && at >= room.Detached:
		return runs.TooManyRuns(room.Detached)
	}
	return nil
}

// UpdateRunState implements runs.Index.
func (x *Index) UpdateRunState(_ context.Context, tenant, runID, state, stopReason string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, err := find(x.runs, tenant, runID)
	if err == nil {
		r.State, r.StopReason = state, stopReason
		x.runs[[2]string{tenant, runID}] = r
	}
	return err
}

// RunByID implements runs.Index.
func (x *Index) RunByID(_ context.Context, tenant, runID string) (runs.RunRecord, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return find(x.runs, tenant, runID)
}

// RequestID implements runs.Index. It knows no clock: ids are kept for ever.
func (x *Index) RequestID(_ context.Context, tenant string, o runs.Owner, method, id string) (runID, digest string, ok bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, ok := x.requests[request{tenant, o, method, id}]
	return r.RunID, r.RequestDigest, ok, nil
}

// ListRuns implements runs.Index.
func (x *Index) ListRuns(_ context.Context, tenant string, o runs.Owner, after string, limit int) ([]runs.RunRecord, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []runs.RunRecord
	for _, r := range x.runs {
		if r.Tenant == tenant && r.Owner == o {
			all = append(all, r)
		}
	}
	return page(all, after, limit, func(r runs.RunRecord) (int64, string) { return r.Created, r.RunID }), nil
}

// OpenRuns implements runs.Index.
func (x *Index) OpenRuns(context.Context) ([]runs.RunRecord, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []runs.RunRecord
	for _, r := range x.runs {
		if r.State == runs.StateRunning || r.State == runs.StateWaiting {
			all = append(all, r)
		}
	}
	return all, nil
}

// PutSession implements runs.Index.
func (x *Index) PutSession(_ context.Context, s runs.SessionRecord) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sessions[[2]string{s.Tenant, s.SessionID}] = s
	return nil
}

// SessionByID implements runs.Index.
func (x *Index) SessionByID(_ context.Context, tenant, sessionID string) (runs.SessionRecord, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return find(x.sessions, tenant, sessionID)
}

// DeleteSession implements runs.Index.
func (x *Index) DeleteSession(_ context.Context, tenant, sessionID string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, err := find(x.sessions, tenant, sessionID)
	delete(x.sessions, [2]string{tenant, sessionID})
	return err
}

// ListSessions implements runs.Index.
func (x *Index) ListSessions(_ context.Context, tenant string, o runs.Owner, after string, limit int) ([]runs.SessionRecord, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []runs.SessionRecord
	for _, s := range x.sessions {
		if s.Tenant == tenant && s.Owner == o {
			all = append(all, s)
		}
	}
	return page(all, after, limit, func(s runs.SessionRecord) (int64, string) { return s.Created, s.SessionID }), nil
}

// PutGrant implements runs.Grants.
func (x *Index) PutGrant(_ context.Context, g runs.GrantRecord) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, ok := x.grants[g.ID]
	if ok && (old.Tenant != g.Tenant || old.Issuer != g.Issuer || old.Subject != g.Subject || old.Workload != g.Workload) {
		return fault.New(codes.PermissionDenied, fault.OwnerMismatch, "this grant was made for somebody else")
	}
	x.grants[g.ID] = g
	return nil
}

// Grant implements runs.Grants.
func (x *Index) Grant(_ context.Context, id string) (runs.GrantRecord, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	g, ok := x.grants[id]
	if !ok {
		return g, missing()
	}
	return g, nil
}

// PutVoice implements runs.Voices.
func (x *Index) PutVoice(ctx context.Context, v runs.Voice) error {
	if err := x.PutGrant(ctx, v.Grant); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for i, o := range x.voices {
		if o.Grant.Tenant != v.Grant.Tenant || o.SessionID != v.SessionID {
			continue
		}
		if n++; runs.OwnerOf(o.Grant.Restore()) == runs.OwnerOf(v.Grant.Restore()) {
			x.voices[i] = v
			return nil
		}
	}
	if n >= runs.MaxVoices {
		return runs.TooManyVoices()
	}
	x.voices = append(x.voices, v)
	return nil
}

// Voices implements runs.Voices.
func (x *Index) Voices(_ context.Context, tenant, sessionID string) (all []runs.Voice, _ error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, v := range x.voices {
		if v.Grant.Tenant == tenant && v.SessionID == sessionID {
			all = append(all, v)
		}
	}
	return all, nil
}

func find[T any](all map[[2]string]T, tenant, id string) (T, error) {
	v, ok := all[[2]string{tenant, id}]
	if !ok {
		return v, missing()
	}
	return v, nil
}

func missing() error { return fault.New(codes.NotFound, fault.NotFound, "there is no such thing") }

// page sorts newest first and cuts out what lies behind after.
func page[T any](all []T, after string, limit int, key func(T) (int64, string)) []T {
	slices.SortFunc(all, func(a, b T) int {
		ta, ia := key(a)
		tb, ib := key(b)
		return cmp.Or(cmp.Compare(tb, ta), cmp.Compare(ib, ia))
	})
	if after != "" {
		at := slices.IndexFunc(all, func(v T) bool { _, id := key(v); return id == after })
		all = all[at+1:]
	}
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}

var (
	_ runs.Index  = (*Index)(nil)
	_ runs.Grants = (*Index)(nil)
	_ runs.Voices = (*Index)(nil)
)
