package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
)

// gates makes gates in front of the cases' tools: real ones, with a policy that
// permits everything and a log in memory.
type gates struct {
	registry *tools.Registry
	guard    *policy.Guard
	journal  *audit.Memory
}

// Arguments of the tools.
type (
	texts struct {
		Text string `json:"text"`
	}
	messages struct {
		Msg string `json:"msg"`
	}
	numbers struct {
		A int `json:"a"`
		B int `json:"b"`
	}
)

// standard are the tools of the cases.
func standard() []tools.Tool {
	say := func(f func(ctx context.Context, text string) (string, error)) func(context.Context, texts) (string, error) {
		return func(ctx context.Context, in texts) (string, error) { return f(ctx, in.Text) }
	}
	return []tools.Tool{
		tools.Func("echo", "Repeats a text.", say(func(_ context.Context, s string) (string, error) { return s, nil }), tools.ReadOnly()),
		tools.Func("upper", "A text in capitals.", say(func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }), tools.ReadOnly()),
		tools.Func("slow", "Repeats a text after a while.", say(func(ctx context.Context, s string) (string, error) {
			return s, wait(ctx, 50*time.Millisecond)
		}), tools.ReadOnly()),
		tools.Func("hang", "Never answers.", say(func(ctx context.Context, s string) (string, error) { return s, wait(ctx, time.Hour) }), tools.ReadOnly()),
		tools.Func("add", "Adds two numbers.", func(_ context.Context, in numbers) (int, error) { return in.A + in.B, nil }, tools.ReadOnly()),
		tools.Func("noargs", "Says ok.", func(context.Context, struct{}) (string, error) { return "ok", nil }, tools.ReadOnly()),
		tools.Func("boom", "Fails.", func(_ context.Context, in messages) (string, error) { return "", errors.New(in.Msg) }, tools.ReadOnly()),
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newGates makes gates in front of the standard tools and some more.
func newGates(more ...tools.Tool) (*gates, error) {
	g := &gates{journal: audit.NewMemory(time.Now)}
	var err error
	if g.registry, err = tools.NewRegistry(append(standard(), more...)...); err != nil {
		return nil, err
	}
	set, err := policy.Load(policy.Config{
		FS:    fstest.MapFS{"all.cedar": {Data: []byte(`@id("all") permit (principal, action, resource);`)}},
		Tools: g.registry.Schemas(),
	})
	if err != nil {
		return nil, err
	}
	g.guard, err = policy.NewGuard(policy.GuardConfig{Sink: g.journal, DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		return nil, err
	}
	g.guard.Swap(policy.NewEngine(set))
	return g, nil
}

// gate is one agent's.
func (g *gates) gate(agent string, names []string) (agents.Toolbox, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return tools.NewGate(tools.GateConfig{Registry: g.registry, Guard: g.guard, Journal: g.journal, Agent: agent, Tools: names})
}

// permit lets every call to an agent happen.
func permit(ctx context.Context, c agents.ToolCall, effect agents.Stream) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		if !c.Resumed && !yield(agents.Event{Body: agents.ToolCallDecided{Decision: agents.Allowed, PolicyIDs: []string{"all"}}}, nil) {
			return
		}
		for ev, err := range effect(ctx) {
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// echo is an agent without a model: it repeats the first new message, or what it
// said last; from its stop-th turn on it asks to stop. With fail each turn fails.
type echo struct {
	name string
	stop int
	fail error
}

var errFlaky = errors.New("I am flaky")

func (e echo) Name() string        { return e.name }
func (e echo) Description() string { return e.name + " agent" }

func (e echo) Run(_ context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		if e.fail != nil {
			yield(agents.Event{}, fmt.Errorf("agent %s: %w", e.name, e.fail))
			return
		}
		turn, text, fresh := 0, "", false
		for _, ev := range t.Since(0) {
			switch b := ev.Body.(type) {
			case agents.RunStarted:
				turn, fresh = turn+1, true
			case agents.Message:
				if fresh && b.Role == agents.RoleUser {
					text, fresh = b.Text, false
				}
			}
		}
		m := agents.Message{Role: agents.RoleAssistant, Text: text}
		if e.stop > 0 && turn >= e.stop {
			m.Kind, m.Text = agents.KindStop, "TERMINATE"
		}
		event := func(b agents.Body) agents.Event {
			return agents.Event{Source: e.name, MessageID: fmt.Sprintf("%s/%d", e.name, turn), Body: b}
		}
		if yield(event(m), nil) {
			yield(event(agents.RunFinished{StopReason: agents.StopCompleted, Output: m.Text}), nil)
		}
	}
}
