package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/policy"
	"github.com/spf13/cobra"
)

func policyCommand() *cobra.Command {
	return group("policy", "Check, test and explain policies",
		policyOf("check", "Parse, validate and lint the policies", checkPolicies),
		policyOf("test", "Run the *.policytest.yaml beside the policies and report what they cover", testPolicies),
		explainCommand(),
	)
}

func policyOf(use, short string, do func(io.Writer, *policy.Set, string) error) *cobra.Command {
	file := ""
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Example: "  behalf policy " + use + " -c examples/supportdesk/behalf.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, options, err := load(file, nil, behalf.WithoutPolicyTests())
			if err != nil {
				return err
			}
			set, err := behalf.Policies(cfg, options...)
			if err != nil {
				return wrongInput(err)
			}
			return do(c.OutOrStdout(), set, cfg.Policy.Dir)
		},
	}
	configFlag(c, &file)
	return c
}

func checkPolicies(out io.Writer, set *policy.Set, _ string) error {
	for _, w := range set.Warnings() {
		fmt.Fprintln(out, wrapped(out, "warning: "+w))
	}
	fmt.Fprintf(out, "%d policies are fine (revision %s)\n", len(set.Policies()), set.Revision())
	return nil
}

func testPolicies(out io.Writer, set *policy.Set, dir string) error {
	results, err := policy.RunTests(set, os.DirFS(dir))
	if err != nil {
		return wrongInput(err)
	}
	if len(results) == 0 {
		return wrongInput(fmt.Errorf("%s has no *.policytest.yaml; docs/policies.md and examples/supportdesk/policies show how one looks", near(dir)))
	}
	p, failed := paintFor(out), 0
	for _, r := range results {
		mark := p.good("ok  ")
		if len(r.Failures) > 0 {
			mark, failed = p.bad("FAIL"), failed+1
		}
		fmt.Fprintln(out, mark, r.Case.Name, p.dim("("+r.At+")"))
		for _, why := range r.Failures {
			fmt.Fprintln(out, "     ", why)
		}
	}
	cover := policy.CoverageOf(set, results)
	fmt.Fprintf(out, "\n%d cases, %d failed\n", len(results), failed)
	if len(cover.Undetermined) > 0 {
		fmt.Fprintln(out, wrapped(out, "no case is decided by: "+strings.Join(cover.Undetermined, ", ")))
	}
	if len(cover.Unpaired) > 0 {
		fmt.Fprintln(out, wrapped(out, "no pair (denied with it, allowed without) shows: "+strings.Join(cover.Unpaired, ", ")))
	}
	if failed > 0 {
		return errors.New("policy tests failed")
	}
	return nil
}
