package runs_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
)

// bearer is somebody with their own token at hand, as where tokens are exchanged.
func bearer(t testing.TB, subject, token string, life time.Duration) context.Context {
	sum := sha256.Sum256([]byte(token))
	g := identity.Root("grt_"+subject, identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: subject, Tenant: "acme", Name: subject, Thumbprint: base64.RawURLEncoding.EncodeToString(sum[:]),
		Scopes: identity.NewScopes("crm.read"), Expires: time.Now().Add(life),
	}}, nil, "")
	return identity.WithGrant(t.Context(), g.Bearing(identity.NewSecret(token)))
}

// holds says which token a run has at hand.
func holds(ctx context.Context) string {
	g, _ := identity.FromContext(ctx)
	token := g.Principal().User.Token()
	if token.IsZero() {
		return "none"
	}
	return token.Reveal()
}

// teller asks for an approval and then says which token it has.
var teller = script(func(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) {
	for _, e := range t.Since(0) {
		if _, decided := e.Body.(agents.ApprovalDecided); decided {
			say(yield, reply(holds(ctx)), finished("done"))
			return
		}
	}
	wait := of(agents.ApprovalRequested{ApprovalID: "apr_1", Tool: "refund"})
	wait.CallID = "call-1"
	say(yield, of(agents.TurnStarted{Turn: 1}), wait)
})

var atOnce = script(func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
	say(yield, reply(holds(ctx)), finished("done"))
})

// told is what the agent has said.
func told(t *testing.T, events []agents.Event) string {
	t.Helper()
	for _, e := range events {
		if m, ok := e.Body.(agents.Message); ok && m.Role == agents.RoleAssistant {
			return m.Text
		}
	}
	t.Fatal("the agent said nothing")
	return ""
}

func TestADetachedRunHasTheTokenThatItBeganWith(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), atOnce)
	run := d.start(t, bearer(t, "ana", "token-of-ana", time.Hour), "", detached)
	d.work(t)

	got, err := collect(run.Events(t.Context()))

	if err != nil || told(t, got) != "token-of-ana" {
		t.Errorf("got %q, %v, want ana's token", told(t, got), err)
	}
}

func TestARunHasTheTokenOfItsPersonWhoWakesItAndOfNobodyElse(t *testing.T) {
	for name, row := range map[string]struct{ subject, token, want string }{
		"its person":           {"ana", "token-of-ana", "token-of-ana"},
		"with a newer token":   {"ana", "fresh-token-of-ana", "fresh-token-of-ana"},
		"an approver":          {"ben", "token-of-ben", "none"},
		"a person without one": {"ana", "", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, runs.NewMemory(), teller)
			run := d.start(t, bearer(t, "ana", "token-of-ana", time.Hour), "")
			if _, err := collect(run.Events(t.Context())); err != nil {
				t.Fatal(err)
			}
			d.work(t)

			if _, err := d.Answer(bearer(t, row.subject, row.token, time.Hour), "acme", run.ID, agents.ApprovalDecided{ApprovalID: "apr_1", Approved: true}); err != nil {
				t.Fatal(err)
			}

			got, err := collect(d.Watch(t.Context(), "acme", run.ID, 0))
			if err != nil || told(t, got) != row.want {
				t.Errorf("got %q, %v, want %q", told(t, got), err, row.want)
			}
		})
	}
}

func TestNobodysTokenTakesThePlaceOfAnothers(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), teller)
	run := d.start(t, bearer(t, "ana", "token-of-ana", time.Hour), "", detached)
	d.work(t)
	for e, err := range d.Watch(t.Context(), "acme", run.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Pause() {
			break
		}
	}

	if _, err := d.Answer(bearer(t, "ben", "token-of-ben", time.Hour), "acme", run.ID, agents.ApprovalDecided{ApprovalID: "apr_1", Approved: true}); err != nil {
		t.Fatal(err)
	}

	got, err := collect(d.Watch(t.Context(), "acme", run.ID, 0))
	if err != nil || told(t, got) == "token-of-ben" {
		t.Errorf("got %q, %v, want another's token never", told(t, got), err)
	}
}

func TestNoTokenOutlivesTheProcessOrIsStored(t *testing.T) {
	log := runs.NewMemory()
	first := newDesk(t, log, atOnce)
	run := first.start(t, bearer(t, "ana", "token-of-ana", time.Hour), "", detached)
	kept, err := first.index.Grant(t.Context(), "grt_ana")
	if err != nil {
		t.Fatal(err)
	}
	second := newDesk(t, log, atOnce, func(c *runs.Config) { c.Index, c.Grants, c.Voices = first.index, first.index, first.index })
	second.work(t)

	got, err := collect(second.Watch(t.Context(), "acme", run.ID, 0))

	if err != nil || told(t, got) != "none" {
		t.Errorf("got %q, %v, want none in the next process", told(t, got), err)
	}
	if shown := fmt.Sprintf("%+v %+v", kept, got); strings.Contains(shown, "token-of-ana") {
		t.Errorf("the token is in the store: %s", shown)
	}
}

func TestATokenThatHasEndedIsNotHandedOut(t *testing.T) {
	now := time.Now()
	d := newDesk(t, runs.NewMemory(), atOnce, func(c *runs.Config) {
		c.Clock = func() time.Time { return now }
		c.Offline = func(context.Context, runs.RunRecord, identity.Grant) bool { return true }
	})
	run := d.start(t, bearer(t, "ana", "token-of-ana", time.Minute), "", detached)
	now = now.Add(2 * time.Minute)
	d.work(t)

	got, err := collect(run.Events(t.Context()))

	if err != nil || told(t, got) != "none" {
		t.Errorf("got %q, %v, want none: policy let the run go on offline", told(t, got), err)
	}
}
