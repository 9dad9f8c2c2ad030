package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// pattern matches SPIFFE IDs by segment: an exact segment, `*` for any one, and
// `**` as the last for one or more. Trust domains match exactly.
type pattern struct {
	trustDomain string
	segments    []string
}

// Matches reports whether a verified SPIFFE ID fits a pattern. What is not a
// pattern, or not an ID, fits nothing.
func Matches(text, id string) bool {
	p, err := parsePattern(text)
	if err != nil {
		return false
	}
	parsed, err := spiffeid.FromString(id)
	return err == nil && p.matches(parsed)
}

func parsePattern(text string) (pattern, error) {
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return pattern{}, fmt.Errorf("%q does not begin with spiffe://", text)
	}
	td, path, ok := strings.Cut(rest, "/")
	if !ok {
		return pattern{}, fmt.Errorf("%q names a trust domain; to mean all of its workloads say %s/**", text, text)
	}
	if err := checkTrustDomain(td); err != nil {
		return pattern{}, fmt.Errorf("%q: %w", text, err)
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if err := checkSegment(s, i == len(segments)-1); err != nil {
			return pattern{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	return pattern{td, segments}, nil
}

func checkSegment(s string, last bool) error {
	switch {
	case s == "*":
		return nil
	case s == "**" && last:
		return nil
	case strings.Contains(s, "*"):
		return errors.New("`*` stands for a whole segment, `**` only at the end")
	}
	return spiffeid.ValidatePathSegment(s)
}

func (p pattern) matches(id spiffeid.ID) bool {
	if id.TrustDomain().Name() != p.trustDomain {
		return false
	}
	path := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	n := len(p.segments)
	if p.segments[n-1] == "**" {
		return len(path) >= n && segmentsMatch(p.segments[:n-1], path[:n-1])
	}
	return len(path) == n && segmentsMatch(p.segments, path)
}

func segmentsMatch(want, got []string) bool {
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == "*" || w == g })
}
