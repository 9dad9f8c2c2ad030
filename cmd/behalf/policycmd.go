package main

import (
	"fmt"
	"io"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/policy"
	"github.com/spf13/cobra"
)

func policyCommand() *cobra.Command {
	return group("policy", "Check, test, explain and try policies",
		policyCheckCommand(),
		policyTestCommand(),
		explainCommand(),
		simulateCommand(),
	)
}

func policyCheckCommand() *cobra.Command {
	strict := false
	c := policyOf("check", "Parse, validate and lint the policies", func(out io.Writer, set *policy.Set, _ string) error {
		return checkPolicies(out, set, strict)
	})
	c.Flags().BoolVar(&strict, "strict", false, "exit 1 if there is a warning")
	return c
}

// policyOf makes a command that looks at the policies of a config file.
func policyOf(use, short string, do func(out io.Writer, set *policy.Set, dir string) error) *cobra.Command {
	file, dir := "", ""
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Example: "  behalf policy " + use + " -c examples/supportdesk/behalf.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, options, err := load(file, policiesIn(dir), behalf.WithoutPolicyTests())
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
	c.Flags().StringVar(&dir, "policies", "", "policy folder instead of the config file's")
	return c
}

func checkPolicies(out io.Writer, set *policy.Set, strict bool) error {
	for _, w := range set.Warnings() {
		fmt.Fprintln(out, wrapped(out, "warning: "+w))
	}
	if n := len(set.Warnings()); strict && n > 0 {
		return fmt.Errorf("%s in the policies", count(int64(n), "warning"))
	}
	fmt.Fprintf(out, "%d policies are fine (revision %s)\n", len(set.Policies()), set.Revision())
	return nil
}
