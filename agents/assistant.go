package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Assistant is a model in a loop: it asks, performs the calls of the reply
// through its toolbox, and asks again until the reply is an answer, a hand-off
// or a limit ends the loop. It holds no state and may run many transcripts.
type Assistant struct {
	cfg     AssistantConfig
	offers  []Spec             // the hand-offs as tools
	routes  map[string]Handoff // tool name → hand-off
	summary func(CallSummary) string
	format  template                     // of structured answers
	tell    func(*batch) []PromptMessage // how the model reads its calls; nil: as calls
}

// AssistantConfig says what an assistant is. Zero limits mean the defaults.
type AssistantConfig struct {
	Name         string // required
	Description  string // for other agents, not for the model
	Instructions string
	Model        Model   // required
	ModelLacks   Lacks   // what does not go with it is refused
	Toolbox      Toolbox // nil: no tools
	Handoffs     []Handoff
	Memory       Memory // nil: none
	Window       Window // what the model sees of the conversation; nil: all
	// Opening is what each conversation begins with, as if it had been said before:
	// examples, or what happened elsewhere. A Window may leave it out like the rest.
	Opening []PromptMessage // in words, of the roles user and assistant
	Output  Output          // what an answer looks like

	// MaxToolRounds is how many replies with calls there may be before the part
	// ends: with a last question without tools (Reflect), or with a message of
	// KindToolSummary that says what the calls came to. 0: no such limit, but
	// Reflect then takes the last turn. The count starts again with each run and
	// each hand-off to the assistant.
	MaxToolRounds int
	Reflect       bool
	// SummaryFormat puts one call into words: {tool_name}, {arguments}, {result}
	// and {is_error}, which is True or False. Empty: the result. Summarize does the
	// same as a function and comes first.
	SummaryFormat string
	Summarize     func(CallSummary) string

	MaxTurns         int // of this agent in one run: 8 or what MaxToolRounds needs, at most 1,000
	ParallelCalls    int // of one reply at the same time: 8
	MaxToolsPerRun   int // of all agents in one thread: 128, at most 2,000
	MaxArgumentBytes int // of one call: 64 KiB
	MaxReplyBytes    int // text and thought of one reply: 8 MiB
	MaxReplyChunks   int // of one reply: 100,000

	// MessageID names the reply that the event with this sequence asked for.
	// Nil: run id, "/m", sequence. It must be a function of its arguments.
	MessageID func(runID string, sequence uint64) string
}

const (
	maxTurnsCap = 1000
	maxToolsCap = 2000 // SECURITY 9
	maxToolName = 64   // DESIGN 7
	maxCallID   = 256
)

