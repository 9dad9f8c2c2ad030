package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	file := ""
	c := &cobra.Command{
		Use: "serve", Short: "Run the service of a config file", Args: cobra.NoArgs,
		Example: "  behalf serve -c /etc/behalf/behalf.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, options, err := load(file, (*config.Config).CheckServe)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(&plain{c.ErrOrStderr()}, nil))
			s, err := behalf.New(c.Context(), cfg, append(options, behalf.WithLogger(log), behalf.WithVersion(version()), behalf.WithReload(func() (*config.Config, error) { return served(file) }))...)
			if err != nil {
				return started(err, "other addresses under server.listen and server.http", "another runs.dir and store.dsn")
			}
			return s.Run(c.Context())
		},
	}
	configFlag(c, &file)
	return c
}

// served is what a file says now, for a server that runs.
func served(file string) (*config.Config, error) {
	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	if list := cfg.CheckServe(); len(list) > 0 {
		return nil, &config.Problems{List: list}
	}
	return cfg, nil
}

func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "behalf.yaml", "config file")
}

// examples are the tools that this program brings: `builtin: supportdesk`.
func examples() ([]behalf.Option, error) {
	desk, err := supportdesk.New()
	if err != nil {
		return nil, err
	}
	return []behalf.Option{behalf.WithTools("supportdesk", desk.Tools()...)}, nil
}

func configCommand() *cobra.Command {
	file := ""
	check := &cobra.Command{
		Use: "check", Short: "Show every mistake of a config file, and what each agent can do at most", Args: cobra.NoArgs,
		Long:    "Shows every mistake of a config file and of the policies, tools, models and keys that it names, and what each agent can\ndo at most. Starts nothing, writes nothing, calls nobody.",
		Example: "  behalf config check -c examples/supportdesk/behalf.yaml",
		RunE:    func(c *cobra.Command, _ []string) error { return checkConfig(c.OutOrStdout(), file) },
	}
	configFlag(check, &file)
	return group("config", "Look at a config file", check)
}

func checkConfig(out io.Writer, file string) error {
	cfg, options, err := load(file, nil)
	if err != nil {
		return err
	}
	known, facts, err := behalf.Check(cfg, options...)
	if err != nil {
		return wrongInput(err)
	}
	rows, notes := [][]string{{"AGENT", "CEILING", "MAY CALL", "OF WHICH WRITE"}}, []string(nil)
	ceilings := cfg.Ceilings(known, facts)
	for _, a := range ceilings {
		rows = append(rows, []string{a.Agent, a.String(), orDash(a.Tools), orDash(a.Writes)})
		if a.Warning != nil {
			notes = append(notes, "warning: "+a.Warning.String())
		}
	}
	if names := unread(ceilings, known); len(names) > 0 {
		notes = append(notes, "note: nothing is known yet of "+strings.Join(names, ", ")+": until the backend is reached each counts as a write, whatever the file says of it. A descriptor_set or tools.lock tells before")
	}
	more, err := behalf.Notes(cfg, options...)
	if err != nil {
		return wrongInput(err)
	}
	for _, n := range append(cfg.Notes(), more...) {
		notes = append(notes, "note: "+n.String())
	}
	for _, n := range cfg.CheckServe() {
		notes = append(notes, "note: `serve` would refuse this file: "+n.String())
	}
	if err := table(out, rows); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, n := range notes {
		fmt.Fprintln(out, wrapped(out, n))
	}
	fmt.Fprintf(out, "%s is fine (revision %.16s)\n", file, cfg.Revision())
	return nil
}

// unread are the tools that count as writes only because nothing is known of them.
func unread(ceilings []config.Ceiling, known map[string][]string) (names []string) {
	here := slices.Concat(slices.Collect(maps.Values(known))...)
	for _, c := range ceilings {
		for _, tool := range c.Writes {
			if !slices.Contains(here, tool) {
				names = append(names, tool)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func orDash(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, " ")
}
