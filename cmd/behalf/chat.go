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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func chatCommand() *cobra.Command {
	var f clientFlags
	session := ""
	c := &cobra.Command{
		Use:   "chat TARGET",
		Short: "Talk with an agent or a group chat, line by line, in one session",
		Long: `Talks with an agent or a group chat, line by line, in one session. When the run waits for you, the next line
is your answer; that is so after a restart too, with --session. When it waits for another person's approval, it
goes on by itself when they have decided. Ctrl-D or Ctrl-C ends it.

If the lines come from elsewhere than a terminal, the exit code is 1 when one of them could not be answered.`,
		Example: "  behalf chat triage --as alice",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			t := &talk{
				conn: conn, session: session, again: f.again(), prompts: onTerminal(c.InOrStdin()) && !f.json,
				screen:   newScreen(c.OutOrStdout(), "", f.json).withIDs(f.others()),
				complain: func(err error) { fmt.Fprintln(c.ErrOrStderr(), explain(err)+forWhom(c, err)) },
			}
			if t.target, err = findTarget(ctx, conn, args[0]); err != nil {
				return err
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
	conn     *grpc.ClientConn
	target   target
	session  string
	again    string // flags to go on with later
	screen   *screen
	prompts  bool
	complain func(error) // tells the person about a run that failed

	lines  <-chan string
	failed <-chan error
	bad    int  // runs that did not do what they were asked
	waits  bool // the last run waits for an answer
}

// errNoAnswer says that the input ended while a run waits for a line of it.
var errNoAnswer = errors.New("the run waits for an answer, and the input has ended")

// run sends each line as a run of one session. A run that fails does not end
// the conversation.
func (t *talk) run(ctx context.Context, in io.Reader) error {
	t.lines, t.failed = typed(in)
	if err := t.resume(ctx); err != nil {
		return err
	}
	for !t.waits {
		text, err := t.line(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if text != "" {
			next, err := t.target.start(ctx, t.conn, input{text: text, session: t.session})
			t.hear(ctx, next, err, func(e *behalfv1.Event) error { return t.answer(ctx, e) })
		}
	}
	return t.bye(ctx)
}

// resume follows the run that is open in the session that is continued, so that
// the next line can answer what it asks.
func (t *talk) resume(ctx context.Context) error {
	if t.session == "" {
		return nil
	}
	r, err := behalfv1.NewSessionServiceClient(t.conn).GetSession(ctx, &behalfv1.GetSessionRequest{SessionId: t.session, PageSize: 1})
	if status.Code(err) == codes.PermissionDenied {
		return nil // who may not look may still speak
	}
	if err != nil {
		return err
	}
	if bound := r.GetSession().GetTarget(); bound != t.target.name {
		return wrongInput(fmt.Errorf("this session is one with %q, and stays so\n  next      `%s`", clean(bound), target{name: clean(bound)}.goOn(t.session, t.again)))
	}
	if open := r.GetSession().GetOpenRunId(); open != "" {
		return t.watch(ctx, open)
	}
	return nil
}

// watch shows a run from its start and answers what it still asks.
func (t *talk) watch(ctx context.Context, runID string) error {
	run, err := behalfv1.NewRunServiceClient(t.conn).GetRun(ctx, &behalfv1.GetRunRequest{RunId: runID})
	if err != nil {
		return err
	}
	next, err := watchRun(ctx, t.conn, runID)
	t.hear(ctx, next, err, func(e *behalfv1.Event) error {
		open := run.GetRun().GetInputRequestIds()
		if e.GetSequence() <= run.GetRun().GetLastSequence() && !slices.Contains(open, e.GetInputRequested().GetInputRequestId()) {
			return nil // it was answered before we came
		}
		return t.answer(ctx, e)
	})
	return nil
}

// hear follows a run to its end, or until nobody is there to answer it.
func (t *talk) hear(ctx context.Context, next events, err error, answer func(*behalfv1.Event) error) {
	var last *behalfv1.Event
	if err == nil {
		last, err = follow(next, t.screen, answer)
	}
	if last != nil {
		t.session = last.GetSessionId()
	}
	t.waits = errors.Is(err, errNoAnswer)
	switch {
	case ctx.Err() != nil || t.waits:
	case err != nil:
		t.bad++
		t.complain(err)
	case last.GetRunFinished().GetState() != behalfv1.RunState_RUN_STATE_FINISHED:
		t.bad++ // the screen has said why
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

// answer sends the next line to the run that waits for it.
func (t *talk) answer(ctx context.Context, asked *behalfv1.Event) error {
	if asked.GetApprovalRequested() != nil {
		return t.decide(ctx, asked)
	}
	text, err := t.line(ctx)
	if errors.Is(err, io.EOF) {
		return errNoAnswer
	}
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

// bye leaves the line of the prompt, so that the shell's begins on its own, and
// says how to go on. Who typed has read what failed; a script needs an exit code.
func (t *talk) bye(ctx context.Context) error {
	if t.prompts {
		fmt.Fprintln(t.screen.out)
	}
	if t.session != "" && !t.screen.json {
		fmt.Fprintf(t.screen.out, "session %s\ngo on    %s\n", t.session, t.target.goOn(t.session, t.again))
	}
	switch {
	case ctx.Err() != nil || t.prompts && !t.waits:
		return nil //nolint:nilerr // the person is done
	case t.waits && t.prompts:
		t.complain(errNoAnswer)
		return nil
	case t.waits:
		return errNoAnswer
	case t.bad > 0:
		return fmt.Errorf("%s did not end well", count(int64(t.bad), "run"))
	}
	return nil
}

// maxLine is what a request takes as input.
const maxLine = 256 << 10

// typed reads lines on a goroutine of its own, because nothing interrupts a
// read from a terminal. It ends with the input or with the process; failed then
// gives the cause once and is closed, so that whoever asks later hears it too.
func typed(in io.Reader) (<-chan string, <-chan error) {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		defer close(failed)
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			lines <- s.Text()
		}
		failed <- s.Err()
	}()
	return lines, failed
}
