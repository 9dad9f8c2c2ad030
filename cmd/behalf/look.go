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
	return lookAt(use, short, cobra.NoArgs, ask, rows)
}

// lookAt is look for a command that takes arguments.
func lookAt[R proto.Message](use, short string, args cobra.PositionalArgs, ask func(*cobra.Command, *grpc.ClientConn, *clientFlags) (R, error), rows func(R) [][]string) *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use: use, Short: short, Args: args,
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
			if err := show(c.OutOrStdout(), rows(answer)); err != nil {
				return err
			}
			if more, ok := any(answer).(interface{ GetNextPageToken() string }); ok && more.GetNextPageToken() != "" {
				fmt.Fprintln(c.OutOrStdout(), "there are more: --limit says how many to show")
			}
			if c.Annotations[ofPerson] != "" && unnamed(c) {
				fmt.Fprintln(c.ErrOrStderr(), "note: "+nobodyNamed)
			}
			return nil
		},
	}
	f.bind(c)
	return c
}

// ofPerson marks a command whose answer depends on the person it is asked for.
const ofPerson = "of a person"

func asked(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{ofPerson: "yes"}
	return c
}

// own marks a list that is each person's own, and gives it a length.
func own(c *cobra.Command) *cobra.Command {
	asked(c).Flags().Int32("limit", 100, "at most so many, up to 1000")
	return c
}

// limit is what own was asked for.
func limit(c *cobra.Command) int32 {
	n, _ := c.Flags().GetInt32("limit")
	return n
}

func show(out io.Writer, rows [][]string) error {
	if len(rows) == 1 {
		fmt.Fprintln(out, "none")
		return nil
	}
	return table(out, rows)
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

func chatsCommand() *cobra.Command {
	return asked(look("chats", "List the group chats that you may run",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListGroupChatsResponse, error) {
			return behalfv1.NewGroupChatServiceClient(conn).ListGroupChats(c.Context(), &behalfv1.ListGroupChatsRequest{PageSize: everything})
		},
		func(r *behalfv1.ListGroupChatsResponse) [][]string {
			rows := [][]string{{"CHAT", "KIND", "PARTICIPANTS", "WHAT IT DOES"}}
			for _, g := range r.GetGroupChats() {
				kind := strings.ToLower(word(g.GetKind().String(), "GROUP_CHAT_KIND_"))
				rows = append(rows, []string{g.GetName(), kind, orDash(g.GetParticipants()), g.GetDescription()})
			}
			return rows
		}))
}

func agentsCommand() *cobra.Command {
	return asked(look("agents", "List the agents that you may run",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListAgentsResponse, error) {
			return behalfv1.NewAgentServiceClient(conn).ListAgents(c.Context(), &behalfv1.ListAgentsRequest{PageSize: everything})
		},
		func(r *behalfv1.ListAgentsResponse) [][]string {
			rows := [][]string{{"AGENT", "TOOLS", "CEILING", "WHAT IT DOES"}}
			for _, a := range r.GetAgents() {
				rows = append(rows, []string{a.GetName(), orDash(a.GetTools()), ceiling(a.GetScopes()), a.GetDescription()})
			}
			return rows
		}))
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
	c := own(look("tools", "List the tools that you may call; review and accept those of MCP servers",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListToolsResponse, error) {
			return behalfv1.NewToolServiceClient(conn).ListTools(c.Context(), &behalfv1.ListToolsRequest{PageSize: limit(c)})
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
		}))
	c.AddCommand(reviewCommand(), acceptCommand())
	return c
}

func sessionsCommand() *cobra.Command {
	return own(look("sessions", "List your sessions, the last used first",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListSessionsResponse, error) {
			return behalfv1.NewSessionServiceClient(conn).ListSessions(c.Context(), &behalfv1.ListSessionsRequest{PageSize: limit(c)})
		},
		func(r *behalfv1.ListSessionsResponse) [][]string {
			rows := [][]string{{"SESSION", "TARGET", "UPDATED"}}
			for _, s := range r.GetSessions() {
				rows = append(rows, []string{s.GetSessionId(), s.GetTarget(), s.GetUpdatedAt().AsTime().Local().Format(time.DateTime)})
			}
			return rows
		}))
}

func runsCommand() *cobra.Command {
	c := own(look("runs", "List your runs, newest first; watch or cancel one",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListRunsResponse, error) {
			return behalfv1.NewRunServiceClient(conn).ListRuns(c.Context(), &behalfv1.ListRunsRequest{PageSize: limit(c)})
		},
		func(r *behalfv1.ListRunsResponse) [][]string {
			rows := [][]string{{"RUN", "TARGET", "STATE", "ENDED", "SESSION"}}
			for _, u := range r.GetRuns() {
				rows = append(rows, []string{
					u.GetRunId(), u.GetTarget(), runState(u.GetState()), cut(u.GetStopReason(), endWidth), u.GetSessionId(),
				})
			}
			return rows
		}))
	c.AddCommand(runWatchCommand(), runCancelCommand())
	return c
}

// endWidth keeps a sentence out of a column.
const endWidth = 24

func cut(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}
