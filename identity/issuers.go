package identity

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Issuers are all whose tokens are accepted at one time. They do not change, but for
// their keys.
type Issuers struct {
	of    map[string]*issuer
	order []*issuer
	fresh []*issuer // whose keys nobody has looked for
}

// issuers checks a list. An issuer that is trusted now, with its keys in the same
// place, keeps those that were fetched; one that did not change at all stays what
// verified tokens were verified by.
func (v *Verifier) issuers(list []Issuer) (*Issuers, error) {
	problems := ValidateTenants(list)
	for _, i := range list {
		problems = append(problems, i.Validate()...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	all := &Issuers{of: map[string]*issuer{}}
	for _, config := range list {
		i := v.issuer(config, list)
		if i.keys == nil {
			i.keys = v.keySet(i.Issuer)
			all.fresh = append(all.fresh, i)
		}
		all.of[config.Issuer] = i
		all.order = append(all.order, i)
	}
	return all, nil
}

// issuer is one of a list, the one that is trusted now if they are the same. Without
// keys it is new, or its keys are in a new place.
func (v *Verifier) issuer(config Issuer, list []Issuer) *issuer {
	config = config.withDefaults()
	config.TokenTypes = slices.Clone(config.TokenTypes)
	for n, t := range config.TokenTypes {
		config.TokenTypes[n] = normalType(t)
	}
	i := &issuer{Issuer: config}
	for _, other := range list {
		if _, shared := sharedTenant(config, other); shared && other.Issuer != config.Issuer && other.SubjectPrefix != "" {
			i.foreign = append(i.foreign, other.SubjectPrefix)
		}
	}
	now := v.trusted.Load()
	if now == nil || now.of[config.Issuer] == nil {
		return i
	}
	was := now.of[config.Issuer]
	if reflect.DeepEqual(was.Issuer, i.Issuer) && slices.Equal(was.foreign, i.foreign) {
		return was
	}
	if sameKeyPlace(was.Issuer, i.Issuer) {
		i.keys = was.keys
	}
	return i
}

func (v *Verifier) keySet(i Issuer) *keySet {
	return &keySet{issuer: i.Issuer, load: loader(i, v.roots), maxStale: i.MaxStale, now: v.now, log: v.log}
}

// sameKeyPlace compares all that a key set depends on.
func sameKeyPlace(a, b Issuer) bool {
	place := func(i Issuer) Issuer {
		return Issuer{
			Issuer: i.Issuer, JWKSURL: i.JWKSURL, JWKSFile: i.JWKSFile, JWKS: i.JWKS, Discovery: i.Discovery,
			AllowPrivateAddresses: i.AllowPrivateAddresses, MaxStale: i.MaxStale,
		}
	}
	return reflect.DeepEqual(place(a), place(b))
}

// Prepare checks other issuers and fetches the keys of those that are new, or whose
// keys are in a new place. Nothing is trusted by it: Replace does that. It fails if a
// list is wrong, or if keys cannot be had.
func (v *Verifier) Prepare(ctx context.Context, list []Issuer) (*Issuers, error) {
	next, err := v.issuers(list)
	if err != nil {
		return nil, err
	}
	if err := warm(ctx, next.fresh); err != nil {
		return nil, err
	}
	return next, nil
}

// Replace trusts these issuers from now on, and no others. What is open for persons
// of one that is gone is the caller's to end: see Trusts.
func (v *Verifier) Replace(next *Issuers) {
	v.trusted.Store(next)
	select {
	case v.replaced <- struct{}{}:
	default:
	}
}

// Trusts reports why a person who was verified once is not vouched for any more:
// their issuer is gone, or may not name their tenant, or not subjects like theirs.
// What else changed about an issuer holds for the next token.
func (v *Verifier) Trusts(u User) error {
	i := v.trusted.Load().of[u.Issuer]
	switch {
	case i == nil:
		return errors.New("the issuer is not configured")
	case !slices.Contains(i.asserts(), u.Tenant):
		return errors.New("the issuer may not name this tenant")
	}
	return i.names(u.Subject)
}

// Run keeps the issuers' keys fresh. An issuer that is away delays the others
// by the fetch timeout at most.
func (v *Verifier) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(v.refreshDue(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-v.replaced:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// refreshDue fetches what is due and gives the time until the next.
func (v *Verifier) refreshDue(ctx context.Context) time.Duration {
	next := v.now().Add(defaultTTL)
	for _, i := range v.trusted.Load().order {
		if !v.now().Before(i.keys.due()) {
			i.keys.refresh(ctx)
		}
		next = earlier(next, i.keys.due())
	}
	return max(next.Sub(v.now()), retryFirst)
}

// Warm fetches the keys of the named issuers once, without names of all, and fails
// if one cannot be had (`require_at_start`).
func (v *Verifier) Warm(ctx context.Context, names ...string) error {
	all := slices.DeleteFunc(slices.Clone(v.trusted.Load().order), func(i *issuer) bool {
		return len(names) > 0 && !slices.Contains(names, i.Issuer.Issuer)
	})
	return warm(ctx, all)
}

func warm(ctx context.Context, all []*issuer) error {
	var problems []error
	for _, i := range all {
		i.keys.refresh(ctx)
		if st := i.keys.status(); st.Fetched.IsZero() {
			problems = append(problems, fmt.Errorf("keys of %q: %w", i.Issuer.Issuer, errors.Join(st.Err)))
		}
	}
	return errors.Join(problems...)
}

// Status tells the state of each issuer's keys, in the order of configuration.
func (v *Verifier) Status() []KeySetStatus {
	var out []KeySetStatus
	for _, i := range v.trusted.Load().order {
		out = append(out, i.keys.status())
	}
	return out
}
