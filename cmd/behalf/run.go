package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
		Use:     "run TARGET TEXT",
		Short:   "Run an agent or a group chat once and stream what it says and does",
		Long:    "Runs an agent or a group chat once and streams what it says and does. Exit code 1 if the run did not complete; a tool\ncall that was denied is not a failure of the run. If a call needs an approval, it waits for that; Ctrl-C leaves, and the\nrun goes on waiting. If a person is asked for an answer, it says so and ends.",
		Example: "  behalf run triage 'Please refund order O-5001 of customer C-1001' --as alice",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			t, err := findTarget(ctx, conn, args[0])
			if err != nil {
				return err
			}
			narrow := (*behalfv1.Scopes)(nil)
			if c.Flags().Changed("scopes") {
				narrow = &behalfv1.Scopes{Values: scopes}
			}
			return t.once(ctx, conn, input{args[1], session, narrow}, newScreen(c.OutOrStdout(), "", f.json).withIDs(f.others()), f.again())
		},
	}
	f.bind(c)
	c.Flags().StringVar(&session, "session", "", "session to continue")
	c.Flags().StringSliceVar(&scopes, "scopes", nil, "narrow the run to these scopes; empty: none at all")
	return c
}

// once makes one run, shows it and says which it was, however it ended.
func (t target) once(ctx context.Context, conn *grpc.ClientConn, in input, s *screen, again string) error {
	next, err := t.start(ctx, conn, in)
	if err != nil {
		return err
	}
	last, err := follow(next, s, nil)
	if last != nil && !s.json {
		fmt.Fprintf(s.out, "\nrun %s, session %s\n", last.GetRunId(), last.GetSessionId())
	}
	switch {
	case cancelled(err) && last.GetApprovalRequested() != nil:
		return fmt.Errorf("the run waits for an approval\n  next      `%s` shows how it goes on", t.goOn(last.GetSessionId(), again))
	case err != nil:
		return err
	case last.GetInputRequested() != nil:
		return fmt.Errorf("the run waits for an answer\n  next      `%s` answers it", t.goOn(last.GetSessionId(), again))
	case t.groupChat && last.GetRunFinished().GetState() == behalfv1.RunState_RUN_STATE_FINISHED:
		return nil // by one of its conditions
	}
	return completed(last)
}

// completed is an error for a run that ended in another way.
func completed(last *behalfv1.Event) error {
	f := last.GetRunFinished()
	switch {
	case f == nil:
		return errors.New("the stream ended before the run did")
	case f.GetStopReason() != "completed":
		return errors.New("the run ended: " + ending(f))
	}
	return nil
}

// ending is why a run ended.
func ending(f *behalfv1.RunFinished) string {
	return strings.TrimSpace(clean(f.GetStopReason()) + " " + clean(f.GetErrorMessage()))
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
		switch {
		case e.GetApprovalRequested() != nil && answer != nil:
		case e.GetInputRequested() == nil: // an approval is most often another person's to decide
			continue
		case answer == nil:
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
