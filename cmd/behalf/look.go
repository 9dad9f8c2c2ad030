package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// look makes a command that asks one question and prints the answer as a table
// or as JSON.
func look[R proto.Message](use, short string, ask func(*cobra.Command, *grpc.ClientConn, *clientFlags) (R, error), rows func(R) [][]string) *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			c.SetContext(ctx)
			answer, err := ask(c, conn, &f)
			if err != nil {
				return err
			}
			if f.json {
				line, err := jsonLine(answer)
				fmt.Fprintln(c.OutOrStdout(), line)
				return err
			}
			list := rows(answer)
			if len(list) == 1 {
				fmt.Fprintln(c.OutOrStdout(), "none")
				return nil
			}
			return table(c.OutOrStdout(), list)
		},
	}
	f.bind(c)
	return c
}

func table(out io.Writer, rows [][]string) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		for i, cell := range r {
			r[i] = clean(cell)
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(out, strings.TrimRight(line, " \n"))
	}
	return nil
}

func whoAmICommand() *cobra.Command {
	return look("whoami", "Show who the server thinks you are",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.WhoAmIResponse, error) {
			return behalfv1.NewAdminServiceClient(conn).WhoAmI(c.Context(), &behalfv1.WhoAmIRequest{})
		},
		func(r *behalfv1.WhoAmIResponse) [][]string {
			return [][]string{
				{"person", nobody(r.GetUser())},
				{"tenant", r.GetTenant()},
				{"roles", orDash(r.GetRoles())},
				{"scopes", orDash(r.GetScopes().GetValues())},
				{"workload", r.GetWorkload().GetSpiffeId()},
				{"until", r.GetExpiresAt().AsTime().Local().Format(time.DateTime)},
			}
		})
}

func nobody(u *behalfv1.User) string {
	if u == nil {
		return "nobody: the program speaks for itself; --as PERSON or --token says for whom"
	}
	return strings.TrimSpace(u.GetSubject() + "  " + u.GetEmail())
}

func agentsCommand() *cobra.Command {
	return look("agents", "List the agents you may see",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListAgentsResponse, error) {
			return behalfv1.NewAgentServiceClient(conn).ListAgents(c.Context(), &behalfv1.ListAgentsRequest{PageSize: 1000})
		},
		func(r *behalfv1.ListAgentsResponse) [][]string {
			rows := [][]string{{"AGENT", "TOOLS", "CEILING", "WHAT IT DOES"}}
			for _, a := range r.GetAgents() {
				rows = append(rows, []string{a.GetName(), orDash(a.GetTools()), ceiling(a.GetScopes()), a.GetDescription()})
			}
			return rows
		})
}

func ceiling(s *behalfv1.Scopes) string {
	switch {
	case s == nil:
		return "none of its own"
	case len(s.GetValues()) == 0:
		return "nothing"
	}
	return strings.Join(s.GetValues(), " ")
}

func toolsCommand() *cobra.Command {
	return look("tools", "List the tools that you may call",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListToolsResponse, error) {
			return behalfv1.NewToolServiceClient(conn).ListTools(c.Context(), &behalfv1.ListToolsRequest{PageSize: 1000})
		},
		func(r *behalfv1.ListToolsResponse) [][]string {
			rows := [][]string{{"TOOL", "TOOLSET", "EFFECT", "SCOPES", "WHAT IT DOES"}}
			for _, t := range r.GetTools() {
				rows = append(rows, []string{
					t.GetName(), t.GetToolset(), strings.ToLower(word(t.GetEffect().String(), "TOOL_EFFECT_")),
					orDash(t.GetRequiredScopes().GetValues()), t.GetDescription(),
				})
			}
			return rows
		})
}

func sessionsCommand() *cobra.Command {
	return look("sessions", "List your sessions",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListSessionsResponse, error) {
			return behalfv1.NewSessionServiceClient(conn).ListSessions(c.Context(), &behalfv1.ListSessionsRequest{})
		},
		func(r *behalfv1.ListSessionsResponse) [][]string {
			rows := [][]string{{"SESSION", "TARGET", "UPDATED"}}
			for _, s := range r.GetSessions() {
				rows = append(rows, []string{s.GetSessionId(), s.GetTarget(), s.GetUpdatedAt().AsTime().Local().Format(time.DateTime)})
			}
			return rows
		})
}

func runsCommand() *cobra.Command {
	return look("runs", "List your runs",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListRunsResponse, error) {
			return behalfv1.NewRunServiceClient(conn).ListRuns(c.Context(), &behalfv1.ListRunsRequest{})
		},
		func(r *behalfv1.ListRunsResponse) [][]string {
			rows := [][]string{{"RUN", "TARGET", "STATE", "ENDED", "SESSION"}}
			for _, u := range r.GetRuns() {
				rows = append(rows, []string{
					u.GetRunId(), u.GetTarget(), strings.ToLower(word(u.GetState().String(), "RUN_STATE_")), u.GetStopReason(), u.GetSessionId(),
				})
			}
			return rows
		})
}
