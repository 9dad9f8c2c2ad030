package runs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
)

// actor notes for whom it acts.
type actor struct {
	agents.Agent
	acts []string
}

func (a *actor) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	g, _ := identity.FromContext(ctx)
	note := fmt.Sprintf("%s and %d", g.Principal().Subject(), len(g.Others()))
	if s, lent := g.Speaker(); lent {
		note += " for " + s.Principal().Subject()
	}
	a.acts = append(a.acts, note)
	return a.Agent.Run(ctx, t)
}

// company is a desk with one group chat, of an authority that can be changed, that
// everybody may join.
func company(t *testing.T, authority *string, act *actor) *desk {
	return newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) {
		c.Targets = func(string, bool) (agents.Agent, bool) { return act, true }
		c.Authority = func(string) string { return *authority }
		c.Join = func(context.Context, runs.SessionRecord, identity.Grant) bool { return true }
	})
}

func chat(s *runs.Spec) { s.GroupChat = true }

func TestAnotherTurnWaitsForTheOwnersAuthority(t *testing.T) {
	authority, act := runs.AuthorityOwner, &actor{Agent: talker}
	d := company(t, &authority, act)
	d.work(t)
	first := d.start(t, as(t, "ana", "acme", -time.Second), "", chat)
	collect(first.Events(t.Context()))

	run := d.start(t, as(t, "ben", "acme", time.Hour), first.SessionID, chat)
	all, err := collect(run.Events(t.Context()))
	if last := all[len(all)-1]; err != nil || !reflect.DeepEqual(last.Body, agents.CredentialRequired{}) {
		t.Fatalf("got %v, %v, want it to wait for a credential", last, err)
	}
	for name, who := range map[string]context.Context{"ben himself": as(t, "ben", "acme", 2*time.Hour), "another": as(t, "eve", "acme", time.Hour)} {
		if err := d.Refresh(who, "acme", run.ID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.Refresh(ana(t), "acme", run.ID); err != nil {
		t.Fatal(err)
	}

	if all, err := collect(d.Watch(t.Context(), "acme", run.ID, 0)); err != nil || end(t, all).StopReason != agents.StopCompleted {
		t.Errorf("got %v, %v, want it completed when the owner is back", all, err)
	}
	if got, want := fmt.Sprint(act.acts), "[ana and 0 ana and 0 for ben]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheAuthorityOfASessionIsFixedWhenItIsMade(t *testing.T) {
	authority, act := runs.AuthorityIntersection, &actor{Agent: talker}
	d := company(t, &authority, act)
	first := d.start(t, ana(t), "", chat)
	collect(first.Events(t.Context()))
	authority = runs.AuthoritySpeaker

	second := d.start(t, as(t, "ben", "acme", time.Hour), first.SessionID, chat)
	collect(second.Events(t.Context()))

	if got, want := fmt.Sprint(act.acts), "[ana and 0 ben and 1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOnlyPeopleWhoMayJoinSpeakInAnothersSession(t *testing.T) {
	authority := runs.AuthoritySpeaker
	d := newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) {
		c.Targets = func(string, bool) (agents.Agent, bool) { return talker, true }
		c.Authority = func(string) string { return authority }
		c.Join = func(_ context.Context, _ runs.SessionRecord, g identity.Grant) bool {
			return g.Principal().Subject() != "eve"
		}
	})
	first := d.start(t, ana(t), "", chat)
	collect(first.Events(t.Context()))
	job := identity.Root("grt_job", identity.Principal{Workload: &identity.Workload{ID: "spiffe://acme.test/job", Tenant: "acme", NotAfter: time.Now().Add(time.Hour)}}, nil, "")

	for name, ctx := range map[string]context.Context{"who may not": as(t, "eve", "acme", time.Hour), "a workload": identity.WithGrant(t.Context(), job)} {
		if _, err := d.tryStart(ctx, first.SessionID, chat); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want NOT_FOUND", name, err)
		}
	}
	collect(d.start(t, as(t, "ben", "acme", time.Hour), first.SessionID, chat).Events(t.Context()))
}

// deaf keeps no voice.
type deaf struct{}

func (deaf) PutVoice(context.Context, runs.Voice) error { return nil }

func (deaf) Voices(context.Context, string, string) ([]runs.Voice, error) { return nil, nil }

// Without the authority of who has answered, what follows is not theirs to allow.
func TestARunEndsWhereAVoiceIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		voices func(runs.Voices) runs.Voices
		want   string
	}{
		"kept": {func(v runs.Voices) runs.Voices { return v }, "done"},
		"lost": {func(runs.Voices) runs.Voices { return deaf{} }, ""},
	} {
		d := newDesk(t, runs.NewMemory(), asker, func(cfg *runs.Config) { cfg.Voices = c.voices(cfg.Voices) })
		run := d.start(t, ana(t), "")
		collect(run.Events(t.Context()))
		d.work(t)
		for _, body := range []agents.Body{agents.ApprovalDecided{ApprovalID: "apr_1", Approved: true}, agents.InputReceived{Text: "blue"}} {
			if _, err := d.Answer(as(t, "ben", "acme", time.Hour), "acme", run.ID, body); err != nil {
				t.Fatal(err)
			}
		}

		all, err := collect(d.Watch(t.Context(), "acme", run.ID, 0))
		if got := end(t, all); err != nil || got.Output != c.want || (got.StopReason == agents.StopCompleted) != (c.want != "") {
			t.Errorf("%s: got %+v, %v, want output %q", name, got, err, c.want)
		}
	}
}

func TestTheVoicesOfASessionAreBounded(t *testing.T) {
	authority := runs.AuthorityIntersection
	d := company(t, &authority, &actor{Agent: talker})
	first := d.start(t, ana(t), "", chat)
	collect(first.Events(t.Context()))
	for i := range runs.MaxVoices - 1 {
		collect(d.start(t, as(t, fmt.Sprint("p", i), "acme", time.Hour), first.SessionID, chat).Events(t.Context()))
	}

	_, err := d.tryStart(as(t, "late", "acme", time.Hour), first.SessionID, chat)
	if !errors.Is(err, fault.RateLimited) {
		t.Errorf("got %v, want RATE_LIMITED", err)
	}
	collect(d.start(t, ana(t), first.SessionID, chat).Events(t.Context()))
}
