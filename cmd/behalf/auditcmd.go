package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/audit"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/store"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func auditCommand() *cobra.Command {
	return group("audit", "Ask, prove and export what happened", auditQueryCommand(), auditVerifyCommand(), auditExportCommand())
}

func auditQueryCommand() *cobra.Command {
	var f clientFlags
	var since time.Duration
	decision, call := "", ""
	q := &behalfv1.QueryAuditRequest{}
	c := &cobra.Command{
		Use: "query", Short: "Who did what, through which agent, and what was decided", Args: cobra.NoArgs,
		Example: "  behalf audit query --as carol --user alice --tool refund_order",
		RunE: func(c *cobra.Command, _ []string) error {
			d, ok := decisions[decision]
			if !ok {
				return wrongInput(fmt.Errorf("--decision is allow or deny, not %q", decision))
			}
			q.Decision = d
			if since > 0 {
				q.Since = timestamppb.New(time.Now().Add(-since))
			}
			ctx, conn, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			return printAudit(ctx, conn, auditQuestion{q, call, f.json}, c.OutOrStdout())
		},
	}
	f.bind(c)
	c.Flags().StringVar(&q.User, "user", "", "subject of the person")
	c.Flags().StringVar(&q.Tool, "tool", "", "name of the tool")
	c.Flags().StringVar(&q.Agent, "agent", "", "agent that acted")
	c.Flags().StringVar(&decision, "decision", "", "allow or deny")
	c.Flags().StringVar(&q.RunId, "run", "", "run id")
	c.Flags().StringVar(&q.SessionId, "session", "", "session id")
	c.Flags().StringVar(&call, "call", "", "id of a call or decision, as refusals name it")
	c.Flags().DurationVar(&since, "since", 0, "only the last so long, e.g. 1h")
	c.Flags().Int32Var(&q.Limit, "limit", 0, "at most so many rows, the newest; 0: 1000")
	return c
}

// auditQuestion is which rows to print, and how.
type auditQuestion struct {
	query *behalfv1.QueryAuditRequest
	call  string // only this call's; the server has no question for it
	json  bool
}

// allRows is as many as a query may have.
const allRows = 100_000

func (q auditQuestion) fits(r *behalfv1.AuditRecord) bool {
	return q.call == "" || q.call == r.GetCallId()
}

// printAudit prints the rows that fit q, as a table or as lines of JSON.
func printAudit(ctx context.Context, conn *grpc.ClientConn, q auditQuestion, out io.Writer) error {
	if q.call != "" && q.query.GetLimit() == 0 {
		q.query.Limit = allRows
	}
	stream, err := behalfv1.NewAuditServiceClient(conn).QueryAudit(ctx, q.query)
	if err != nil {
		return err
	}
	rows := [][]string{auditHeader()}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !q.fits(m.GetRecord()) {
			continue
		}
		if !q.json {
			rows = append(rows, auditRow(m.GetRecord()))
			continue
		}
		line, err := jsonLine(m.GetRecord())
		if err != nil {
			return err
		}
		fmt.Fprintln(out, line)
	}
	switch {
	case q.json:
		return nil
	case len(rows) == 1:
		fmt.Fprintln(out, "nothing is recorded that fits this question")
		return nil
	}
	return table(out, rows)
}

var decisions = map[string]behalfv1.Decision{
	"": behalfv1.Decision_DECISION_UNSPECIFIED, "allow": behalfv1.Decision_DECISION_ALLOW, "deny": behalfv1.Decision_DECISION_DENY,
}

func auditHeader() []string {
	return []string{"#", "TIME", "PERSON", "THROUGH", "ACTION", "ON", "PHASE", "DECISION", "BECAUSE OF"}
}

// auditRow is one row as a person reads it.
func auditRow(r *behalfv1.AuditRecord) []string {
	verdict := strings.ToLower(word(r.GetDecision().String(), "DECISION_"))
	if r.GetPhase() == behalfv1.AuditPhase_AUDIT_PHASE_OUTCOME {
		verdict = strings.ToLower(word(r.GetOutcome().String(), "AUDIT_OUTCOME_"))
	}
	if r.GetReason() != 0 {
		verdict += " " + word(r.GetReason().String(), "ERROR_REASON_")
	}
	if !r.GetGoverned() {
		verdict += " (journal)"
	}
	on := r.GetTool()
	if on == "" {
		on = r.GetResource()
	}
	return []string{
		fmt.Sprint(r.GetSequence()), clock(r.GetTime().AsTime().Local(), time.Now()), r.GetUser().GetSubject(),
		strings.Join(r.GetDelegationChain(), "›"), r.GetAction(), on,
		strings.ToLower(word(r.GetPhase().String(), "AUDIT_PHASE_")), verdict, strings.Join(r.GetPolicyIds(), " "),
	}
}

// clock is a time as short as it can be told: with its day only if that is not today.
func clock(at, now time.Time) string {
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04:05.000")
}

// evidence names the files that an auditor holds; no server is needed.
type evidence struct {
	store, witness, key string
	guessed             bool // the witness is where it is by default
}

func (e *evidence) bind(c *cobra.Command) {
	c.Flags().StringVar(&e.store, "store", ".behalf/behalf.db", "the database file; it is only read")
	c.Flags().StringVar(&e.witness, "witness", "", "the witness file (default: audit.witness beside the database); none: there is none")
	c.Flags().StringVar(&e.key, "public-key", "", "the public key of the checkpoints (default: audit.key.pub beside the database)")
}

