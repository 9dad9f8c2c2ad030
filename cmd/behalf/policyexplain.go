package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ask is a question about a decision as it stands on the command line.
type ask struct {
	client                       clientFlags
	file, policies               string // offline
	offline                      behalf.Offline
	tool, action, resource, args string
	user, workload, tier, acr    string
	roles, scopes, chain         []string
	at                           string
	scoped                       bool // --scopes was given, perhaps empty
}

func explainCommand() *cobra.Command {
	var a ask
	c := &cobra.Command{
		Use: "explain", Short: "Say what would be decided about a call, and by which policies", Args: cobra.NoArgs,
		Long: "Says what would be decided about a call, and by which policies. Nothing is done. It asks a server, for you or with --user for\nsomebody else; with -c, or with --policies beside it, it asks files and needs no server.",
		Example: "  behalf policy explain --as alice --tool refund_order --args '{\"order_id\":\"O-5001\",\"amount_cents\":74900,\"reason\":\"broken\"}'\n" +
			"  behalf policy explain -c behalf.yaml --policies new/ --user alice --roles support --scopes orders.refund --tool refund_order --args '{…}'",
		RunE: func(c *cobra.Command, _ []string) error {
			a.scoped = c.Flags().Changed("scopes")
			q, err := a.question()
			if err != nil {
				return err
			}
			folder, r, err := a.answer(c, q)
			if err != nil {
				return err
			}
			if !a.client.json {
				return printExplained(c.OutOrStdout(), q, r, folder)
			}
			line, err := jsonLine(r)
			fmt.Fprintln(c.OutOrStdout(), line)
			return err
		},
	}
	a.client.bind(c)
	a.bind(c)
	return c
}

func (a *ask) bind(c *cobra.Command) {
	configFlag(c, &a.file)
	f := c.Flags()
	f.StringVar(&a.policies, "policies", "", "policy folder instead of the config file's")
	f.StringVar(&a.offline.Tenant, "tenant", "", "tenant, without a server (default: local, if no tenant has policies of its own)")
	f.StringVar(&a.offline.Owner, "owner", "", "whose the run or session is, without a server (default: --user)")
	f.StringVar(&a.offline.Target, "of", "", "what the run or session is of, an agent or a group chat, without a server")
	f.StringVar(&a.tool, "tool", "", "tool that would be called")
	f.StringVar(&a.args, "args", "", "its arguments, JSON (default: {})")
	f.StringVar(&a.action, "action", "", "action of another call, as in a policy, e.g. run_agent")
	f.StringVar(&a.resource, "resource", "", "what it would be done to, as in a policy, e.g. 'Agent::\"triage\"'")
	f.StringVar(&a.user, "user", "", "subject of the person in question (default: you)")
	f.StringSliceVar(&a.roles, "roles", nil, "that person's roles")
	f.StringSliceVar(&a.scopes, "scopes", nil, "that person's scopes, or what yours are narrowed to")
	f.StringVar(&a.acr, "acr", "", "how that person proved themselves")
	f.StringSliceVar(&a.chain, "chain", nil, "agents from the outermost to the one that acts")
	f.StringVar(&a.tier, "tier", "", "interactive, background, api or subagent")
	f.StringVar(&a.workload, "workload", "", "SPIFFE ID of the calling workload in question")
	f.StringVar(&a.at, "time", "", "when, e.g. 2026-01-31T22:00:00Z (default: now)")
}

func (a *ask) question() (*behalfv1.ExplainDecisionRequest, error) {
	q := &behalfv1.ExplainDecisionRequest{
		Action: a.action, Resource: a.resource, ArgumentsJson: a.args, User: a.user, Roles: a.roles, DelegationChain: a.chain, Workload: a.workload,
	}
	switch {
	case a.tool != "" && (a.action != "" || a.resource != ""):
		return nil, wrongInput(errors.New("--tool asks about a call of a tool, --action and --resource about another call; give one of the two"))
	case a.tool != "":
		q.Action, q.Resource = "call_tool", "Tool::"+strconv.Quote(a.tool)
	case a.action == "" || a.resource == "":
		return nil, wrongInput(errors.New("name the call: --tool NAME, or --action NAME with --resource 'Type::\"id\"'"))
	}
	tier, ok := behalfv1.Tier_value["TIER_"+strings.ToUpper(a.tier)]
	if a.tier != "" && !ok {
		return nil, wrongInput(fmt.Errorf("--tier is interactive, background, api or subagent, not %q", a.tier))
	}
	q.Tier = behalfv1.Tier(tier)
	if a.scoped {
		q.Scopes = &behalfv1.Scopes{Values: a.scopes}
	}
	if a.acr != "" {
		q.Auth = &behalfv1.Auth{Acr: a.acr}
	}
	if a.at != "" {
		at, err := time.Parse(time.RFC3339, a.at)
		if err != nil {
			return nil, wrongInput(fmt.Errorf("--time: %w", err))
		}
		q.Time = timestamppb.New(at)
	}
	return q, nil
}

// answer asks the files if there are any to ask, else a server. The folder is
// where the policies lie, if that is known here.
func (a *ask) answer(c *cobra.Command, q *behalfv1.ExplainDecisionRequest) (folder string, r *behalfv1.ExplainDecisionResponse, err error) {
	if c.Flags().Changed("config") || a.policies != "" {
		return a.fromFiles(c.Context(), q)
	}
	ctx, conn, err := a.client.dial(c.Context())
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = conn.Close() }()
	r, err = behalfv1.NewAdminServiceClient(conn).ExplainDecision(ctx, q)
	return "", r, err
}

