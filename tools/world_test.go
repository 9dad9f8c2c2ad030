package tools_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
)

// world is a gate with a real guard, a real engine and an audit log in memory.
type world struct {
	t        testing.TB
	log      *audit.Memory
	sink     *spy
	guard    *policy.Guard
	registry *tools.Registry
	gate     *tools.Gate
	now      time.Time
	trace    *trace
	lanes    *tools.Lanes
	live     tools.Live
	reports  []error
	alarms   []policy.Alarm
	mu       sync.Mutex
}

// trace is what happened, in order.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(line string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, line)
}

func (tr *trace) all() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.lines)
}

// spy is a sink that can hold rows back and be told of them.
type spy struct {
	*audit.Memory
	before func(*audit.Record)
	hold   chan struct{} // rows become durable when it is closed
	trace  *trace
}

func (s *spy) Append(e audit.Entry) *audit.Receipt {
	r := *e.Record
	if s.before != nil {
		s.before(&r)
	}
	line := "row " + string(r.Phase) + " " + r.Decision + r.Outcome
	if s.hold == nil {
		s.trace.add(line)
		return s.Memory.Append(e)
	}
	later := audit.NewReceipt()
	go func() {
		<-s.hold
		s.trace.add(line)
		later.Settle(s.Memory.Append(e).Wait(context.Background()))
	}()
	return later
}

const permitAll = `@id("all") permit (principal, action, resource);`

// scope of the tools that ask for one.
const scope = "crm.write"

type order struct {
	Owner  string `json:"owner"`
	Amount int    `json:"amount"`
	Note   string `json:"note,omitempty"`
}

// options change what newWorld makes.
type options struct {
	policies string // more than permitAll, or with only instead of it
	only     bool
	tools    []tools.Tool // more than the standard ones
	refs     []string     // nil: all
	limits   tools.Limits
}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), trace: &trace{}}
	w.log = audit.NewMemory(func() time.Time { return w.now })
	w.sink = &spy{Memory: w.log, trace: w.trace}
	var err error
	if w.registry, err = tools.NewRegistry(append(w.tools(), o.tools...)...); err != nil {
		t.Fatalf("registry: %v", err)
	}
	w.guard = w.newGuard(w.sink)
	if !o.only {
		o.policies = permitAll + o.policies
	}
	w.load(o.policies)
	if o.refs == nil {
		o.refs = w.registry.Names()
	}
	w.gate = w.newGate("support", o.refs, o.limits)
	return w
}

func (w *world) newGuard(s audit.Sink) *policy.Guard {
	w.t.Helper()
	g, err := policy.NewGuard(policy.GuardConfig{
		Sink: s, Approvals: w.log, DigestKey: func(string) []byte { return []byte("key") }, Clock: func() time.Time { return w.now },
		OnAlarm: func(_ context.Context, a policy.Alarm) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.alarms = append(w.alarms, a)
		},
	})
	if err != nil {
		w.t.Fatalf("guard: %v", err)
	}
	return g
}

// useSink puts another audit log behind the gate.
func (w *world) useSink(s audit.Sink) {
	engine := w.guard.Engine()
	w.guard = w.newGuard(s)
	w.guard.Swap(engine)
	w.gate = w.newGate("support", w.registry.Names(), tools.Limits{})
}

func (w *world) newGate(agent string, refs []string, limits tools.Limits) *tools.Gate {
	g, err := tools.NewGate(tools.GateConfig{
		Registry: w.registry, Guard: w.guard, Journal: w.log, Agent: agent, Tools: refs, Live: w.live,
		Clock: func() time.Time { return w.now }, Limits: limits, Lanes: w.lanes,
		Report: func(_ context.Context, _ string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reports = append(w.reports, err)
		},
	})
	if err != nil {
		w.t.Fatalf("gate: %v", err)
	}
	return g
}

