package runs_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
)

func TestAttachedRunShowsWhatItStoresAndItsDeltasInOrder(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, talker)
		run := d.start(t, ana(t), "")

		got, err := collect(run.Events(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		who := agents.Speaker{Tenant: "acme", Subject: "ana", Name: "ana"}
		want := []agents.Body{
			agents.RunStarted{Target: "support", GrantID: "grt_ana", User: who, Scopes: []string{"crm.read"}, Tier: "interactive", Limits: agents.Limits{MaxTurns: 64, Timeout: 15 * time.Minute}},
			agents.Message{Role: agents.RoleUser, Text: "where is my order", Speaker: who},
			agents.TurnStarted{Turn: 1},
			agents.TextDelta{Text: "hel"},
			agents.TextDelta{Text: "lo"},
			reply("hello").Body,
			agents.RunFinished{StopReason: agents.StopCompleted, Output: "hello", Usage: reply("hello").Body.(agents.Message).Usage},
		}
		if diff := cmp.Diff(want, bodies(got)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		stored := slices.DeleteFunc(slices.Clone(got), func(e agents.Event) bool { return e.Live() })
		if diff := cmp.Diff(stored, d.stored(t, run)); diff != "" {
			t.Errorf("shown and stored differ (-shown +stored):\n%s", diff)
		}
		for i, e := range stored {
			if e.Sequence != uint64(i+1) || e.RunID != run.ID || e.SessionID != run.SessionID || e.Time.IsZero() {
				t.Errorf("event %d is not stamped: %+v", i, e)
			}
		}
		if s := d.state(t, run); s != runs.StateFinished {
			t.Errorf("the index says %s, want finished", s)
		}
	})
}

func TestStoredEventIsShownAfterItIsStored(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), clerk(func() {}))
	run := d.start(t, ana(t), "")

	for e, err := range run.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got := d.stored(t, run); !e.Live() && uint64(len(got)) < e.Sequence {
			t.Errorf("event %d was shown when %d were stored", e.Sequence, len(got))
		}
	}
}

func TestToolActsOnlyAfterItsDecisionIsStored(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		var d *desk
		var run *runs.Run
		acted := false
		d = newDesk(t, log, clerk(func() {
			acted = true
			all := d.stored(t, run)
			if b, ok := all[len(all)-1].Body.(agents.ToolCallDecided); !ok || b.Decision != agents.Allowed {
				t.Errorf("the newest stored event at the effect is %+v", all[len(all)-1].Body)
			}
		}))
		run = d.start(t, ana(t), "")

		got, err := collect(run.Events(t.Context()))

		if err != nil || !acted || end(t, got).StopReason != agents.StopCompleted {
			t.Errorf("got error %v, acted %t, end %+v", err, acted, end(t, got))
		}
		if id := got[3].CallID; id != run.ID+"/4" {
			t.Errorf("call id is %q, want %s/4", id, run.ID)
		}
	})
}

func TestSessionGoesOnWithItsWholeTranscript(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		var seen []int
		d := newDesk(t, log, script(func(_ context.Context, tr *agents.Transcript, yield func(agents.Event, error) bool) {
			seen = append(seen, len(tr.Since(0)))
			say(yield, reply("hello"), finished("hello"))
		}))
		first := d.start(t, ana(t), "")
		collect(first.Events(t.Context()))

		second := d.start(t, ana(t), first.SessionID)
		got, err := collect(second.Events(t.Context()))

		if err != nil || second.SessionID != first.SessionID || second.ID == first.ID {
			t.Fatalf("second run %s in %s: %v", second.ID, second.SessionID, err)
		}
		if diff := cmp.Diff([]int{2, 6}, seen); diff != "" {
			t.Errorf("events that the agent saw (-want +got):\n%s", diff)
		}
		if got[0].Sequence != 5 {
			t.Errorf("the second run begins at %d, want 5", got[0].Sequence)
		}
	})
}

func TestStartRefuses(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker)
	open := d.start(t, ana(t), "")
	done := d.start(t, ana(t), "")
	collect(done.Events(t.Context()))
	for _, c := range []struct {
		name   string
		ctx    context.Context
		spec   runs.Spec
		reason fault.Reason
	}{
		{"nobody", t.Context(), runs.Spec{Target: "support"}, fault.Internal},
		{"an unknown target", ana(t), runs.Spec{Target: "nobody"}, fault.NotFound},
		{"a group chat of an agent's name", ana(t), runs.Spec{Target: "support", GroupChat: true}, fault.NotFound},
		{"an unknown session", ana(t), runs.Spec{Target: "support", SessionID: "ses_none"}, fault.NotFound},
		{"another person's session", as(t, "ben", "acme", time.Hour), runs.Spec{Target: "support", SessionID: done.SessionID}, fault.NotFound},
		{"another tenant's session", as(t, "ana", "beta", time.Hour), runs.Spec{Target: "support", SessionID: done.SessionID}, fault.NotFound},
		{"a busy session", ana(t), runs.Spec{Target: "support", SessionID: open.SessionID}, fault.SessionBusy},
	} {
		if _, err := d.Start(c.ctx, c.spec); !errors.Is(err, c.reason) {
			t.Errorf("%s: got error %v, want %s", c.name, err, c.reason)
		}
	}
	if n := len(d.stored(t, open)); n != 2 {
		t.Errorf("the busy session has %d events, want 2", n)
	}
}

