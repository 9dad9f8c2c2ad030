package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "See two people use the same agents with different results, and the proof of it", Args: cobra.NoArgs,
		Long: "Starts everything in this process, in a temporary folder, and tells a story of six short chapters. It needs no key, no\nnetwork and no set-up. With OPENAI_API_KEY set (OPENAI_BASE_URL, OPENAI_MODEL) the agents think with that model.",
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "behalf-demo-")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(dir) }()
			l, err := newLocal(dir, "supportdesk")
			if err != nil {
				return err
			}
			l.cfg.Server.Listen, l.cfg.Server.HTTP = "127.0.0.1:0", ""
			l.log = slog.New(slog.DiscardHandler)
			l.useModel(os.Getenv)
			if onTerminal(c.OutOrStdout()) {
				l.pace = pace
			}
			d := &demo{local: l, out: c.OutOrStdout(), paint: paintFor(c.OutOrStdout())}
			l.beside.out, l.beside.more = &d.theft, []grpc.ServerOption{grpc.ChainUnaryInterceptor(d.theft.overhear)}
			return d.run(c.Context())
		},
	}
}

// demo tells one story against a real server in this process.
type demo struct {
	*local
	out   io.Writer
	paint paint
	theft theft
}

const question = "Customer C-1001 says the espresso machine of order O-5001 arrived broken. Please refund it."

func (d *demo) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	up := make(chan *behalf.Server, 1)
	done := make(chan error, 1)
	go func() { // ends with stop, and is waited for below
		done <- d.serve(ctx, func(s *behalf.Server) error { up <- s; return nil })
	}()
	var told error
	select {
	case err := <-done:
		return err
	case s := <-up:
		told = d.tell(ctx, s)
	}
	stop()
	if err := <-done; err != nil && told == nil {
		return err
	}
	if told != nil {
		return told
	}
	return d.prove(context.WithoutCancel(ctx))
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// chapter begins a part of the story.
func (d *demo) chapter(n int, format string, args ...any) {
	d.say("\n%s\n", d.paint.bold(fmt.Sprintf("%d ─ "+format, append([]any{n}, args...)...)))
}

func (d *demo) tell(ctx context.Context, s *behalf.Server) error {
	if err := d.save(s); err != nil {
		return err
	}
	conn, err := connect(d.client)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	d.say("%s one support desk, two people, the same question.", d.paint.bold("behalf demo:"))
	d.say("%s", d.paint.dim("Real mutual TLS on "+s.Addr()+", real signed tokens, a real audit log. All in this process;\n`go run ./examples/crm/cmd` is the customers' server as a program of its own. Model: "+d.model+"."))
	for i, who := range []string{"alice", "bob"} {
		if err := d.ask(ctx, conn, i+1, who); err != nil {
			return err
		}
	}
	if err := d.behind(ctx); err != nil {
		return err
	}
	return d.query(ctx, conn)
}

func (d *demo) as(ctx context.Context, subject string) (context.Context, person, error) {
	p, err := d.people.find(subject)
	if err != nil {
		return nil, p, err
	}
	token, err := tokenFor(d.issuer, localAudience, p)
	if err != nil {
		return nil, p, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), p, nil
}

func (d *demo) ask(ctx context.Context, conn *grpc.ClientConn, n int, subject string) error {
	ctx, p, err := d.as(ctx, subject)
	if err != nil {
		return err
	}
	d.chapter(n, "%s (%s) asks: %s", p.Name, p.Roles[0], question)
	screen := newScreen(d.out, "    ", false)
	last, err := streamRun(ctx, conn, &behalfv1.StreamAgentRequest{Agent: "triage", Input: question}, screen)
	if err != nil {
		return err
	}
	d.say("\n    %s", d.paint.marked(screen.tally.sum(p.Name)))
	return completed(last)
}

var redaction = regexp.MustCompile(`^@redact\("(.*)"\)$`)

// sum says in one line what was decided in a run.
func (t *tally) sum(name string) string {
	s := fmt.Sprintf("= for %s: %s allowed, %d denied", name, count(int64(t.allowed), "tool call"), t.denied)
	if len(t.because) > 0 {
		s += " (" + strings.Join(slices.Compact(slices.Sorted(slices.Values(t.because))), ", ") + ")"
	}
	var kept []string
	for _, duty := range t.duties {
		if m := redaction.FindStringSubmatch(duty); m != nil {
			kept = append(kept, m[1])
		}
	}
	if len(kept) > 0 {
		s += "; kept from the model and from " + name + ": " + strings.Join(kept, ", ")
	}
	return s
}

func (d *demo) query(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, p, err := d.as(ctx, "carol")
	if err != nil {
		return err
	}
	d.chapter(4, "%s (%s) asks the audit log what was done for Alice:", p.Name, p.Roles[0])
	return printAudit(ctx, conn, auditQuestion{query: &behalfv1.QueryAuditRequest{User: "alice"}}, d.out)
}