// load makes the guard decide by other policies.
func (w *world) load(text string) {
	w.t.Helper()
	set, err := policy.Load(policy.Config{
		FS: fstest.MapFS{"p.cedar": {Data: []byte(text)}}, Tools: w.registry.Schemas(),
	})
	if err != nil {
		w.t.Fatalf("policies: %v", err)
	}
	w.guard.Swap(policy.NewEngine(set))
}

// tools are what most tests call; each says in the trace that it was called.
func (w *world) tools() []tools.Tool {
	act := func(name string) func(context.Context, order) (map[string]any, error) {
		return func(_ context.Context, in order) (map[string]any, error) {
			w.trace.add("effect " + name)
			return map[string]any{"amount": in.Amount, "note": in.Note, "ssn": "123-45-6789"}, nil
		}
	}
	return []tools.Tool{
		tools.Func("refund", "Refunds an order.", act("refund"), tools.Scopes(scope), tools.OwnerParam("owner", tools.OwnerSubject)),
		tools.Func("look", "Looks at an order.", act("look"), tools.ReadOnly()),
		tools.Func("put", "Puts an order.", act("put"), tools.Idempotent()),
		tools.Func("post", "Posts an order.", act("post")),
	}
}

func (w *world) person(scopes ...string) identity.Principal {
	return identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: "bob", Tenant: "acme", Email: "bob@acme.example",
		Scopes: identity.NewScopes(scopes...), Expires: w.now.Add(time.Hour),
	}}
}

// as binds the person to a context, acting through the support agent.
func (w *world) as(p identity.Principal, ceiling *identity.Scopes) context.Context {
	w.t.Helper()
	g, err := identity.Root("grt_1", p, nil, "").Child("support", ceiling, 8)
	if err != nil {
		w.t.Fatalf("child: %v", err)
	}
	return identity.WithGrant(w.t.Context(), g)
}

func (w *world) bob() context.Context { return w.as(w.person(scope), nil) }

const (
	mine   = `{"owner":"bob","amount":5}`
	theirs = `{"owner":"eve","amount":5}`
)

func call(name, args string) agents.ToolCall {
	return agents.ToolCall{ID: "run_1/7", RunID: "run_1", SessionID: "ses_1", Thread: "th", Name: name, Arguments: args}
}

// do ranges over a call and keeps its events.
func (w *world) do(ctx context.Context, c agents.ToolCall) ([]agents.Event, error) {
	var events []agents.Event
	for ev, err := range w.gate.Call(ctx, c) {
		if err != nil {
			return events, err
		}
		if d, ok := ev.Body.(agents.ToolCallDecided); ok {
			w.trace.add("decided " + string(d.Decision))
		}
		events = append(events, ev)
	}
	return events, nil
}

// finished is the last event of a call that must not end with an error.
func (w *world) finished(ctx context.Context, c agents.ToolCall) agents.ToolCallFinished {
	w.t.Helper()
	events, err := w.do(ctx, c)
	if err != nil {
		w.t.Fatalf("call %s: %v", c.Name, err)
	}
	fin, ok := events[len(events)-1].Body.(agents.ToolCallFinished)
	if !ok {
		w.t.Fatalf("call %s ends with %T", c.Name, events[len(events)-1].Body)
	}
	return fin
}

func (w *world) effects() int {
	n := 0
	for _, l := range w.trace.all() {
		if len(l) > 6 && l[:6] == "effect" {
			n++
		}
	}
	return n
}

// refusal is what the model reads of a refused or failed call.
type refusal struct {
	Error struct {
		Reason  fault.Reason
		Message string
		Next    string
		Fields  []struct{ Path, Problem string }
		Retry   string `json:"retry_after"`
	}
}

func read(t testing.TB, fin agents.ToolCallFinished) refusal {
	t.Helper()
	var r refusal
	if err := json.Unmarshal([]byte(fin.Result), &r); err != nil {
		t.Fatalf("result %q: %v", fin.Result, err)
	}
	return r
}
