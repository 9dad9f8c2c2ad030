package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
)

// Limits are the duties that something is taken from, in the order of Reservations.
func (d Decision) Limits() (all []Duty) {
	for _, duty := range d.Duties {
		if duty.Kind == KindRate || duty.Kind == KindBudget {
			all = append(all, duty)
		}
	}
	return all
}

// budget is @budget("200000 tokens/24h") or @budget("100 calls/1h").
type budget struct {
	rate
	tokens bool // else calls
}

func parseBudget(text string) (budget, error) {
	amount, per, ok := strings.Cut(text, "/")
	number, unit, two := strings.Cut(amount, " ")
	if !ok || !two || unit != "tokens" && unit != "calls" {
		return budget{}, errors.New(`want tokens per duration or calls per duration, e.g. "200000 tokens/24h"`)
	}
	r, err := parseRate(number + "/" + per)
	return budget{r, unit == "tokens"}, err
}

// reservation of a budget. Its bucket is the policy's and the person's, over all
// agents, sessions and streams. Tokens are taken by the model calls; any other call
// only needs that there are some left.
func (b budget) reservation(policyID, who string) audit.Reservation {
	unit := "calls"
	if b.tokens {
		unit = "tokens"
	}
	return audit.Reservation{
		Bucket: strings.Join([]string{policyID, unit, who}, bucketOf), Cost: 1, Limit: b.limit, Window: b.window,
		Reason: string(fault.BudgetExhausted), Probe: b.tokens,
	}
}

// softDuties are the duties of the soft forbids that hold for a query, by policy.
// Whether it is allowed is another question.
func (e *Engine) softDuties(q *Query) (all []Duty, err error) {
	defer recoverTo(&err)
	if u := q.Grant.Principal().User; u != nil && u.RolesUnknown {
		return nil, errRoles
	}
	t := e.newTrial()
	defer t.end()
	if err := t.prepare(q); err != nil {
		return nil, err
	}
	soft, err := t.authorize(func(s *shelf) *pile { return &s.soft })
	if err != nil {
		return nil, err
	}
	for _, id := range soft.ids {
		all = append(all, e.rules[id].duties...)
	}
	return all, nil
}

// TokenBudgets are the buckets that model calls of the query's run draw from.
func (e *Engine) TokenBudgets(q *Query) (all []audit.Reservation, err error) {
	duties, err := e.softDuties(q)
	for _, d := range duties {
		if d.Kind != KindBudget {
			continue
		}
		b, err := parseBudget(d.Text)
		if err != nil {
			return nil, fmt.Errorf("duty of policy %s: %w", d.PolicyID, err)
		}
		if b.tokens {
			all = append(all, b.reservation(d.PolicyID, bucketOwner(q)))
		}
	}
	return all, err
}

// Unseen is d with what must be taken out for whoever q is of, who only sees what
// comes of a call: nobody asks whether they might make it. An error denies.
func (e *Engine) Unseen(d Decision, q *Query) Decision {
	duties, err := e.softDuties(q)
	if err != nil {
		return Decision{Reason: string(fault.PolicyError), Err: err, Revision: d.Revision}
	}
	for _, duty := range duties {
		if duty.Kind == KindRedact {
			d = d.And(Decision{Allow: true, PolicyIDs: []string{duty.PolicyID}, Duties: []Duty{duty}})
		}
	}
	return d
}

// bucketOf stands between the policy and the person in the name of a bucket.
const bucketOf = "\x00"

// PolicyOf is the policy whose bucket it is.
func PolicyOf(bucket string) string {
	id, _, _ := strings.Cut(bucket, bucketOf)
	return id
}

func bucketOwner(q *Query) string { return q.Grant.Tenant() + "/" + q.Grant.Principal().Subject() }

// Reservations takes one from the bucket of each rate duty and each budget of
// calls. The bucket is of the policy and the person, so that nobody uses up
// another's. A rate's is also of the tier: work in the background keeps nobody
// waiting who sits in front of a screen. A budget is the person's over all tiers.
func (d Decision) Reservations(q *Query) ([]audit.Reservation, error) {
	var all []audit.Reservation
	who := bucketOwner(q)
	for _, duty := range d.Duties {
		switch duty.Kind {
		case KindRate:
			r, err := parseRate(duty.Text)
			if err != nil {
				return nil, fmt.Errorf("duty of policy %s: %w", duty.PolicyID, err)
			}
			all = append(all, audit.Reservation{Bucket: strings.Join([]string{duty.PolicyID, who, string(q.Grant.Tier())}, bucketOf), Cost: 1, Limit: r.limit, Window: r.window})
		case KindBudget:
			b, err := parseBudget(duty.Text)
			if err != nil {
				return nil, fmt.Errorf("duty of policy %s: %w", duty.PolicyID, err)
			}
			all = append(all, b.reservation(duty.PolicyID, who))
		}
	}
	return all, nil
}
