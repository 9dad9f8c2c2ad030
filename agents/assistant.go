package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Assistant is a model in a loop: it asks, performs the calls of the reply
// through its toolbox, and asks again until the reply is an answer, a hand-off
// or a limit ends the loop. It holds no state and may run many transcripts.
type Assistant struct {
	cfg    AssistantConfig
	offers []Spec             // the hand-offs as tools
	routes map[string]Handoff // tool name → hand-off
}

// AssistantConfig says what an assistant is. Zero limits mean the defaults.
type AssistantConfig struct {
	Name         string // required
	Description  string // for other agents, not for the model
	Instructions string
	Model        Model   // required
	Toolbox      Toolbox // nil: no tools
	Handoffs     []Handoff

	MaxTurns         int // of this agent in one run: 8, at most 1,000
	ParallelCalls    int // of one reply at the same time: 8
	MaxToolsPerRun   int // of all agents in one thread: 128
	MaxArgumentBytes int // of one call: 64 KiB
	MaxReplyBytes    int // text and thought of one reply: 8 MiB
	MaxReplyChunks   int // of one reply: 100,000

	// MessageID names the reply that the event with this sequence asked for.
	// Nil: run id, "/m", sequence. It must be a function of its arguments.
	MessageID func(runID string, sequence uint64) string
}

const (
	maxTurnsCap = 1000
	maxToolName = 64 // DESIGN 7
	maxCallID   = 256
)

// NewAssistant checks the config and makes the assistant.
func NewAssistant(cfg AssistantConfig) (*Assistant, error) {
	cfg.MaxTurns = cmp.Or(cfg.MaxTurns, 8)
	cfg.ParallelCalls = cmp.Or(cfg.ParallelCalls, 8)
	cfg.MaxToolsPerRun = cmp.Or(cfg.MaxToolsPerRun, 128)
	cfg.MaxArgumentBytes = cmp.Or(cfg.MaxArgumentBytes, 64<<10)
	cfg.MaxReplyBytes = cmp.Or(cfg.MaxReplyBytes, 8<<20)
	cfg.MaxReplyChunks = cmp.Or(cfg.MaxReplyChunks, 100_000)
	if cfg.MessageID == nil {
		cfg.MessageID = messageID
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("assistant %q: %w", cfg.Name, err)
	}
	a := &Assistant{cfg: cfg, routes: make(map[string]Handoff, len(cfg.Handoffs))}
	for _, h := range cfg.Handoffs {
		a.offers = append(a.offers, h.spec())
		a.routes[h.tool()] = h
	}
	return a, nil
}

// check reports all problems at once.
func (c *AssistantConfig) check() error {
	var problems []error
	require := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, errors.New(problem))
		}
	}
	require(c.Name != "" && c.Name != string(RoleUser), `the name is missing or "user"`)
	require(c.Model != nil, "the model is missing")
	require(c.MaxTurns > 0 && c.MaxTurns <= maxTurnsCap, fmt.Sprintf("max turns must be 1 to %d", maxTurnsCap))
	require(min(c.ParallelCalls, c.MaxToolsPerRun, c.MaxArgumentBytes, c.MaxReplyBytes, c.MaxReplyChunks) > 0, "limits must be positive")
	names := map[string]bool{}
	for _, h := range c.Handoffs {
		require(h.To != "" && !strings.EqualFold(h.To, c.Name), "a hand-off needs another agent")
		require(!names[h.tool()], "two hand-offs are offered as "+h.tool())
		names[h.tool()] = true
	}
	return errors.Join(problems...)
}

// Name is the assistant's name.
func (a *Assistant) Name() string { return a.cfg.Name }

// Description says to other agents what the assistant is good for.
func (a *Assistant) Description() string { return a.cfg.Description }

// Handoffs lists whom the assistant may hand the conversation to.
func (a *Assistant) Handoffs() []string {
	var names []string
	for _, h := range a.cfg.Handoffs {
		names = append(names, h.To)
	}
	return names
}

// Run continues the assistant's part of the transcript. See [Agent].
func (a *Assistant) Run(ctx context.Context, t *Transcript) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		chain, err := a.authority(ctx)
		if err != nil {
			yield(Event{}, err)
			return
		}
		r := &run{a: a, t: t, chain: chain, yield: yield}
		for r.step(ctx) {
		}
	}
}

// authority is the chain of the grant in ctx. An assistant that ran under the
// grant of another agent would escape its own ceiling, so that is refused.
func (a *Assistant) authority(ctx context.Context) ([]string, error) {
	g, ok := identity.FromContext(ctx)
	if !ok || g.Agent() != a.cfg.Name {
		return nil, fault.New(codes.Internal, fault.Internal, "the agent has no identity to act with").
			Because(fmt.Errorf("assistant %q runs under the grant of %q", a.cfg.Name, g.Agent()))
	}
	return g.Chain(), nil
}

func (a *Assistant) newState() *state { return newState(a.cfg.Name, a.cfg.MaxArgumentBytes) }

func messageID(runID string, sequence uint64) string { return fmt.Sprintf("%s/m%d", runID, sequence) }

// run is one Run of an assistant. It lives on the consumer's goroutine.
type run struct {
	a     *Assistant
	t     *Transcript
	chain []string
	yield func(Event, error) bool
}

// step does what the transcript says is next, false if that was the last.
func (r *run) step(ctx context.Context) bool {
	s := r.state()
	switch s.phase {
	case finished:
		return false
	case answered:
		return r.finish(s, StopCompleted)
	}
	if ctx.Err() != nil {
		return r.fail(ctx, ctx.Err())
	}
	switch s.phase {
	case asking:
		return r.ask(ctx, s)
	case calling:
		return r.settle(ctx, s.batches[r.a.cfg.Name])
	default:
		return r.open(s)
	}
}

func (r *run) state() *state {
	return fold(r.t, r.a, r.a.newState, (*state).apply)
}

// open opens a turn, or ends the run at a limit.
func (r *run) open(s *state) bool {
	turns, tokens := s.limits.MaxTurns, s.limits.MaxTokens
	switch {
	case s.ownTurns >= r.a.cfg.MaxTurns, turns > 0 && s.turns >= turns:
		return r.finish(s, StopMaxTurns)
	case tokens > 0 && s.usage.Total() >= tokens:
		return r.finish(s, StopMaxTokens)
	}
	return r.emit(Event{Body: TurnStarted{Turn: s.turns + 1}})
}

func (r *run) finish(s *state, reason string) bool {
	r.emit(Event{Body: RunFinished{StopReason: reason, Output: s.output, Usage: s.usage}})
	return false
}

// emit yields an event, false if the run is over. Events of nested runs are
// passed on as they are.
func (r *run) emit(e Event) bool {
	if e.Thread != "" && e.Thread != r.t.Thread() {
		return r.yield(e, nil)
	}
	e.Source, e.Chain, e.Thread = r.a.cfg.Name, r.chain, r.t.Thread()
	if e.Live() {
		return r.yield(e, nil)
	}
	before := r.t.Len()
	if !r.yield(e, nil) {
		return false
	}
	if r.t.Len() == before {
		r.yield(Event{}, errNotCommitted)
		return false
	}
	return true
}

// errNotCommitted stops what would be an endless loop.
var errNotCommitted = fault.New(codes.Internal, fault.Internal, "the run's events are not being stored").
	Because(errors.New("the consumer did not append an event to the transcript"))

// fail ends the run with an error. Once the context is cancelled the reason is
// its cause, whatever the error looks like.
func (r *run) fail(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.yield(Event{}, fmt.Errorf("agent %s: %w", r.a.cfg.Name, err))
	return false
}
