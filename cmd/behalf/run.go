package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
)

func runCommand() *cobra.Command {
	var f clientFlags
	var session string
	var scopes []string
	c := &cobra.Command{
		Use:     "run AGENT TEXT",
		Short:   "Run an agent once and stream what it says and does",
		Long:    "Runs an agent once and streams what it says and does. Exit code 1 if the run did not complete; a tool call that was\ndenied is not a failure of the run.",
		Example: "  behalf run triage 'Please refund order O-5001 of customer C-1001' --as alice",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			r := &behalfv1.StreamAgentRequest{Agent: args[0], Input: args[1], SessionId: session}
			if c.Flags().Changed("scopes") {
				r.Scopes = &behalfv1.Scopes{Values: scopes}
			}
			last, err := streamRun(ctx, behalfv1.NewAgentServiceClient(conn), r, newScreen(c.OutOrStdout(), "", f.json))
			if err == nil && !f.json {
				fmt.Fprintf(c.OutOrStdout(), "\nrun %s, session %s\n", last.GetRunId(), last.GetSessionId())
			}
			if err == nil {
				err = completed(last)
			}
			return err
		},
	}
	f.bind(c)
	c.Flags().StringVar(&session, "session", "", "session to continue")
	c.Flags().StringSliceVar(&scopes, "scopes", nil, "narrow the run to these scopes; empty: none at all")
	return c
}

// completed is an error for a run that ended in another way.
func completed(last *behalfv1.Event) error {
	f := last.GetRunFinished()
	switch {
	case f == nil:
		return errors.New("the stream ended before the run did")
	case f.GetStopReason() != "completed":
		return fmt.Errorf("the run ended: %s %s", clean(f.GetStopReason()), clean(f.GetErrorMessage()))
	}
	return nil
}

// streamRun shows a run and returns its last event.
func streamRun(ctx context.Context, client behalfv1.AgentServiceClient, r *behalfv1.StreamAgentRequest, s *screen) (*behalfv1.Event, error) {
	stream, err := client.StreamAgent(ctx, r)
	if err != nil {
		return nil, err
	}
	var last *behalfv1.Event
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			s.end()
			return last, nil
		}
		if err != nil {
			s.end()
			return last, err
		}
		s.show(m.GetEvent())
		last = m.GetEvent()
	}
}

func chatCommand() *cobra.Command {
	var f clientFlags
	session := ""
	c := &cobra.Command{
		Use:     "chat AGENT",
		Short:   "Talk with an agent, line by line, in one session",
		Long:    "Talks with an agent, line by line, in one session. Ctrl-D or Ctrl-C ends it.",
		Example: "  behalf chat triage --as alice",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			t := &talk{
				client: behalfv1.NewAgentServiceClient(conn), agent: args[0], session: session,
				screen: newScreen(c.OutOrStdout(), "", f.json), prompts: onTerminal(c.InOrStdin()) && !f.json,
			}
			return t.run(ctx, c.InOrStdin())
		},
	}
	f.bind(c)
	c.Flags().StringVar(&session, "session", "", "session to continue")
	return c
}

// talk is one conversation.
type talk struct {
	client  behalfv1.AgentServiceClient
	agent   string
	session string
	screen  *screen
	prompts bool
}

// run sends each line as a run of one session. A run that fails does not end
// the conversation.
func (t *talk) run(ctx context.Context, in io.Reader) error {
	lines, failed := typed(in)
	for {
		t.prompt()
		select {
		case <-ctx.Done():
			t.bye()
			return nil
		case err := <-failed:
			t.bye()
			return err
		case text := <-lines:
			if text = strings.TrimSpace(text); text != "" {
				t.say(ctx, text)
			}
		}
	}
}

func (t *talk) say(ctx context.Context, text string) {
	last, err := streamRun(ctx, t.client, &behalfv1.StreamAgentRequest{Agent: t.agent, Input: text, SessionId: t.session}, t.screen)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(t.screen.out, explain(err))
	}
	if last != nil {
		t.session = last.GetSessionId()
	}
}

func (t *talk) prompt() {
	if t.prompts {
		fmt.Fprint(t.screen.out, t.screen.paint.bold("you: "))
	}
}

// bye leaves the line of the prompt, so that the shell's begins on its own.
func (t *talk) bye() {
	if t.prompts {
		fmt.Fprintln(t.screen.out)
	}
}

// typed reads lines on a goroutine of its own, because nothing interrupts a
// read from a terminal. It ends with the input or with the process.
func typed(in io.Reader) (<-chan string, <-chan error) {
	lines, failed := make(chan string), make(chan error)
	go func() {
		s := bufio.NewScanner(in)
		for s.Scan() {
			lines <- s.Text()
		}
		failed <- s.Err()
	}()
	return lines, failed
}
