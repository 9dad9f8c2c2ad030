package runs_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/runs/runstest"
)

// script is an agent as a function.
type script func(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool)

func (s script) Name() string { return "support" }

func (s script) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) { s(ctx, t, yield) }
}

// desk is an engine and what is around it.
type desk struct {
	*runs.Engine
	log   runs.Log
	index *runstest.Index
}

func newDesk(t testing.TB, log runs.Log, agent agents.Agent, change ...func(*runs.Config)) *desk {
	t.Helper()
	d := &desk{log: log, index: runstest.NewIndex()}
	c := runs.Config{
		Log: log, Index: d.index, Grants: d.index, Voices: d.index, Logger: slog.New(slog.DiscardHandler),
		Targets: func(name string, groupChat bool) (agents.Agent, bool) { return agent, name == "support" && !groupChat },
	}
	for _, f := range change {
		f(&c)
	}
	d.index, _ = c.Index.(*runstest.Index)
	var err error
	if d.Engine, err = runs.NewEngine(c); err != nil {
		t.Fatal(err)
	}
	return d
}

// work runs the engine's workers until the test ends or stop is called.
func (d *desk) work(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Errorf("engine: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func (d *desk) start(t testing.TB, ctx context.Context, session string, change ...func(*runs.Spec)) *runs.Run {
	t.Helper()
	run, err := d.tryStart(ctx, session, change...)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return run
}

func (d *desk) tryStart(ctx context.Context, session string, change ...func(*runs.Spec)) (*runs.Run, error) {
	spec := runs.Spec{Target: "support", Input: "where is my order", SessionID: session, Method: "RunAgent"}
	for _, f := range change {
		f(&spec)
	}
	return d.Start(ctx, spec)
}

func (d *desk) stored(t testing.TB, run *runs.Run) []agents.Event {
	t.Helper()
	return readAll(t, d.log, runs.Key{Tenant: "acme", Session: run.SessionID})
}

// state is the run's state in the index, which may lag behind the log: whoever
// watches sees the end a moment before it is indexed. It waits for that moment.
func (d *desk) state(t testing.TB, run *runs.Run) string {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		rec, err := d.Find(t.Context(), "acme", run.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, st, err := d.Status(t.Context(), "acme", run.ID)
		if err != nil || st.State() == rec.State || time.Now().After(end) {
			return rec.State
		}
	}
}

func detached(s *runs.Spec) { s.Detached = true }

func ana(t testing.TB) context.Context { return as(t, "ana", "acme", time.Hour) }

func as(t testing.TB, subject, tenant string, life time.Duration) context.Context {
	return identity.WithGrant(t.Context(), grantOf(subject, tenant, life))
}

func grantOf(subject, tenant string, life time.Duration) identity.Grant {
	return identity.Root("grt_"+subject, identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: subject, Tenant: tenant, Name: subject,
		Scopes: identity.NewScopes("crm.read"), Expires: time.Now().Add(life),
	}}, nil, "")
}

// collect ranges to the end.
func collect(events iter.Seq2[agents.Event, error]) (all []agents.Event, last error) {
	for e, err := range events {
		if err != nil {
			last = err
			continue
		}
		all = append(all, e)
	}
	return all, last
}

func end(t testing.TB, events []agents.Event) agents.RunFinished {
	t.Helper()
	if len(events) == 0 {
		t.Fatal("no events")
	}
	f, ok := events[len(events)-1].Body.(agents.RunFinished)
	if !ok {
		t.Fatalf("the last event is %+v, want RunFinished", events[len(events)-1].Body)
	}
	return f
}

func bodies(events []agents.Event) (all []agents.Body) {
	for _, e := range events {
		all = append(all, e.Body)
	}
	return all
}

func of(body agents.Body) agents.Event {
	return agents.Event{Source: "support", Chain: []string{"support"}, Body: body}
}

func about(messageID string, body agents.Body) agents.Event {
	e := of(body)
	e.MessageID = messageID
	return e
}

func reply(text string) agents.Event {
	return about("m-"+text, agents.Message{Role: agents.RoleAssistant, Text: text, Usage: agents.Usage{PromptTokens: 3, CompletionTokens: 2, ModelCalls: 1}})
}

func finished(text string) agents.Event {
	e := of(agents.RunFinished{StopReason: agents.StopCompleted, Output: text})
	e.Chain = nil
	return e
}

// say yields one event after the other until the consumer breaks.
func say(yield func(agents.Event, error) bool, events ...agents.Event) bool {
	for _, e := range events {
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// scriptOf yields bodies one after the other.
func scriptOf(all ...agents.Body) script {
	return func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		for _, body := range all {
			if !say(yield, of(body)) {
				return
			}
		}
	}
}

// talker answers with two deltas and their message.
var talker = script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
	say(yield, of(agents.TurnStarted{Turn: 1}), about("m-hello", agents.TextDelta{Text: "hel"}), about("m-hello", agents.TextDelta{Text: "lo"}), reply("hello"), finished("hello"))
})

// clerk calls one tool, whose effect is done, and answers.
func clerk(done func()) script {
	return func(_ context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) {
		if !say(yield, of(agents.TurnStarted{Turn: 1}), of(agents.ToolCallRequested{Tool: "refund", Arguments: `{"order":7}`, ModelCallID: "c1"})) {
			return
		}
		all := t.Since(0)
		call := func(body agents.Body) agents.Event {
			e := of(body)
			e.CallID = all[len(all)-1].CallID
			return e
		}
		if !say(yield, call(agents.ToolCallDecided{Decision: agents.Allowed, PolicyIDs: []string{"p1"}})) {
			return
		}
		done()
		say(yield, call(agents.ToolCallFinished{Result: `{"ok":true}`}), reply("done"), finished("done"))
	}
}

// brittleLog fails on one append.
type brittleLog struct {
	runs.Log
	mu     sync.Mutex
	failAt int // counts from 1
	err    error
	count  int
	after  func() // called after every successful append
}

var errBroken = errors.New("the disk is gone")

func (l *brittleLog) Append(ctx context.Context, k runs.Key, after uint64, events []agents.Event) error {
	l.mu.Lock()
	l.count++
	fail := l.count == l.failAt
	l.mu.Unlock()
	if fail {
		return l.err
	}
	err := l.Log.Append(ctx, k, after, events)
	if err == nil && l.after != nil {
		l.after()
	}
	return err
}

// eachLog runs a test with both logs.
func eachLog(t *testing.T, test func(t *testing.T, log runs.Log)) {
	t.Run("memory", func(t *testing.T) { test(t, runs.NewMemory()) })
	t.Run("jetstream", func(t *testing.T) { test(t, openJetStream(t, t.TempDir())) })
}
