package engine

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// StepUp is how strongly, and how lately, a person must have proved who they are.
type StepUp struct {
	ACR    string        // authentication context class; empty: any
	MaxAge time.Duration // since they proved themselves; 0: any
}

// IsZero says that nothing is asked for.
func (s StepUp) IsZero() bool { return s == StepUp{} }

// and asks for both, as far as one proof can be both: of two classes it names the
// first, of two ages the shorter.
func (s StepUp) and(o StepUp) StepUp {
	s.ACR = cmp.Or(s.ACR, o.ACR)
	if s.MaxAge == 0 || o.MaxAge > 0 && o.MaxAge < s.MaxAge {
		s.MaxAge = o.MaxAge
	}
	return s
}

// parseStepUp reads "acr:mfa", "max_age:5m" or both with a comma between.
func parseStepUp(text string) (s StepUp, err error) {
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), ":")
		switch {
		case key == "acr" && s.ACR == "" && value != "" && !strings.ContainsAny(value, " \t\n"):
			s.ACR = value
		case key == "max_age" && s.MaxAge == 0:
			if s.MaxAge, err = parseWindow(value); err != nil {
				return s, err
			}
		case key == "acr" && s.ACR != "", key == "max_age":
			return s, fmt.Errorf("%s is said twice", key)
		default:
			return s, errors.New(`want what the person must prove, e.g. "acr:mfa" or "max_age:5m"`)
		}
	}
	return s, nil
}

// stepUp is what of the rule's demand the query's person does not meet; a class is
// compared as a whole, because classes have no order. When somebody proved
// themselves is the token's to say: one that does not say is too old.
func (r *rule) stepUp(q *Query) (missing StepUp) {
	for _, d := range r.duties {
		if d.Kind != KindStepUp {
			continue
		}
		need, err := parseStepUp(d.Text) // one that cannot be read leaves its forbid standing
		if err == nil && !need.met(q) {
			missing = missing.and(need)
		}
	}
	return missing
}

func (s StepUp) met(q *Query) bool {
	u := q.Grant.Principal().User
	switch {
	case u == nil, s.ACR != "" && u.ACR != s.ACR:
		return false
	case s.MaxAge == 0:
		return true
	}
	return !u.AuthTime.IsZero() && q.Time.Sub(u.AuthTime) <= s.MaxAge
}