func (a *ask) fromFiles(ctx context.Context, q *behalfv1.ExplainDecisionRequest) (string, *behalfv1.ExplainDecisionResponse, error) {
	cfg, options, err := load(a.file, policiesIn(a.policies), behalf.WithoutPolicyTests())
	if err != nil {
		return "", nil, err
	}
	switch _, err := os.Stat(filepath.Join(cfg.Policy.Dir, "tenants")); {
	case a.user == "" && a.workload == "":
		return "", nil, wrongInput(errors.New("files do not know you: say who asks with --user and --roles, or --workload"))
	case a.offline.Tenant == "" && err == nil:
		return "", nil, wrongInput(errors.New("tenants have policies of their own here; say which with --tenant"))
	case a.offline.Target == "" && (strings.HasPrefix(q.GetResource(), "Run::") || strings.HasPrefix(q.GetResource(), "Session::")):
		return "", nil, wrongInput(errors.New("files know no runs and sessions; say with --of which agent or group chat it is of, and with --owner whose it is"))
	}
	if a.offline.Tenant == "" {
		a.offline.Tenant = "local"
	}
	if a.offline.Owner == "" {
		a.offline.Owner = a.user
	}
	r, err := behalf.Explain(ctx, cfg, a.offline, q, options...)
	return cfg.Policy.Dir, r, err
}

// policiesIn has a config take its policies from another folder.
func policiesIn(dir string) func(*config.Config) []config.Problem {
	if dir == "" {
		return nil
	}
	return func(c *config.Config) []config.Problem {
		c.Policy.Dir = dir
		return nil
	}
}

// printExplained says it to a person.
func printExplained(out io.Writer, q *behalfv1.ExplainDecisionRequest, r *behalfv1.ExplainDecisionResponse, folder string) error {
	p := paintFor(out)
	verdict := p.good("✓ ALLOWED")
	switch r.GetDecision() {
	case behalfv1.Decision_DECISION_ALLOW:
	case behalfv1.Decision_DECISION_WAIT:
		verdict = p.marked("… WAITS for somebody to agree")
	default:
		verdict = p.bad("✗ DENIED")
	}
	fmt.Fprintf(out, "%s  %s on %s%s\n", verdict, clean(q.GetAction()), clean(q.GetResource()), through(q))
	if by := r.GetRefusedBy(); by != "" {
		fmt.Fprintf(out, "refused by  %s, %s: %s\n", clean(by), word(r.GetReason().String(), "ERROR_REASON_"), clean(r.GetMessage()))
	}
	for _, l := range []struct {
		label string
		texts []string
	}{
		{"arguments", r.GetProblems()},
		{"lacks", r.GetMissingScopes()},
		{"error", r.GetErrors()},
		{"duty", r.GetDuties()},
		{"limit", limitTexts(r.GetLimits())},
		{"sends", sentences(r.GetSentArgumentsJson())},
	} {
		for _, text := range l.texts {
			fmt.Fprintf(out, "%-11s %s\n", l.label, clean(text))
		}
	}
	if len(r.GetMissingScopes()) > 0 && q.GetUser() != "" && q.GetScopes() == nil {
		fmt.Fprintln(out, "next        --scopes says which scopes that person has; without it they have none")
	}
	return printPolicies(out, r, folder)
}

// limitTexts say how much is left of what the call draws from.
func limitTexts(limits []*behalfv1.ExplainedLimit) (texts []string) {
	for _, l := range limits {
		text := fmt.Sprintf("%s of %s: %d of %d used", l.GetDuty(), l.GetPolicyId(), l.GetUsed(), l.GetLimit())
		if l.GetRefillsAt() != nil {
			text += ", used up; room again at " + l.GetRefillsAt().AsTime().Local().Format(time.DateTime)
		}
		texts = append(texts, text)
	}
	return texts
}

func through(q *behalfv1.ExplainDecisionRequest) string {
	text := ""
	if q.GetUser() != "" {
		text = " for " + clean(q.GetUser())
	}
	if len(q.GetDelegationChain()) > 0 {
		text += " through " + clean(strings.Join(q.GetDelegationChain(), "›"))
	}
	return text
}

func sentences(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// printPolicies lists the policies, those that decided first.
func printPolicies(out io.Writer, r *behalfv1.ExplainDecisionResponse, folder string) error {
	fmt.Fprintf(out, "policies    revision %s\n", clean(r.GetPolicyRevision()))
	if len(r.GetPolicies()) == 0 {
		none := "none was asked"
		if r.GetRefusedBy() == "policy" {
			none = "none is about such a call, and nothing is allowed that no permit names"
		}
		fmt.Fprintln(out, "            "+none)
		return nil
	}
	var rows [][]string
	for _, x := range r.GetPolicies() {
		place := clean(x.GetFile())
		if folder != "" {
			place = near(filepath.Join(folder, place))
		}
		rows = append(rows, []string{part(x), effect(x.GetPermit()), x.GetId(), fmt.Sprintf("%s:%d", place, x.GetLine()), strings.Join(x.GetDuties(), " ")})
	}
	return table(out, rows)
}

// part is what a policy had to do with the decision.
func part(x *behalfv1.ExplainedPolicy) string {
	switch {
	case x.GetFailed():
		return "FAILED"
	case x.GetDetermines():
		return "decides"
	case x.GetHolds() && len(x.GetDuties()) > 0:
		return "due"
	case x.GetHolds():
		return "holds"
	}
	return "does not hold"
}