// NewAssistant checks the config and makes the assistant.
func NewAssistant(cfg AssistantConfig) (*Assistant, error) {
	cfg.MaxTurns = cmp.Or(cfg.MaxTurns, max(8, cfg.MaxToolRounds+1))
	if cfg.Reflect && cfg.MaxToolRounds == 0 {
		cfg.MaxToolRounds = cfg.MaxTurns - 1
	}
	cfg.ParallelCalls = cmp.Or(cfg.ParallelCalls, 8)
	cfg.MaxToolsPerRun = cmp.Or(cfg.MaxToolsPerRun, 128)
	cfg.MaxArgumentBytes = cmp.Or(cfg.MaxArgumentBytes, 64<<10)
	cfg.MaxReplyBytes = cmp.Or(cfg.MaxReplyBytes, 8<<20)
	cfg.MaxReplyChunks = cmp.Or(cfg.MaxReplyChunks, 100_000)
	if cfg.MessageID == nil {
		cfg.MessageID = MessageID
	}
	summary, problem := cfg.summarizer()
	format, misfit := cfg.Output.parse()
	if err := errors.Join(cfg.check(), problem, misfit); err != nil {
		return nil, fmt.Errorf("assistant %q: %w", cfg.Name, err)
	}
	a := &Assistant{cfg: cfg, routes: make(map[string]Handoff, len(cfg.Handoffs)), summary: summary, format: format}
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
	require(!c.ModelLacks.Tools || c.Toolbox == nil && len(c.Handoffs) == 0, "the model does not support function calling, so there can be no tools and no hand-offs")
	require(!c.ModelLacks.StructuredOutput || len(c.Output.Schema) == 0, "the model does not support structured output, so its answers can have no schema")
	require(c.MaxTurns > 0 && c.MaxTurns <= maxTurnsCap, fmt.Sprintf("max turns must be 1 to %d", maxTurnsCap))
	require(min(c.ParallelCalls, c.MaxToolsPerRun, c.MaxArgumentBytes, c.MaxReplyBytes, c.MaxReplyChunks) > 0, "limits must be positive")
	require(c.MaxToolsPerRun <= maxToolsCap, fmt.Sprintf("tools per run must be at most %d", maxToolsCap))
	require(c.MaxToolRounds >= 0, "max tool rounds must not be negative")
	require(c.MaxToolRounds < c.MaxTurns || c.MaxToolRounds == c.MaxTurns && !c.Reflect, "max turns must be enough for the tool rounds and, to reflect, one more")
	require(!c.Reflect || c.MaxToolRounds > 0, "to reflect, at least two turns are needed")
	if c.Window != nil {
		problems = append(problems, c.Window.Check())
	}
	for _, m := range c.Opening {
		require(m.opens(), "an opening message must have the role user or assistant, say something, and neither call tools nor answer calls")
	}
	names := map[string]bool{}
	for _, h := range c.Handoffs {
		require(h.To != "" && !strings.EqualFold(h.To, c.Name), "a hand-off needs another agent")
		require(h.Tool == "" || isWord(h.Tool) && len(h.Tool) <= maxToolName, "a hand-off's tool has a bad name: "+h.Tool)
		require(!names[h.tool()], "hand-off names must be unique: two are offered as "+h.tool())
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

// HandsOff says what the assistant leaves to another agent that it hands over to, nil
// if that is not narrowed; false if it does not hand over to it.
func (a *Assistant) HandsOff(to string) (scopes *[]string, ok bool) {
	for _, h := range a.cfg.Handoffs {
		if h.To == to {
			return h.Scopes, true
		}
	}
	return nil, false
}

// Run continues the assistant's part of the transcript. See [Agent].
func (a *Assistant) Run(ctx context.Context, t *Transcript) iter.Seq2[Event, error] {
	return a.walk(ctx, t, (*run).step)
}

// walk takes steps until one was the last.
func (a *Assistant) walk(ctx context.Context, t *Transcript, step func(*run, context.Context) bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		chain, err := a.authority(ctx)
		if err != nil {
			yield(Event{}, err)
			return
		}
		r := &run{a: a, t: t, chain: chain, yield: yield}
		for step(r, ctx) {
		}
	}
}

// authority is the chain of the grant in ctx. An assistant that ran under the
// grant of another agent would escape its own ceiling, so that is refused.
func (a *Assistant) authority(ctx context.Context) ([]string, error) {
	return OwnChain(ctx, a.cfg.Name)
}

func (a *Assistant) newState() *state {
	s := newState(a.cfg.Name, a.cfg.MaxArgumentBytes, a.handsOff)
	s.tell = a.tell
	s.messages = slices.Clone(a.cfg.Opening)
	return s
}

// opens says that a conversation may begin with the message.
func (m *PromptMessage) opens() bool {
	said := m.Text != "" || len(m.Parts) > 0
	return said && (m.Role == RoleUser || m.Role == RoleAssistant) && len(m.Calls) == 0 && m.CallID == ""
}

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
		if done, more := r.recall(ctx, s); done {
			return more
		}
		return r.ask(ctx, s)
	case calling:
		return r.settle(ctx, s.batches[r.a.cfg.Name])
	default:
		return r.open(s)
	}
}

func (r *run) state() *state {
	return Fold(r.t, r.a, r.a.newState, (*state).apply)
}

// exhausted says that there may be no more calls in this part.
func (a *Assistant) exhausted(s *state) bool {
	return a.cfg.MaxToolRounds > 0 && len(s.part.made) >= a.cfg.MaxToolRounds
}

// withheld says that the next reply must be words.
func (a *Assistant) withheld(s *state) bool { return a.exhausted(s) || s.part.rejected > 0 }

// open opens a turn, or ends the run at a limit.
func (r *run) open(s *state) bool {
	turns, tokens := s.limits.MaxTurns, s.limits.MaxTokens
	switch {
	case r.a.exhausted(s) && !r.a.cfg.Reflect:
		return r.summarize(s)
	case s.ownTurns >= r.a.cfg.MaxTurns, turns > 0 && s.turns >= turns:
		return r.finish(s, StopMaxTurns)
	case tokens > 0 && s.usage.Total() >= tokens:
		return r.finish(s, StopMaxTokens)
	}
	return r.emit(Event{Body: TurnStarted{Turn: s.turns + 1}})
}

func (r *run) finish(s *state, reason string) bool {
	r.emit(Event{Body: RunFinished{StopReason: reason, Output: s.output, Structured: s.structured, Usage: s.usage}})
	return false
}

// emit yields an event, false if the run is over. Events of nested runs are
// passed on as they are.
func (r *run) emit(e Event) bool {
	if e.Thread != "" && e.Thread != r.t.Thread() {
		return r.yield(e, nil)
	}
	e.Source, e.Chain = r.a.cfg.Name, r.chain
	return Commit(r.t, e, r.yield)
}

// fail ends the run with an error. Once the context is cancelled the reason is
// its cause, whatever the error looks like.
func (r *run) fail(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.yield(Event{}, fmt.Errorf("agent %s: %w", r.a.cfg.Name, err))
	return false
}
