package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/policy/redact"
)

// Kinds of duties.
const (
	KindApprove = "approve"
	KindBudget  = "budget"
	KindRate    = "rate"
	KindRedact  = "redact"
	KindStepUp  = "stepup"
)

// Bounds of a rate or budget.
const (
	maxAmount = 1_000_000_000
	maxWindow = 31 * 24 * time.Hour
)

var errUnknownDuty = errors.New("unknown duty")

// checkDuty reports what is wrong with a duty's text, errUnknownDuty for a kind
// that does not exist.
func checkDuty(kind, text string) error {
	var err error
	switch kind {
	case KindApprove:
		err = checkApprove(text)
	case KindBudget:
		_, err = parseBudget(text)
	case KindRate:
		_, err = parseRate(text)
	case KindRedact:
		_, err = redact.Parse(text)
	case KindStepUp:
		_, err = parseStepUp(text)
	default:
		err = errUnknownDuty
	}
	return err
}

// fulfillable reports whether this build knows how to meet the duty. What it
// cannot meet leaves the forbid standing.
func (d Duty) fulfillable() bool {
	switch d.Kind {
	case KindRate:
		_, err := parseRate(d.Text)
		return err == nil
	case KindApprove, KindBudget, KindStepUp:
		return checkDuty(d.Kind, d.Text) == nil
	case KindRedact:
		_, err := redact.Parse(d.Text)
		return err == nil
	}
	return false
}

// sortDuties gives the same list for any order in which policies were found.
func sortDuties(duties []Duty) []Duty {
	slices.SortFunc(duties, func(a, b Duty) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.PolicyID, b.PolicyID), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(duties)
}

// rate is @rate("60/1m"): so many per window.
type rate struct {
	limit  int64
	window time.Duration
}

func parseRate(text string) (rate, error) {
	n, per, ok := strings.Cut(text, "/")
	if !ok {
		return rate{}, errors.New(`want a number per duration, e.g. "60/1m"`)
	}
	limit, err := parseAmount(n)
	if err != nil {
		return rate{}, err
	}
	window, err := parseWindow(per)
	return rate{limit, window}, err
}

func parseAmount(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n < 1 || n > maxAmount || text[0] == '0' {
		return 0, fmt.Errorf("%q is not a whole number between 1 and %d", text, maxAmount)
	}
	return int64(n), nil
}

func parseWindow(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxWindow {
		return 0, fmt.Errorf("%q is not a duration between 1s and %dh", text, int(maxWindow.Hours()))
	}
	return d, nil
}

// checkApprove takes a role or a person: Role::"manager", User::"acme/bob".
func checkApprove(text string) error {
	for _, kind := range []string{"Role", "User"} {
		quoted, ok := strings.CutPrefix(text, kind+"::")
		if !ok {
			continue
		}
		id, err := strconv.Unquote(quoted)
		if err != nil || id == "" || quoted[0] != '"' {
			return fmt.Errorf("%s needs a quoted name", kind)
		}
		return nil
	}
	return errors.New(`want who approves, e.g. Role::\"manager\"`)
}
