package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

func approvalsCommand() *cobra.Command {
	list := listApprovals("list", cobra.NoArgs)
	c := group("approvals", "See and decide which tool calls of others may be made", list, showApproval(),
		decideApproval("approve", "Let the call be made, this once", behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE),
		decideApproval("deny", "Refuse the call", behalfv1.ApprovalDecision_APPROVAL_DECISION_DENY))
	alone := listApprovals("approvals", c.Args)
	c.RunE, c.Args = alone.RunE, alone.Args
	c.Flags().AddFlagSet(alone.Flags())
	c.Long = "Shows and decides approvals: single tool calls that a policy lets happen only if somebody else agrees. Without a\nsubcommand it lists those that wait, as far as you asked for them or may decide them. Nobody decides their own."
	c.Example = "  behalf approvals --as bob\n  behalf approvals approve apr_… --as bob --comment 'seen the receipt'"
	return c
}

func listApprovals(use string, args cobra.PositionalArgs) *cobra.Command {
	state := "pending"
	c := look(use, "List the approvals that you asked for or may decide",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListApprovalsResponse, error) {
			n, ok := behalfv1.ApprovalState_value["APPROVAL_STATE_"+strings.ToUpper(state)]
			if !ok || n == 0 {
				return nil, wrongInput(fmt.Errorf("--state %s: say pending, approved, denied, expired or consumed", state))
			}
			return behalfv1.NewApprovalServiceClient(conn).ListApprovals(c.Context(), &behalfv1.ListApprovalsRequest{State: behalfv1.ApprovalState(n)})
		},
		func(r *behalfv1.ListApprovalsResponse) [][]string {
			rows := [][]string{{"APPROVAL", "FOR", "TOOL", "ARGUMENTS", "WHO DECIDES", "UNTIL"}}
			for _, a := range r.GetApprovals() {
				rows = append(rows, []string{
					a.GetApprovalId(), requester(a), a.GetTool(), a.GetArgumentsJson(), whoDecides(a), a.GetExpiresAt().AsTime().Local().Format(time.DateTime),
				})
			}
			return rows
		})
	c.Args = args
	c.Flags().StringVar(&state, "state", state, "pending, approved, denied, expired or consumed")
	return c
}

func requester(a *behalfv1.Approval) string {
	if u := a.GetRequester(); u != nil {
		return u.GetSubject()
	}
	return a.GetWorkload()
}

func whoDecides(a *behalfv1.Approval) string {
	if a.GetMayDecide() {
		return "you"
	}
	return strings.Join(a.GetApproverRoles(), " and ")
}

func showApproval() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use: "show ID", Short: "Show one approval: what would be called, for whom, and who asked for it", Args: cobra.ExactArgs(1),
		Example: "  behalf approvals show apr_… --as bob",
		RunE: func(c *cobra.Command, args []string) error {
			return f.withServer(c, func(ctx context.Context, conn *grpc.ClientConn) error {
				r, err := behalfv1.NewApprovalServiceClient(conn).GetApproval(ctx, &behalfv1.GetApprovalRequest{ApprovalId: args[0]})
				if err != nil {
					return err
				}
				return printApproval(c.OutOrStdout(), r.GetApproval(), f.json)
			})
		},
	}
	f.bind(c)
	return c
}

func decideApproval(use, short string, d behalfv1.ApprovalDecision) *cobra.Command {
	var f clientFlags
	comment := ""
	c := &cobra.Command{
		Use: use + " ID", Short: short, Args: cobra.ExactArgs(1),
		Example: "  behalf approvals " + use + " apr_… --as bob",
		RunE: func(c *cobra.Command, args []string) error {
			return f.withServer(c, func(ctx context.Context, conn *grpc.ClientConn) error {
				r, err := behalfv1.NewApprovalServiceClient(conn).DecideApproval(ctx, &behalfv1.DecideApprovalRequest{ApprovalId: args[0], Decision: d, Comment: comment})
				if err != nil {
					return err
				}
				return printApproval(c.OutOrStdout(), r.GetApproval(), f.json)
			})
		},
	}
	f.bind(c)
	c.Flags().StringVar(&comment, "comment", "", "why, for the record and for whoever asked")
	return c
}

// withServer connects, does something and hangs up.
func (f *clientFlags) withServer(c *cobra.Command, do func(context.Context, *grpc.ClientConn) error) error {
	ctx, conn, err := f.dial(c.Context())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return do(ctx, conn)
}

func printApproval(out io.Writer, a *behalfv1.Approval, json bool) error {
	if json {
		line, err := jsonLine(a)
		fmt.Fprintln(out, line)
		return err
	}
	rows := [][]string{
		{"approval", a.GetApprovalId()},
		{"state", strings.ToLower(word(a.GetState().String(), "APPROVAL_STATE_"))},
		{"for", requester(a)},
		{"agents", orDash(a.GetDelegationChain())},
		{"call", a.GetTool() + " " + a.GetArgumentsJson()},
		{"because of", strings.Join(a.GetPolicyIds(), ", ")},
		{"who decides", whoDecides(a)},
		{"until", a.GetExpiresAt().AsTime().Local().Format(time.DateTime)},
	}
	if u := a.GetApprover(); u != nil {
		rows = append(rows, []string{"decided by", strings.TrimSpace(u.GetSubject() + "  " + a.GetComment())})
	}
	return table(out, rows)
}

// decide lets the person decide an approval that their chat waits for, if they
// may. Most often they may not: it is their own call.
func (t *talk) decide(ctx context.Context, asked *behalfv1.Event) error {
	client := behalfv1.NewApprovalServiceClient(t.conn)
	id := asked.GetApprovalRequested().GetApprovalId()
	r, err := client.GetApproval(ctx, &behalfv1.GetApprovalRequest{ApprovalId: id})
	if err != nil || !r.GetApproval().GetMayDecide() {
		return nil //nolint:nilerr // who may not see it may not decide it either
	}
	t.screen.line("? do you approve? yes or no; anything else leaves it to others")
	text, err := t.line(ctx)
	if errors.Is(err, io.EOF) {
		return nil // others may decide
	}
	if err != nil {
		return err
	}
	var d behalfv1.ApprovalDecision
	switch strings.ToLower(text) {
	case "yes", "y":
		d = behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE
	case "no", "n":
		d = behalfv1.ApprovalDecision_APPROVAL_DECISION_DENY
	default:
		return nil
	}
	_, err = client.DecideApproval(ctx, &behalfv1.DecideApprovalRequest{ApprovalId: id, Decision: d})
	return err
}
