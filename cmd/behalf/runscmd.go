package main

import (
	"context"
	"fmt"
	"strings"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

// runWatchCommand shows a run that somebody else started, or an earlier one.
func runWatchCommand() *cobra.Command {
	return onRun("watch RUN", "Show a run from its start, and what it does until it ends",
		"Shows a run from its start, and what it does until it ends. Leaving with Ctrl-C does not touch the run, and watching does\nnot answer it: `behalf chat TARGET --session SESSION` does.",
		func(ctx context.Context, conn *grpc.ClientConn, run string, s *screen) error {
			next, err := watchRun(ctx, conn, run)
			if err != nil {
				return err
			}
			_, err = follow(next, s, func(*behalfv1.Event) error { return nil })
			return err
		})
}

// watchRun is what a run has done and does.
func watchRun(ctx context.Context, conn *grpc.ClientConn, run string) (events, error) {
	stream, err := behalfv1.NewRunServiceClient(conn).WatchRun(ctx, &behalfv1.WatchRunRequest{RunId: run})
	if err != nil {
		return nil, err
	}
	return func() (*behalfv1.Event, error) {
		m, err := stream.Recv()
		return m.GetEvent(), err
	}, nil
}

func runCancelCommand() *cobra.Command {
	return onRun("cancel RUN", "End a run, also one that waits",
		"Ends a run, also one that waits. A started write is let finish and is recorded. A run that has ended stays as it is.",
		func(ctx context.Context, conn *grpc.ClientConn, run string, s *screen) error {
			r, err := behalfv1.NewRunServiceClient(conn).CancelRun(ctx, &behalfv1.CancelRunRequest{RunId: run})
			if err != nil {
				return err
			}
			if s.json {
				line, err := jsonLine(r)
				fmt.Fprintln(s.out, line)
				return err
			}
			fmt.Fprintf(s.out, "run %s is %s\n", clean(r.GetRun().GetRunId()), runState(r.GetRun().GetState()))
			return nil
		})
}

func runState(s behalfv1.RunState) string { return strings.ToLower(word(s.String(), "RUN_STATE_")) }

// onRun makes a command about one run.
func onRun(use, short, long string, do func(context.Context, *grpc.ClientConn, string, *screen) error) *cobra.Command {
	var f clientFlags
	verb, _, _ := strings.Cut(use, " ")
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1),
		Example: "  behalf runs " + verb + " run_aaaaaaaaaaaaaaaaaaaaaaaaaa --as alice",
		RunE: func(c *cobra.Command, args []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			return do(ctx, conn, args[0], newScreen(c.OutOrStdout(), "", f.json).withIDs(f.others()))
		},
	}
	f.bind(c)
	return c
}
