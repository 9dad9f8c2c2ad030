package identity

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestPatternsMatchBySegment(t *testing.T) {
	for _, row := range []struct {
		pattern, id string
		want        bool
	}{
		{"spiffe://a.b/x", "spiffe://a.b/x", true},
		{"spiffe://a.b/x", "spiffe://a.b/X", false},
		{"spiffe://a.b/x", "spiffe://a.b/x/y", false},
		{"spiffe://a.b/x", "spiffe://a.b/xy", false},
		{"spiffe://a.b/x", "spiffe://other/x", false},
		{"spiffe://a.b/x", "spiffe://a.bc/x", false},
		{"spiffe://a.b/*", "spiffe://a.b/x", true},
		{"spiffe://a.b/*", "spiffe://a.b/x/y", false},
		{"spiffe://a.b/ns/*/sa/*", "spiffe://a.b/ns/n/sa/s", true},
		{"spiffe://a.b/ns/*/sa/*", "spiffe://a.b/ns/n/m/sa/s", false},
		{"spiffe://a.b/ns/*/sa/*", "spiffe://a.b/ns/n/sb/s", false},
		{"spiffe://a.b/**", "spiffe://a.b/x", true},
		{"spiffe://a.b/**", "spiffe://a.b/x/y/z", true},
		{"spiffe://a.b/ns/**", "spiffe://a.b/ns", false},
		{"spiffe://a.b/ns/**", "spiffe://a.b/ns/x", true},
		{"spiffe://a.b/ns/**", "spiffe://a.b/nsx/x", false},
		{"spiffe://a.b/*/x/**", "spiffe://a.b/y/x/z", true},
		{"spiffe://a.b/*/x/**", "spiffe://a.b/y/z/z", false},
	} {
		p, err := parsePattern(row.pattern)
		if err != nil {
			t.Errorf("%s: %v", row.pattern, err)
			continue
		}
		if got := p.matches(spiffeid.RequireFromString(row.id)); got != row.want {
			t.Errorf("%s on %s: got %v, want %v", row.pattern, row.id, got, row.want)
		}
	}
}

func TestMalformedPatternsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "*", "**", "spiffe://", "spiffe://a.b", "spiffe://a.b/", "spiffe://a.b//x", "spiffe://a.b/x/", "spiffe://*/x",
		"spiffe://A.b/x", "spiffe://a.b/**/x", "spiffe://a.b/x*", "spiffe://a.b/***", "spiffe://a.b/../x", "spiffe://a.b/%61",
		"https://a.b/x", "SPIFFE://a.b/x", "spiffe://a.b/x?y", "spiffe://a.b/x y",
	} {
		if _, err := parsePattern(text); err == nil {
			t.Errorf("%q: got none, want an error", text)
		}
	}
}
