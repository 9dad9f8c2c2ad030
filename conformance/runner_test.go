package conformance_test

import (
	"fmt"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestEveryExpectationIsChecked spoils one expectation at a time: a case that still
// passes then is one that the runner does not really check.
func TestEveryExpectationIsChecked(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every case once for each of its expectations")
	}
	g, err := newGates()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range loadCases(t) {
		if _, missing := notYet[c.ID]; missing {
			continue
		}
		variants := []*testCase{&c}
		if len(wants[c.ID]) > 0 {
			variants = nil
		}
		for _, want := range wants[c.ID] {
			w, err := c.changed(want)
			if err != nil {
				t.Fatal(err)
			}
			variants = append(variants, w)
		}
		t.Run(c.ID, func(t *testing.T) {
			for _, v := range variants {
				spoilEach(t, v, g)
			}
		})
	}
}

func spoilEach(t *testing.T, c *testCase, g *gates) {
	t.Helper()
	spoils := c.spoils()
	if len(spoils) == 0 {
		t.Error("the case expects nothing")
	}
	for _, s := range spoils {
		restore := s.do()
		if len(perform(t, c, g)) == 0 {
			t.Errorf("the case passes with a wrong %s", s.what)
		}
		restore()
	}
}

// spoil makes one expectation wrong and gives the way back.
type spoil struct {
	what string
	do   func() (restore func())
}

// with spoils a value.
func with[T any](what string, at *T, wrong func(T) T) spoil {
	return spoil{what, func() func() {
		old := *at
		*at = wrong(old)
		return func() { *at = old }
	}}
}

func more(s string) string { return s + "§" }

func none(string) string { return "" }

// spoils are the expectations of a case.
func (c *testCase) spoils() []spoil {
	var all []spoil
	if c.BuildError != "" {
		all = append(all, with("build error", &c.BuildError, none))
	}
	for i := range c.Steps {
		all = append(all, c.Steps[i].spoils(i+1)...)
	}
	for key := range c.Calls {
		all = append(all, spoil{"calls of " + key, func() func() {
			c.Calls[key]++
			return func() { c.Calls[key]-- }
		}})
	}
	all = append(all, spoilTexts("sees", c.Sees)...)
	all = append(all, spoilTexts("offers", c.Offers)...)
	for i := range c.Check {
		if ch := &c.Check[i]; ch.Op == "" {
			all = append(all, with(fmt.Sprintf("check %d", i+1), &ch.Expect, more))
		}
	}
	return all
}

func (s *step) spoils(n int) []spoil {
	var all []spoil
	for what, l := range map[string]*lines{"event": s.Events, "result": s.Result} {
		if l == nil {
			continue
		}
		for i, set := range *l {
			for j := range set {
				all = append(all, with(fmt.Sprintf("%s %d of step %d", what, i+1, n), &set[j], more))
			}
		}
		all = append(all, with(what+"s: one less", l, func(l lines) lines { return l[:len(l)-1] }))
	}
	if s.Stop.Kind != 0 {
		all = append(all, with("stop", &s.Stop, func(n yaml.Node) yaml.Node {
			n.Tag, n.Value = "!!str", more(n.Value)
			return n
		}))
	}
	for i := range s.HandoffCtx {
		all = append(all, with("hand-off context", &s.HandoffCtx[i], more))
	}
	if s.Error != "" {
		all = append(all, with("error", &s.Error, none))
	}
	if s.Second != "" {
		all = append(all, with("second", &s.Second, func(string) string { return "CancelledError" }))
	}
	return all
}

func spoilTexts(what string, all map[string]map[int][]string) []spoil {
	var out []spoil
	for key, calls := range all {
		for n, texts := range calls {
			at := fmt.Sprintf("%s of %s %d", what, key, n)
			for i := range texts {
				out = append(out, with(at, &texts[i], more))
			}
			out = append(out, spoil{at + ": one more", func() func() {
				all[key][n] = append(texts[:len(texts):len(texts)], "§")
				return func() { all[key][n] = texts }
			}})
		}
	}
	return out
}
