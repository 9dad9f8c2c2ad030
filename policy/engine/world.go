package engine

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/arguments"
)

// maxClosure bounds the entities of one request (SECURITY 9).
const maxClosure = 1_000

var (
	errClosure   = errors.New("the request has too many entities")
	errNoTime    = errors.New("the query has no time")
	ErrNobody    = errors.New("the query's grant has no principal")
	errNoTenant  = errors.New("the principal has no tenant")
	errNoTool    = errors.New("the policy set does not know the tool")
	errToolNames = errors.New("the query's tool and resource differ")
	errResource  = errors.New("the query's resource has no known type")
	errParent    = errors.New("the query's resource has a parent that its type cannot have")
	errForeign   = errors.New("the query's resource is of another tenant")
)

// world holds the entities of one request: the principal, the resource and all
// their ancestors. A missing entity would silently falsify a condition, so
// nothing is loaded lazily from elsewhere. It belongs to one evaluation.
type world struct {
	q         *Query
	tenant    string
	key       string // tenant/subject
	principal types.EntityUID
	resource  types.EntityUID
	above     []types.EntityUID // ancestors of principal
	over      []relation        // ancestors of resource
	direct    []types.EntityUID // parents of resource

	aboveRoom  [6]types.EntityUID // for the usual number of ancestors
	overRoom   [2]relation
	directRoom [2]types.EntityUID
	scratch    arguments.Scratch

	principalEntity, resourceEntity *types.Entity // built when first asked for
}

// relation is an ancestor of the resource with its own parents.
type relation struct {
	uid     types.EntityUID
	parents []types.EntityUID
}

func (w *world) fill(q *Query, tool *toolSchema) error {
	w.q, w.above, w.over, w.direct = q, w.aboveRoom[:0], w.overRoom[:0], w.directRoom[:0]
	if err := w.setPrincipal(); err != nil {
		return err
	}
	if err := w.setResource(tool); err != nil {
		return err
	}
	if len(w.above)+len(w.over)+2 > maxClosure {
		return errClosure
	}
	return nil
}

func (w *world) setPrincipal() error {
	p := w.q.Grant.Principal()
	if p.User == nil && p.Workload == nil {
		return ErrNobody
	}
	if w.tenant = p.Tenant(); w.tenant == "" {
		return errNoTenant
	}
	w.key = w.tenant + "/" + p.Subject()
	w.principal = types.EntityUID{Type: TypeUser, ID: types.String(w.key)}
	if p.User == nil {
		w.principal = types.EntityUID{Type: TypeWorkload, ID: types.String(p.Workload.ID)}
	} else {
		for _, role := range p.User.Roles {
			w.above = append(w.above, types.EntityUID{Type: TypeRole, ID: types.String(role)})
		}
	}
	w.above = append(w.above, w.tenantUID())
	return nil
}

func (w *world) tenantUID() types.EntityUID {
	return types.EntityUID{Type: TypeTenant, ID: types.String(w.tenant)}
}

func (w *world) setResource(tool *toolSchema) error {
	r := w.q.Resource
	w.resource = uidOf(r)
	if !slices.Contains(resourceTypes(), w.resource.Type) || r.ID == "" {
		return errResource
	}
	if err := w.addParents(&w.direct, r); err != nil {
		return err
	}
	if owned(w.resource.Type) {
		w.addParent(&w.direct, relation{uid: w.tenantUID()})
	}
	if tool != nil {
		return w.setToolset(tool.toolset)
	}
	return w.sameTenant()
}

func uidOf(e Entity) types.EntityUID {
	return types.EntityUID{Type: types.EntityType(e.Type), ID: types.String(e.ID)}
}

// setToolset takes the toolset from the schema. A query that says another one
// comes from a gate that disagrees with this policy set about its tools.
func (w *world) setToolset(toolset string) error {
	uid := types.EntityUID{Type: TypeToolset, ID: types.String(toolset)}
	for _, p := range w.direct {
		if p != uid {
			return errParent
		}
	}
	w.addParent(&w.direct, relation{uid: uid})
	return nil
}

// addParents walks up from e. The walk ends at maxClosure, so a deep or wide
// query cannot hold it up.
func (w *world) addParents(to *[]types.EntityUID, e Entity) error {
	for _, parent := range e.Parents {
		rel := relation{uid: uidOf(parent)}
		if !slices.Contains(parentTypes(types.EntityType(e.Type)), rel.uid.Type) || parent.ID == "" {
			return errParent
		}
		if len(w.over) >= maxClosure {
			return errClosure
		}
		if err := w.addParents(&rel.parents, parent); err != nil {
			return err
		}
		w.addParent(to, rel)
	}
	return nil
}

