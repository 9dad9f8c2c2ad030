package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
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
			last, err := streamRun(ctx, conn, r, newScreen(c.OutOrStdout(), "", f.json))
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

// events is a stream of a run's events; Recv ends with io.EOF.
type events func() (*behalfv1.Event, error)

// streamAgent starts a run of an agent.
func streamAgent(ctx context.Context, conn *grpc.ClientConn, r *behalfv1.StreamAgentRequest) (events, error) {
	stream, err := behalfv1.NewAgentServiceClient(conn).StreamAgent(ctx, r)
	if err != nil {
		return nil, err
	}
	return func() (*behalfv1.Event, error) {
		m, err := stream.Recv()
		return m.GetEvent(), err
	}, nil
}

// streamChat starts a run of a group chat.
func streamChat(ctx context.Context, conn *grpc.ClientConn, r *behalfv1.StreamGroupChatRequest) (events, error) {
	stream, err := behalfv1.NewGroupChatServiceClient(conn).StreamGroupChat(ctx, r)
	if err != nil {
		return nil, err
	}
	return func() (*behalfv1.Event, error) {
		m, err := stream.Recv()
		return m.GetEvent(), err
	}, nil
}

// follow shows a run and returns its last event. answer is asked when the run
// waits for a person; nil: it goes on waiting and the stream is left.
func follow(next events, s *screen, answer func(*behalfv1.Event) error) (last *behalfv1.Event, err error) {
	for {
		e, err := next()
		if errors.Is(err, io.EOF) {
			s.end()
			return last, nil
		}
		if err != nil {
			s.end()
			return last, err
		}
		s.show(e)
		last = e
		if e.GetInputRequested() == nil {
			continue
		}
		if answer == nil {
			return last, nil
		}
		if err := answer(e); err != nil {
			return last, err
		}
	}
}

// streamRun shows a run of an agent and returns its last event.
func streamRun(ctx context.Context, conn *grpc.ClientConn, r *behalfv1.StreamAgentRequest, s *screen) (*behalfv1.Event, error) {
	next, err := streamAgent(ctx, conn, r)
	if err != nil {
		return nil, err
	}
	return follow(next, s, nil)
}

func chatCommand() *cobra.Command {
	var f clientFlags
	session := ""
	c := &cobra.Command{
		Use:     "chat TARGET",
		Short:   "Talk with an agent or a group chat, line by line, in one session",
		Long:    "Talks with an agent or a group chat, line by line, in one session. When the run waits for you, the next line\nis your answer. Ctrl-D or Ctrl-C ends it.",
		Example: "  behalf chat triage --as alice",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			t := &talk{
				conn: conn, target: args[0], session: session,
				screen: newScreen(c.OutOrStdout(), "", f.json), prompts: onTerminal(c.InOrStdin()) && !f.json,
			}
			if t.groupChat, err = isGroupChat(ctx, conn, args[0]); err != nil {
				return err
			}
			return t.run(ctx, c.InOrStdin())
		},
	}
	f.bind(c)
	c.Flags().StringVar(&session, "session", "", "session to continue")
	return c
}

// isGroupChat asks the server what a target is; agents and group chats never
// share a name.
func isGroupChat(ctx context.Context, conn *grpc.ClientConn, name string) (bool, error) {
	r, err := behalfv1.NewGroupChatServiceClient(conn).ListGroupChats(ctx, &behalfv1.ListGroupChatsRequest{PageSize: 1000})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(r.GetGroupChats(), func(g *behalfv1.GroupChat) bool { return g.GetName() == name }), nil
}

// talk is one conversation.
type talk struct {
	conn      *grpc.ClientConn
	target    string
	groupChat bool
	session   string
	screen    *screen
	prompts   bool

	lines  <-chan string
	failed <-chan error
}

// run sends each line as a run of one session. A run that fails does not end
// the conversation.
func (t *talk) run(ctx context.Context, in io.Reader) error {
	t.lines, t.failed = typed(in)
	for {
		text, err := t.line(ctx)
		if err != nil {
			t.bye()
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil //nolint:nilerr // the person is done
			}
			return err
		}
		if text != "" {
			t.say(ctx, text)
		}
	}
}

// line is what the person types next.
func (t *talk) line(ctx context.Context) (string, error) {
	t.prompt()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case err := <-t.failed:
		if err == nil {
			err = io.EOF
		}
		return "", err
	case text := <-t.lines:
		return strings.TrimSpace(text), nil
	}
}

func (t *talk) say(ctx context.Context, text string) {
	next, err := t.start(ctx, text)
	var last *behalfv1.Event
	if err == nil {
		last, err = follow(next, t.screen, func(e *behalfv1.Event) error { return t.answer(ctx, e) })
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(t.screen.out, explain(err))
	}
	if last != nil {
		t.session = last.GetSessionId()
	}
}

func (t *talk) start(ctx context.Context, text string) (events, error) {
	if t.groupChat {
		return streamChat(ctx, t.conn, &behalfv1.StreamGroupChatRequest{GroupChat: t.target, Input: text, SessionId: t.session})
	}
	return streamAgent(ctx, t.conn, &behalfv1.StreamAgentRequest{Agent: t.target, Input: text, SessionId: t.session})
}

// answer sends the next line to the run that waits for it.
func (t *talk) answer(ctx context.Context, asked *behalfv1.Event) error {
	text, err := t.line(ctx)
	if err != nil {
		return err
	}
	_, err = behalfv1.NewRunServiceClient(t.conn).SendInput(ctx, &behalfv1.SendInputRequest{
		RunId: asked.GetRunId(), InputRequestId: asked.GetInputRequested().GetInputRequestId(), Text: text,
	})
	return err
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