func TestSessionStaysWithItsFirstTarget(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) {
		c.Targets = func(string, bool) (agents.Agent, bool) { return talker, true }
	})
	run := d.start(t, ana(t), "")
	collect(run.Events(t.Context()))

	for _, spec := range []runs.Spec{{Target: "billing", SessionID: run.SessionID}, {Target: "support", GroupChat: true, SessionID: run.SessionID}} {
		if _, err := d.Start(ana(t), spec); !errors.Is(err, fault.ArgumentInvalid) {
			t.Errorf("%+v: got error %v, want ARGUMENT_INVALID", spec, err)
		}
	}
}

func TestJoinLetsAnotherPersonSpeak(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) {
		c.Targets = func(string, bool) (agents.Agent, bool) { return talker, true }
		c.Join = func(_ context.Context, s runs.SessionRecord, g identity.Grant) bool {
			return s.Owner.Subject == "ana" && g.Principal().Subject() == "ben"
		}
	})
	run := d.start(t, ana(t), "", chat)
	collect(run.Events(t.Context()))
	alone := d.start(t, ana(t), "")
	collect(alone.Events(t.Context()))
	if _, err := d.tryStart(as(t, "ben", "acme", time.Hour), alone.SessionID); !errors.Is(err, fault.NotFound) {
		t.Errorf("an agent's session: got %v, want NOT_FOUND", err)
	}

	second := d.start(t, as(t, "ben", "acme", time.Hour), run.SessionID, chat)

	all := d.stored(t, second)
	if m := all[len(all)-1].Body.(agents.Message); m.Speaker.Subject != "ben" {
		t.Errorf("the speaker is %+v, want ben", m.Speaker)
	}
}

func TestOfManyStartsInOneSessionOneWins(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, talker)
		first := d.start(t, ana(t), "")
		collect(first.Events(t.Context()))
		ctx := ana(t)
		var mu sync.Mutex
		won, wg := 0, sync.WaitGroup{}
		for range 8 {
			wg.Go(func() {
				_, err := d.tryStart(ctx, first.SessionID)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !errors.Is(err, fault.SessionBusy):
					t.Errorf("got error %v, want SESSION_BUSY", err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%d starts won, want 1", won)
		}
	})
}

func TestRequestIDMakesARepeatSafe(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker)
	request := func(id, digest string) func(*runs.Spec) {
		return func(s *runs.Spec) { s.RequestID, s.RequestDigest = id, digest }
	}
	first := d.start(t, ana(t), "", request("r1", "d1"))
	shown, _ := collect(first.Events(t.Context()))

	again := d.start(t, ana(t), "", request("r1", "d1"))
	got, err := collect(again.Events(t.Context()))

	if again.ID != first.ID || !again.Repeated || err != nil {
		t.Errorf("the repeat is run %s (repeated %t, %v), want %s", again.ID, again.Repeated, err, first.ID)
	}
	if end(t, got) != end(t, shown) {
		t.Errorf("the repeat ended with %+v, want %+v", end(t, got), end(t, shown))
	}
	if _, err := d.tryStart(ana(t), "", request("r1", "d2")); !errors.Is(err, fault.ArgumentInvalid) {
		t.Errorf("another body: got %v, want ARGUMENT_INVALID", err)
	}
	if other := d.start(t, as(t, "ben", "acme", time.Hour), "", request("r1", "d2")); other.Repeated {
		t.Error("another person's request id was taken for a repeat")
	}
}

func TestOfManyEqualRequestsOneRuns(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker)
	ctx := ana(t)
	var ids sync.Map
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			run, err := d.tryStart(ctx, "", func(s *runs.Spec) { s.RequestID, s.RequestDigest = "r1", "d1" })
			if err != nil {
				t.Errorf("start: %v", err)
				return
			}
			ids.Store(run.ID, run.Repeated)
		})
	}
	wg.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d runs for one request, want 1", n)
	}
}

func TestSlowConsumerHoldsUpTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		d := newDesk(t, runs.NewMemory(), script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			for made = 1; made < 100; made++ {
				if !yield(about("m1", agents.TextDelta{Text: "x"}), nil) {
					return
				}
			}
			say(yield, about("m1", agents.Message{Role: agents.RoleAssistant}), finished(""))
		}))
		run := d.start(t, ana(t), "")

		shown := 0
		for e := range run.Events(t.Context()) {
			if !e.Live() {
				continue
			}
			shown++
			time.Sleep(time.Minute / 100) //nolint:forbidigo // the fake clock of synctest: a client that reads slowly
			if made != shown {
				t.Fatalf("the agent made %d deltas when the client had read %d", made, shown)
			}
		}
	})
}

func TestManyWatchersSeeTheRunWithoutAGap(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		const watchers, turns = 5, 40
		d := newDesk(t, log, script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			for i := range turns {
				id := string(rune('A' + i))
				if !say(yield, of(agents.TurnStarted{Turn: i + 1}), about(id, agents.TextDelta{Text: "x"}), about(id, agents.Message{Role: agents.RoleAssistant, Text: "x"})) {
					return
				}
			}
			say(yield, finished("x"))
		}))
		run := d.start(t, ana(t), "")
		var wg sync.WaitGroup
		for w := range watchers {
			wg.Go(func() {
				last := uint64(w)
				for e, err := range d.Watch(t.Context(), "acme", run.ID, last) {
					if err != nil {
						t.Errorf("watch: %v", err)
						return
					}
					if e.Live() {
						continue
					}
					if e.Sequence != last+1 {
						t.Errorf("event %d follows %d", e.Sequence, last)
					}
					last = e.Sequence
				}
				if last != 2+2*turns+1 {
					t.Errorf("watcher %d ended at %d, want %d", w, last, 2+2*turns+1)
				}
			})
		}
		if _, err := collect(run.Events(t.Context())); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

func TestWatchingAnEndedRunEnds(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker)
	first := d.start(t, ana(t), "")
	collect(first.Events(t.Context()))
	second := d.start(t, ana(t), first.SessionID)
	collect(second.Events(t.Context()))

	for after, want := range map[uint64]int{0: 5, 3: 2, 5: 0, 6: 0, 99: 0} {
		got, err := collect(d.Watch(t.Context(), "acme", first.ID, after))
		if err != nil || len(got) != want {
			t.Errorf("after %d: got %d events and %v, want %d", after, len(got), err, want)
		}
	}
	if _, err := collect(d.Watch(t.Context(), "beta", first.ID, 0)); !errors.Is(err, fault.NotFound) {
		t.Errorf("another tenant's watch: got %v, want NOT_FOUND", err)
	}
}

func TestMessagesStatusAndListsTellWhatHappened(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), clerk(func() {}))
	run := d.start(t, ana(t), "")
	collect(run.Events(t.Context()))
	owner := runs.Owner{Issuer: "https://idp.example", Subject: "ana"}

	_, status, err := d.Status(t.Context(), "acme", run.ID)
	if err != nil || status.Output != "done" || status.Usage.Total() != 5 || status.State() != runs.StateFinished || status.Last != 8 {
		t.Errorf("status %+v, %v", status, err)
	}
	said, err := collect(d.Messages(t.Context(), "acme", run.SessionID))
	if err != nil || len(said) != 2 {
		t.Errorf("got %d messages and %v, want 2", len(said), err)
	}
	if list, err := d.Runs(t.Context(), "acme", owner, "", 10); err != nil || len(list) != 1 || list[0].RunID != run.ID {
		t.Errorf("runs %+v, %v", list, err)
	}
	if list, err := d.Sessions(t.Context(), "acme", owner, "", 10); err != nil || len(list) != 1 || list[0].LastRun != run.ID {
		t.Errorf("sessions %+v, %v", list, err)
	}
}

func TestDeletedSessionIsGone(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, talker)
		run := d.start(t, ana(t), "")
		if err := d.Delete(t.Context(), "acme", run.SessionID); !errors.Is(err, fault.SessionBusy) {
			t.Errorf("delete of a session at work: got %v, want SESSION_BUSY", err)
		}
		collect(run.Events(t.Context()))
		if err := d.Delete(t.Context(), "beta", run.SessionID); !errors.Is(err, fault.NotFound) {
			t.Errorf("delete by another tenant: got %v, want NOT_FOUND", err)
		}

		if err := d.Delete(t.Context(), "acme", run.SessionID); err != nil {
			t.Fatal(err)
		}

		if n := len(d.stored(t, run)); n != 0 {
			t.Errorf("%d events are left", n)
		}
		if _, err := d.tryStart(ana(t), run.SessionID); !errors.Is(err, fault.NotFound) {
			t.Errorf("a run in a deleted session: got %v, want NOT_FOUND", err)
		}
	})
}
