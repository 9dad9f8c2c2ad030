package policy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// journaling is a desk whose tenant lab journals, with policies under which refunds
// are limited.
func journaling(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t, permitAll+`@id("rate") @rate("60/1m") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order");
@id("no") forbid (principal == User::"lab/mallory", action, resource);`)
	d.config.Journals = func(tenant string) bool { return tenant == "lab" }
	return d
}

func TestOnlyReadsOfATenantThatWantsItMayBeJournaled(t *testing.T) {
	for name, c := range map[string]struct {
		tenant, user, tool string
		reads              bool
		want               bool
	}{
		"a read":                   {"lab", "alice", "get_customer", true, true},
		"a read that is denied":    {"lab", "mallory", "get_customer", true, true},
		"a write":                  {"lab", "alice", "get_customer", false, false},
		"a tenant that refuses":    {"acme", "alice", "get_customer", true, false},
		"a read that takes a rate": {"lab", "alice", "refund_order", true, false},
	} {
		d := journaling(t)
		args := okCall
		if c.tool == "refund_order" {
			args = `{"order":"O-1","amount_cents":1}`
		}
		q := callBy(person(c.tenant, c.user), c.tool, args)
		q.Reads = c.reads

		if p, err := d.Begin(t.Context(), q); err == nil {
			p.Done(t.Context(), Result{Outcome: Succeeded})
		}

		if len(d.log.entries) == 0 {
			t.Errorf("%s: nothing was recorded", name)
		}
		if got := d.log.entries[0].Journal; got != c.want {
			t.Errorf("%s: got %v for the row %q, want %v", name, got, d.log.rows(), c.want)
		}
	}
}

// A question or another RPC is never journaled, whatever it is about.
func TestWhatIsNoToolCallIsNotJournaled(t *testing.T) {
	d := journaling(t)
	q := callBy(person("lab", "alice"), "", "")
	q.Action, q.Tool = "run_agent", ""
	q.Resource = Entity{Type: "Agent", ID: "support"}

	if err := d.Guard.Read(t.Context(), q); err != nil {
		t.Fatal(err)
	}

	if d.log.entries[0].Journal {
		t.Error("it may be journaled")
	}
}

// diverting is a sink that hangs and has a journal, or none.
type diverting struct {
	journal bool
	kept    []*audit.Record
}

func (d *diverting) Append(e audit.Entry) *audit.Receipt {
	r := audit.NewReceipt()
	r.Divertible(func(context.Context) bool {
		if d.journal && e.Journal {
			d.kept = append(d.kept, e.Record)
		}
		return d.journal && e.Journal
	})
	return r
}

func TestASinkThatHangsLosesItsReadsToItsJournal(t *testing.T) {
	for _, journal := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d, sink := journaling(t), &diverting{journal: journal}
			d.config.Sink = sink
			q, n, start := callBy(person("lab", "alice"), "get_customer", okCall), 0, time.Now()
			q.Reads = true

			err := d.Do(t.Context(), q, effects(&n))

			if time.Since(start) != 5*time.Second {
				t.Errorf("it took %v", time.Since(start))
			}
			if journal && (err != nil || n != 1 || len(sink.kept) != 1) {
				t.Errorf("got %v, %d effects, %d rows in the journal", err, n, len(sink.kept))
			}
			if !journal && (!errors.Is(err, fault.AuditUnavailable) || n != 0) {
				t.Errorf("got %v and %d effects without a journal", err, n)
			}
			if !journal && !strings.Contains(wantFault(t, err, codes.Unavailable, fault.AuditUnavailable).Message, "record") {
				t.Errorf("got %v, want what to do", err)
			}
		})
	}
}