func (w *world) addParent(to *[]types.EntityUID, rel relation) {
	if !slices.Contains(*to, rel.uid) {
		*to = append(*to, rel.uid)
	}
	for i, known := range w.over {
		if known.uid == rel.uid {
			w.over[i].parents = append(slices.Clip(known.parents), rel.parents...)
			return
		}
	}
	w.over = append(w.over, rel)
}

// sameTenant holds that nothing of another tenant is ever decided upon.
func (w *world) sameTenant() error {
	mine := w.tenantUID()
	for _, rel := range w.over {
		if rel.uid.Type == TypeTenant && rel.uid != mine {
			return errForeign
		}
	}
	foreign := w.q.Resource.Owner != "" && !strings.HasPrefix(w.q.Resource.Owner, w.tenant+"/")
	if foreign || w.resource.Type == TypeTenant && w.resource != mine {
		return errForeign
	}
	return nil
}

// Get gives an entity to Cedar.
func (w *world) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case w.principal:
		return *w.lazyPrincipal(), true
	case w.resource:
		return *w.lazyResource(), true
	}
	for _, rel := range w.over {
		if rel.uid == uid {
			return types.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(rel.parents...)}, true
		}
	}
	// Roles, tenants and the action have no parents.
	return types.Entity{UID: uid}, slices.Contains(w.above, uid) || uid.Type == TypeAction
}

func (w *world) lazyPrincipal() *types.Entity {
	if w.principalEntity == nil {
		w.principalEntity = &types.Entity{
			UID:        w.principal,
			Parents:    cedar.NewEntityUIDSet(w.above...),
			Attributes: cedar.NewRecord(cedar.RecordMap{"key": types.String(w.key)}),
		}
	}
	return w.principalEntity
}

func (w *world) lazyResource() *types.Entity {
	if w.resourceEntity == nil {
		w.resourceEntity = &types.Entity{UID: w.resource, Parents: cedar.NewEntityUIDSet(w.direct...)}
		if owned(w.resource.Type) {
			owner := types.String(w.q.Resource.Owner)
			w.resourceEntity.Attributes = cedar.NewRecord(cedar.RecordMap{
				"owner":     types.EntityUID{Type: TypeUser, ID: owner},
				"owner_key": owner,
			})
		}
	}
	return w.resourceEntity
}

// request is the Cedar request with the fields of the context that a policy may
// look at. To a policy every field is always there; the others are left out
// because nothing reads them.
func (w *world) request(args cedar.Record, fields needs) cedar.Request {
	context := w.scratch.Open()
	for i, name := range contextNames() {
		if fields.has(i) {
			context[name] = w.field(i, args)
		}
	}
	return cedar.Request{Principal: w.principal, Action: actionUID(w.q.Action), Resource: w.resource, Context: w.scratch.Close()}
}

func (w *world) field(i int, args cedar.Record) types.Value {
	g := w.q.Grant
	switch i {
	case fieldArgs:
		return args
	case fieldAgent:
		return types.String(g.Agent())
	case fieldChain:
		return stringSet(g.Chain())
	case fieldDepth:
		return types.Long(len(g.Chain()))
	case fieldTier:
		return types.String(g.Tier())
	case fieldScopes:
		return stringSet(g.Scopes().Names())
	case fieldWorkload:
		return types.String(workloadID(g.Principal()))
	case fieldSession:
		return types.String(w.q.Session)
	case fieldTime:
		return types.NewDatetime(w.q.Time)
	}
	return w.auth()
}

func workloadID(p identity.Principal) string {
	if p.Workload == nil {
		return ""
	}
	return p.Workload.ID
}

func (w *world) auth() cedar.Record {
	u := w.q.Grant.Principal().User
	if u == nil {
		u = &identity.User{}
	}
	return cedar.NewRecord(cedar.RecordMap{"acr": types.String(u.ACR), "age": types.Long(ageAt(w.q.Time, u.AuthTime))})
}

// ageAt is how long ago the person proved themselves. Not known is as old as can
// be, so that a bound on the age denies.
func ageAt(now, since time.Time) int64 {
	if since.IsZero() {
		return math.MaxInt64
	}
	return max(0, int64(now.Sub(since)/time.Second))
}

func stringSet(names []string) cedar.Set {
	if len(names) == 0 {
		return cedar.Set{}
	}
	values := make([]types.Value, len(names))
	for i, n := range names {
		values[i] = types.String(n)
	}
	return cedar.NewSet(values...)
}
