package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/lifecycle"
	"github.com/spf13/cobra"
)

// testReport is what a run of the policy tests gave, as machines read it.
type testReport struct {
	Revision string         `json:"policy_revision"`
	Cases    []caseReport   `json:"cases"`
	Failed   int            `json:"failed"`
	Coverage []policyReport `json:"coverage"`
	Gaps     int            `json:"gaps"`
}

type caseReport struct {
	Name     string   `json:"name"`
	At       string   `json:"at"`
	Failures []string `json:"failures,omitempty"`
}

type policyReport struct {
	ID      string `json:"id"`
	Effect  string `json:"effect"`
	At      string `json:"at"`
	Cases   int    `json:"cases"`
	With    string `json:"with,omitempty"`    // of a forbid's pair
	Without string `json:"without,omitempty"` // and the case that is allowed without it
	Gap     string `json:"gap,omitempty"`
}

func policyTestCommand() *cobra.Command {
	asJSON, covered := false, false
	c := policyOf("test", "Run the *.policytest.yaml beside the policies and report what they cover", func(out io.Writer, set *policy.Set, dir string) error {
		r, err := testPolicies(set, dir)
		if err != nil {
			return err
		}
		if asJSON {
			err = json.NewEncoder(out).Encode(r)
		} else {
			err = r.print(out)
		}
		return errors.Join(err, r.verdict(covered))
	})
	c.Long = "Runs the *.policytest.yaml beside the policies and reports what they cover: each policy decides at least one case, and each\n" +
		"forbid is shown by a pair, one case that it decides and one of the same action and resource that is allowed without it. A\n" +
		"server puts no policies in force whose tests fail, nor with policy.require_coverage any that are not covered."
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&covered, "require-coverage", false, "exit 1 if a policy is not shown by the cases")
	return c
}

func testPolicies(set *policy.Set, dir string) (*testReport, error) {
	results, err := lifecycle.RunTests(set, os.DirFS(dir))
	if err != nil {
		return nil, wrongInput(err)
	}
	if len(results) == 0 {
		return nil, wrongInput(fmt.Errorf("%s has no *.policytest.yaml; docs/policies.md and examples/supportdesk/policies show how one looks", near(dir)))
	}
	r := &testReport{Revision: set.Revision()}
	for _, one := range results {
		r.Cases = append(r.Cases, caseReport{one.Case.Name, one.At, one.Failures})
		if len(one.Failures) > 0 {
			r.Failed++
		}
	}
	for _, s := range lifecycle.CoverageOf(set, results).Policies {
		r.Coverage = append(r.Coverage, policyReport{s.ID, effect(s.Permit), fmt.Sprintf("%s:%d", s.File, s.Line), s.Cases, s.With, s.Without, s.Gap()})
		if s.Gap() != "" {
			r.Gaps++
		}
	}
	return r, nil
}

func effect(permit bool) string {
	if permit {
		return "permit"
	}
	return "forbid"
}

func (r *testReport) verdict(covered bool) error {
	switch {
	case r.Failed > 0:
		return errors.New("policy tests failed")
	case covered && r.Gaps > 0:
		return fmt.Errorf("%d of %d policies are not covered by the cases", r.Gaps, len(r.Coverage))
	}
	return nil
}

func (r *testReport) print(out io.Writer) error {
	p := paintFor(out)
	for _, c := range r.Cases {
		mark := p.good("ok  ")
		if len(c.Failures) > 0 {
			mark = p.bad("FAIL")
		}
		fmt.Fprintln(out, mark, clean(c.Name), p.dim("("+c.At+")"))
		for _, why := range c.Failures {
			fmt.Fprintln(out, "     ", why)
		}
	}
	fmt.Fprintf(out, "\n%d cases, %d failed\n\n", len(r.Cases), r.Failed)
	rows := [][]string{{"POLICY", "", "AT", "CASES", "SHOWN BY"}}
	for _, c := range r.Coverage {
		shown := c.Gap
		if shown == "" && c.Without != "" {
			shown = c.With + ", and without it " + c.Without
		}
		rows = append(rows, []string{c.ID, c.Effect, c.At, fmt.Sprint(c.Cases), shown})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d of %d policies are covered\n", len(r.Coverage)-r.Gaps, len(r.Coverage))
	return nil
}
