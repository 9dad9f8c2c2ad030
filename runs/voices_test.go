package runs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	a.acts = append(a.acts, fmt.Sprintf("%s and %d", g.Principal().Subject(), len(g.Others())))
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

func TestAnOwnersAuthorityMustHoldForOthersToUseIt(t *testing.T) {
	authority, act := runs.AuthorityOwner, &actor{Agent: talker}
	d := company(t, &authority, act)
	first := d.start(t, as(t, "ana", "acme", -time.Second), "", chat)
	collect(first.Events(t.Context()))

	_, err := d.tryStart(as(t, "ben", "acme", time.Hour), first.SessionID, chat)
	if !errors.Is(err, fault.CredentialExpired) {
		t.Errorf("got %v, want CREDENTIAL_EXPIRED", err)
	}
	again := d.start(t, ana(t), first.SessionID, chat)
	collect(again.Events(t.Context()))
	second := d.start(t, as(t, "ben", "acme", time.Hour), first.SessionID, chat)
	collect(second.Events(t.Context()))
	if got, want := fmt.Sprint(act.acts), "[ana and 0 ana and 0 ana and 0]"; got != want {
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
