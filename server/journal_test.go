package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// journaling has acme's reads go on without the log, and nobody else's.
func journaling(c *config.Config) {
	c.Audit.Tenants = map[string]config.AuditTenant{"acme": {OnUnavailable: "journal"}}
	c.Audit.JournalBytes = 1 << 20
	c.Server.HTTP = "127.0.0.1:0"
}

// look is a read that counts.
func look(seen *atomic.Int64) tools.Tool {
	return tools.Func("look", "Looks.", func(context.Context, none) (none, error) {
		seen.Add(1)
		return none{}, nil
	}, tools.ReadOnly())
}

func (c *client) use(t *testing.T, tool string) error {
	_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: tool, ArgumentsJson: "{}"})
	return err
}

// get is what a path of the http listener answers.
func (w *world) get(path string) (int, string) {
	w.t.Helper()
	r, err := http.Get("http://" + w.http + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func (w *world) metric(name string) string {
	w.t.Helper()
	_, text := w.get("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestReadsGoOnInTheJournalAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	var seen, paid atomic.Int64
	w := newWorld(t, setup{spies: []tools.Tool{look(&seen), refund(&paid)}, edit: journaling, policies: map[string]string{
		"rate.cedar": `@id("rate") @rate("60/1m") forbid (principal == User::"acme/dave", action == Action::"call_tool", resource);`,
	}})
	b, a, e := w.as(bob), w.as(alice), w.as(erin)
	if code, text := w.get("/healthz"); code != http.StatusOK || text != "ok\n" {
		t.Errorf("got %d %s before", code, text)
	}
	mend := w.breakAudit()

	if err := b.use(t, "look"); err != nil || seen.Load() != 1 {
		t.Errorf("a read: got %v and %d effects", err, seen.Load())
	}
	wantError(t, b.use(t, "pay"), codes.Unavailable, "AUDIT_UNAVAILABLE")
	wantError(t, e.use(t, "look"), codes.Unavailable, "AUDIT_UNAVAILABLE")            // a tenant that refuses
	wantError(t, w.as(dave).use(t, "look"), codes.Unavailable, "AUDIT_UNAVAILABLE")   // its rate is kept by the store
	wantError(t, w.as(carol).use(t, "look"), codes.PermissionDenied, "POLICY_DENIED") // a denial of a read is on record
	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "hello"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if seen.Load() != 1 || paid.Load() != 0 {
		t.Errorf("got %d reads and %d writes, want the one read", seen.Load(), paid.Load())
	}
	if code, text := w.get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "3 rows of reads are in the journal") {
		t.Errorf("got %d %s", code, text)
	}
	if got := w.metric("behalf_audit_journal_rows"); got != "3" {
		t.Errorf("got %q rows in the metric", got)
	}
	if !strings.Contains(w.log.String(), "ALARM: the log cannot be written; rows of reads went to the journal") {
		t.Error("the log does not say so")
	}

	mend()
	if err := b.use(t, "pay"); err != nil {
		t.Fatal(err)
	}
	st, err := b.admin().GetStatus(b.ctx(t), &behalfv1.GetStatusRequest{})
	if err != nil || st.GetAuditJournalRows() != 0 || st.GetAuditJournaled() != 3 {
		t.Errorf("got %v, %v", st, err)
	}
	if got := w.metric("behalf_audit_journal_rows") + " of " + w.metric("behalf_audit_journaled_total"); got != "0 of 3" {
		t.Errorf("got %s rows in the metrics", got)
	}
	var rows []string
	for _, r := range b.records(t, &behalfv1.QueryAuditRequest{Tool: "look"}) {
		if r.GetGoverned() {
			t.Errorf("got %v, want it not governed", r)
		}
		rows = append(rows, r.GetUser().GetSubject()+" "+strings.ToLower(strings.TrimPrefix(r.GetPhase().String(), "AUDIT_PHASE_"))+" "+r.GetOutcome().String())
	}
	if got := strings.Join(rows, ", "); len(rows) != 3 || !strings.HasPrefix(got, "bob decision") {
		t.Errorf("got %s, want decision and outcome of the read and the denial", got)
	}
	if v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}

// A run that has begun reads on without the log, and its rows stand in their order.
func TestARunReadsOnInTheJournal(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	m := modeltest.NewServer(t)
	w := newWorld(t, setup{model: m, spies: []tools.Tool{look(&seen)}, edit: journaling})
	b := w.as(bob)
	var mend func()
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			mend()
			return modeltest.Reply{Text: "seen"}
		}
		mend = w.breakAudit() // the run is on record already
		return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "look", Arguments: "{}"}}}
	})

	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "look"})

	if err != nil || seen.Load() != 1 {
		t.Fatalf("got %v and %d effects", err, seen.Load())
	}
	run := events[0].GetRunId()
	var rows []string
	for _, r := range b.records(t, &behalfv1.QueryAuditRequest{User: "bob"}) {
		if r.GetRunId() == run || r.GetAction() == "run_agent" {
			rows = append(rows, fmt.Sprint(r.GetAction(), " ", r.GetPhase()))
		}
	}
	want := []string{"run_agent AUDIT_PHASE_DECISION", "call_tool AUDIT_PHASE_DECISION", "call_tool AUDIT_PHASE_OUTCOME", "run_agent AUDIT_PHASE_OUTCOME"}
	if !slices.Equal(rows, want) {
		t.Errorf("got %q, want %q", rows, want)
	}
	look := b.records(t, &behalfv1.QueryAuditRequest{Tool: "look"})
	if len(look) == 0 || look[0].GetGoverned() { // the outcome may have met the log again
		t.Errorf("got %v, want a decision from the journal", look)
	}
}
