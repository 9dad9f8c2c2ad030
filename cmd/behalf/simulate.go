package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/lifecycle"
	"github.com/behalf-dev/behalf/store"
	"github.com/spf13/cobra"
)

// simulation is what `policy simulate` was asked for.
type simulation struct {
	file, candidate, store, tenant string
	since                          time.Duration
	json                           bool
}

func simulateCommand() *cobra.Command {
	var s simulation
	c := &cobra.Command{
		Use: "simulate", Short: "Decide recorded calls again by other policies, and list every change", Args: cobra.NoArgs,
		Long: "Decides the calls in an audit log again, by the policies of another folder with the tools and agents of the config file, and\n" +
			"lists every change by person and tool. The database is only read; a server may have it open. What depends on a value that\nwas redacted is unknown.",
		Example: "  behalf policy simulate -c behalf.yaml --candidate new-policies --store .behalf/behalf.db --since 168h",
		RunE:    func(c *cobra.Command, _ []string) error { return s.run(c.Context(), c.OutOrStdout()) },
	}
	configFlag(c, &s.file)
	c.Flags().StringVar(&s.candidate, "candidate", "", "folder of the policies to try (default: those of the config file, as they are now)")
	c.Flags().StringVar(&s.store, "store", ".behalf/behalf.db", "the database file; it is only read")
	c.Flags().StringVar(&s.tenant, "tenant", "", "only this tenant")
	c.Flags().DurationVar(&s.since, "since", 0, "only the last so long, e.g. 168h")
	c.Flags().BoolVar(&s.json, "json", false, "print JSON, one object a line: the changes, and a summary at the end")
	return c
}

func (s *simulation) run(ctx context.Context, out io.Writer) error {
	cfg, options, err := load(s.file, policiesIn(s.candidate), behalf.WithoutPolicyTests())
	if err != nil {
		return err
	}
	set, err := behalf.Policies(cfg, options...)
	if err != nil {
		return wrongInput(err)
	}
	db, err := store.OpenReadOnly(s.store)
	if err != nil {
		return wrongInput(err)
	}
	defer func() { _ = db.Close() }()
	result, err := lifecycle.Simulate(policy.NewEngine(set), s.wanted(db.Rows(ctx)))
	if err != nil {
		return err
	}
	if s.json {
		return simulationJSON(out, set.Revision(), result)
	}
	return printSimulation(out, set.Revision(), result)
}

// wanted are the records among the rows that were asked for.
func (s *simulation) wanted(rows iter.Seq2[audit.Row, error]) iter.Seq2[audit.Record, error] {
	since := int64(0)
	if s.since > 0 {
		since = time.Now().Add(-s.since).UnixNano()
	}
	return func(yield func(audit.Record, error) bool) {
		for row, err := range rows {
			if err == nil && (row.Time < since || s.tenant != "" && row.Tenant != s.tenant) {
				continue
			}
			var r audit.Record
			if err == nil {
				r, err = audit.Parse(row.Body)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func printSimulation(out io.Writer, revision string, s lifecycle.Simulation) error {
	fmt.Fprintf(out, "%s by policies %s: %d the same, %d changed, %d unknown", count(int64(s.Decisions), "recorded decision"), revision, s.Same, s.Changed, s.Unknown)
	fmt.Fprintf(out, "; %d more were not policy's to make\n", s.Others)
	if len(s.Changes) == 0 {
		return nil
	}
	rows := [][]string{{"TENANT", "PERSON", "CALL", "ROWS", "WAS", "WOULD BE", "FIRST"}}
	for _, c := range s.Changes {
		rows = append(rows, []string{c.Tenant, c.Who, c.What, fmt.Sprint(c.Rows), verdictText(c.Was), verdictText(c.Would), c.Example})
	}
	err := table(out, rows)
	if s.More > 0 {
		fmt.Fprintf(out, "and %s of kinds for which there was no room\n", count(int64(s.More), "row"))
	}
	return err
}

func verdictText(v lifecycle.Verdict) string {
	text := strings.TrimSpace(v.Decision + " " + v.Reason)
	if v.Decision == "unknown" {
		return "unknown: " + v.Reason
	}
	if len(v.Duties) > 0 {
		text += " " + strings.Join(v.Duties, " ")
	}
	if len(v.Policies) > 0 {
		text += " by " + strings.Join(v.Policies, " ")
	}
	return text
}

// verdictJSON is a verdict for machines.
type verdictJSON struct {
	Decision string   `json:"decision"`
	Reason   string   `json:"reason,omitempty"`
	Policies []string `json:"policies,omitempty"`
	Duties   []string `json:"duties,omitempty"`
}

func simulationJSON(out io.Writer, revision string, s lifecycle.Simulation) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for _, c := range s.Changes {
		err := e.Encode(map[string]any{
			"tenant": c.Tenant, "person": c.Who, "call": c.What, "rows": c.Rows, "first": c.Example,
			"was": verdictJSON(c.Was), "would_be": verdictJSON(c.Would),
		})
		if err != nil {
			return err
		}
	}
	return e.Encode(map[string]any{"summary": map[string]any{
		"policy_revision": revision, "decisions": s.Decisions, "same": s.Same, "changed": s.Changed, "unknown": s.Unknown, "others": s.Others, "more": s.More,
	}})
}
