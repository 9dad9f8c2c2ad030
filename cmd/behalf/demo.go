package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/audit"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/store"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "See two people use the same agents with different results, and the proof of it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "behalf-demo-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			l, err := newLocal(dir)
			if err != nil {
				return err
			}
			l.cfg.Server.Listen, l.cfg.Server.HTTP = "127.0.0.1:0", ""
			l.log = slog.New(slog.DiscardHandler)
			d := &demo{local: l, out: c.OutOrStdout(), model: l.useRealModel(os.Getenv)}
			return d.run(c.Context())
		},
	}
}

// demo tells one story against a real server in this process.
type demo struct {
	*local
	out   io.Writer
	model string
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

func (d *demo) tell(ctx context.Context, s *behalf.Server) error {
	if err := d.save(s.Addr()); err != nil {
		return err
	}
	conn, err := connect(d.client)
	if err != nil {
		return err
	}
	defer conn.Close()
	d.say("behalf demo: one support desk, two people, the same question.")
	d.say("Real mutual TLS on %s, real signed tokens, a real audit log. Model: %s.", s.Addr(), d.model)
	for i, who := range []string{"alice", "bob"} {
		if err := d.ask(ctx, conn, i+1, who); err != nil {
			return err
		}
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
	d.say("\n%d ─ %s (%s) asks: %s\n", n, p.Name, p.Roles[0], question)
	r := &behalfv1.StreamAgentRequest{Agent: "triage", Input: question}
	_, err = streamRun(ctx, behalfv1.NewAgentServiceClient(conn), r, newScreen(d.out, "    ", false))
	return err
}

func (d *demo) query(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, p, err := d.as(ctx, "carol")
	if err != nil {
		return err
	}
	d.say("\n3 ─ %s (%s) asks the audit log what was done for Alice:\n", p.Name, p.Roles[0])
	stream, err := behalfv1.NewAuditServiceClient(conn).QueryAudit(ctx, &behalfv1.QueryAuditRequest{User: "alice"})
	if err != nil {
		return err
	}
	rows := [][]string{auditHeader()}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return table(d.out, rows)
		}
		if err != nil {
			return err
		}
		rows = append(rows, auditRow(m.GetRecord()))
	}
}

// prove verifies the log that the stopped server left, and a copy with one
// flipped byte.
func (d *demo) prove(ctx context.Context) error {
	d.say("\n4 ─ An auditor verifies the log, without a server:\n")
	report, err := verifyFiles(ctx, d.cfg.Store.DSN[len("sqlite://"):], d.dir)
	if err != nil {
		return err
	}
	printReport(d.out, report)
	if !report.OK() {
		return errors.New("the audit log of the demo is not intact; this is a bug, please report it")
	}
	d.say("\n5 ─ Somebody changes one byte of it, in a copy:\n")
	forged, err := d.forge(ctx)
	if err != nil {
		return err
	}
	report, err = verifyFiles(ctx, forged, d.dir)
	if err != nil {
		return err
	}
	printReport(d.out, report)
	if report.OK() {
		return errors.New("the forged log passed; this is a bug, please report it")
	}
	d.say("\nThat is all of it: who asked, through which agents, what was decided and why, and proof that nobody changed it.")
	d.say("Next: `go run ./cmd/behalf dev` keeps this desk up for you and grpcurl.")
	return nil
}

func verifyFiles(ctx context.Context, db, dir string) (audit.Report, error) {
	e := evidence{store: db, witness: filepath.Join(dir, "audit.witness"), key: filepath.Join(dir, "audit.key.pub")}
	return e.verify(ctx)
}

// forge copies the database and changes one byte of one row in place, as
// somebody with the disk but not the key would: the denial becomes another word.
func (d *demo) forge(ctx context.Context) (string, error) {
	b, err := os.ReadFile(d.cfg.Store.DSN[len("sqlite://"):])
	if err != nil {
		return "", err
	}
	row, err := d.denial(ctx)
	if err != nil {
		return "", err
	}
	// The file may hold older copies of the row in free pages: change each.
	for at := 0; ; {
		i := bytes.Index(b[at:], row)
		if i < 0 {
			break
		}
		at += i + bytes.Index(row, []byte(`"deny"`)) + 1
		b[at] = 'D'
	}
	forged := filepath.Join(d.dir, "forged.db")
	return forged, os.WriteFile(forged, b, 0o600)
}

// denial is the stored row of the refund that was denied, up to its decision.
func (d *demo) denial(ctx context.Context) ([]byte, error) {
	db, err := store.OpenReadOnly(d.cfg.Store.DSN[len("sqlite://"):])
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for r, err := range db.Rows(ctx) {
		if err != nil {
			return nil, err
		}
		if at := bytes.Index(r.Body, []byte(`"deny"`)); at > 0 {
			return r.Body[:at+len(`"deny"`)], nil
		}
	}
	return nil, errors.New("the audit log holds no denial")
}