func (e *evidence) complete() {
	if e.witness == "" {
		e.witness = filepath.Join(filepath.Dir(e.store), "audit.witness")
		e.guessed = true
	}
	if e.key == "" {
		e.key = filepath.Join(filepath.Dir(e.store), "audit.key.pub")
	}
}

func (e *evidence) publicKey() (ed25519.PublicKey, error) {
	text, err := os.ReadFile(e.key)
	if err != nil {
		return nil, wrongInput(fmt.Errorf("the public key of the checkpoints is needed: %w\n  next      name it with --public-key, and the database with --store", err))
	}
	return audit.ParsePublicKey(text)
}

func auditVerifyCommand() *cobra.Command {
	var e evidence
	asJSON := false
	c := &cobra.Command{
		Use: "verify", Short: "Prove that nothing in the audit log was changed, moved or lost; needs no server", Args: cobra.NoArgs,
		Example: "  behalf audit verify --store copy/behalf.db --witness /mnt/witness/audit.witness --public-key audit.key.pub",
		RunE: func(c *cobra.Command, _ []string) error {
			e.complete()
			report, err := e.verify(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(reportJSON(report))
			} else {
				printReport(c.OutOrStdout(), report)
			}
			if err == nil && !report.OK() {
				err = errors.New("the audit log is NOT intact; keep a copy of the database and of the witness before anything else")
			}
			return err
		},
	}
	e.bind(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (e *evidence) verify(ctx context.Context) (audit.Report, error) {
	key, err := e.publicKey()
	if err != nil {
		return audit.Report{}, err
	}
	db, err := store.OpenReadOnly(e.store)
	if err != nil {
		return audit.Report{}, wrongInput(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := os.Stat(e.witness); e.guessed && errors.Is(err, os.ErrNotExist) {
		return audit.Report{}, wrongInput(fmt.Errorf("there is no witness at %s: name it with --witness FILE, or say --witness none if the server has none (rows lost from the end cannot be found then)", e.witness))
	}
	var witness iter.Seq2[[]byte, error]
	if e.witness != "none" {
		witness = audit.WitnessFile(e.witness)
	}
	return audit.Verify(db.Rows(ctx), db.Checkpoints(ctx), witness, key), nil
}

func printReport(out io.Writer, r audit.Report) {
	p := paintFor(out)
	for _, t := range r.Tenants {
		state := p.good("unbroken") + removed(t) + signed(t)
		if t.Problem != "" {
			state = p.bad("BROKEN: " + clean(t.Problem))
		}
		fmt.Fprintf(out, "%-10s %s, %s\n", clean(t.Tenant), count(t.Rows, "row"), state)
	}
	for _, problem := range r.Problems {
		fmt.Fprintln(out, p.bad("BROKEN: "+clean(problem)))
	}
	if len(r.Tenants) == 0 {
		fmt.Fprintln(out, "the log is empty")
	}
	fmt.Fprintf(out, "%s in the store, %d in the witness\n", count(int64(r.Checkpoints), "good signed checkpoint"), r.Witnessed)
}

// signed says how far the proof reaches, which is what a verifier must know to
// know what it would not find.
func signed(t audit.TenantReport) string {
	switch {
	case t.Signed == 0:
		return "; no checkpoint covers it yet: a running server signs one within ten seconds, and one when it stops"
	case t.Witnessed < t.Signed:
		return fmt.Sprintf("; signed up to row %d, but the witness knows only up to row %d", t.Signed, t.Witnessed)
	case t.Signed < t.Head.Sequence:
		return fmt.Sprintf("; signed and witnessed up to row %d, the rest follows with the next checkpoint", t.Signed)
	}
	return fmt.Sprintf("; signed and witnessed up to row %d", t.Signed)
}

// removed says which rows are not there because the log is kept for so long only.
func removed(t audit.TenantReport) string {
	if t.Removed == 0 {
		return ""
	}
	return fmt.Sprintf("; rows 1 to %d were removed by retention, as a signed row of %s says", t.Removed, time.Unix(0, t.RemovedAt).UTC().Format(time.RFC3339))
}

func count(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// reportJSON is a report for machines.
func reportJSON(r audit.Report) map[string]any {
	tenants := []map[string]any{}
	for _, t := range r.Tenants {
		tenants = append(tenants, map[string]any{
			"tenant": t.Tenant, "rows": t.Rows, "signed": t.Signed, "witnessed": t.Witnessed, "head": t.Head.Hash, "problem": t.Problem, "removed": t.Removed,
		})
	}
	return map[string]any{
		"intact": r.OK(), "tenants": tenants, "problems": append([]string{}, r.Problems...),
		"checkpoints": r.Checkpoints, "witnessed": r.Witnessed,
	}
}

func auditExportCommand() *cobra.Command {
	var e evidence
	c := &cobra.Command{
		Use: "export", Short: "Write the audit log as JSON lines with checkpoints and public key; needs no server", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			e.complete()
			key, err := e.publicKey()
			if err != nil {
				return err
			}
			db, err := store.OpenReadOnly(e.store)
			if err != nil {
				return wrongInput(err)
			}
			defer func() { _ = db.Close() }()
			return audit.Export(c.OutOrStdout(), db.Rows(c.Context()), db.Checkpoints(c.Context()), key)
		},
	}
	e.bind(c)
	return c
}
