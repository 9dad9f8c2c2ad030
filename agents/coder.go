package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
)

// Coder is an agent that has code run. It runs nothing itself: all blocks of code
// in a text become one call of a tool, the executor, and that passes the guard
// like any other call, also where a person must approve it.
//
// Without a model it reads the code in what it is told and says what the executor
// printed. With a model, the model writes the code; if that fails it may correct
// it, as often as Retries says and as long as it wants to itself; in the end it
// says what came of it. A reply without code is the answer.
//
// It is an [Assistant] but for where its calls come from and how it reads results.
type Coder struct {
	cfg   CoderConfig
	a     *Assistant
	fence *regexp.Regexp
}

// CoderConfig says what a coder is.
type CoderConfig struct {
	Name        string // required
	Description string // for other agents
	// Tool is the executor, required. It is called with
	// {"blocks": [{"language": …, "code": …}]} and answers
	// {"exit_code": …, "output": …}, as JSON or as a text that holds it.
	Tool      string
	Toolbox   Toolbox  // required: has the tool
	Languages []string // of the blocks that are run; empty: python and sh
	Sources   []string // without a model: whose texts are read; empty: everybody's

	Model        Model // nil: none
	ModelLacks   Lacks
	Instructions string // empty: plain ones
	Window       Window // what the model sees of the conversation; nil: all
	Retries      int    // corrections of code that failed, in one run
}

// maxRetries keeps a coder's turns in the bounds of an assistant's.
const maxRetries = 100

// NewCoder checks the config and makes the coder.
func NewCoder(cfg CoderConfig) (*Coder, error) {
	if len(cfg.Languages) == 0 {
		cfg.Languages = []string{"python", "sh"}
	}
	cfg.Instructions = cmp.Or(cfg.Instructions, coderInstructions)
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("coder %q: %w", cfg.Name, err)
	}
	c := &Coder{cfg: cfg, fence: fence(cfg.Languages)}
	own := AssistantConfig{
		Name: cfg.Name, Instructions: cfg.Instructions, Model: scribe{c}, Toolbox: cfg.Toolbox, Window: cfg.Window,
		MaxToolRounds: 1 + cfg.Retries, Reflect: cfg.Model != nil,
	}
	var err error
	if c.a, err = NewAssistant(own); err != nil {
		return nil, fmt.Errorf("coder: %w", err)
	}
	c.a.tell = c.tell
	return c, nil
}

// check reports all problems at once.
func (c *CoderConfig) check() error {
	problems := []error{
		CheckName(c.Name),
		require(isWord(c.Tool) && len(c.Tool) <= maxToolName && !transfers(c.Tool), "the executor's tool is missing or has a bad name"),
		require(c.Toolbox != nil, "the toolbox is missing"),
		require(c.Retries >= 0 && c.Retries <= maxRetries, fmt.Sprintf("retries must be 0 to %d", maxRetries)),
		require(c.Retries == 0 || c.Model != nil, "retries need a model"),
		require(len(c.Sources) == 0 || c.Model == nil, "sources have no effect with a model"),
	}
	for _, l := range c.Languages {
		problems = append(problems, require(l != "" && !strings.ContainsAny(l, "` \t\r\n"), "a language has a bad name: "+l))
	}
	return errors.Join(problems...)
}

// Name is the coder's name.
func (c *Coder) Name() string { return c.cfg.Name }

// Description says to other agents what the coder is good for.
func (c *Coder) Description() string { return c.cfg.Description }

// Run continues the coder's part of the transcript. See [Agent].
func (c *Coder) Run(ctx context.Context, t *Transcript) iter.Seq2[Event, error] {
	return c.a.walk(ctx, t, func(r *run, ctx context.Context) bool { return c.step(ctx, r) })
}

// step does what the transcript says is next, false if that was the last. Turns,
// calls and the end are an assistant's.
func (c *Coder) step(ctx context.Context, r *run) bool {
	s := r.state()
	switch {
	case ctx.Err() != nil:
	case s.phase == asking && c.cfg.Model != nil:
		return c.write(ctx, r, s)
	case s.phase == asking:
		return c.request(ctx, r, s)
	case s.phase == idle && c.cfg.Model == nil && len(s.part.made) > 0:
		text, _ := outcome(s.newest())
		return c.say(r, s, Message{Text: text})
	}
	return r.step(ctx)
}

// request has the code run that the coder was told.
func (c *Coder) request(ctx context.Context, r *run, s *state) bool {
	calls := c.calls(c.material(r.t).told)
	if len(calls) == 0 {
		return c.say(r, s, Message{Text: noCode})
	}
	return c.say(r, s, Message{Kind: KindToolCalls, Calls: c.a.bound(ctx, calls)})
}

func (c *Coder) say(r *run, s *state, m Message) bool {
	m.Role = RoleAssistant
	return r.emit(Event{MessageID: c.a.cfg.MessageID(r.t.RunID(), s.asked), Body: m})
}

// write asks the model for code; once that was run, perhaps for a verdict on it
// and for better code, and in the end for an answer.
func (c *Coder) write(ctx context.Context, r *run, s *state) bool {
	p := &Prompt{Agent: c.cfg.Name, System: c.cfg.Instructions, Messages: c.a.view(s)}
	tries, verdict := len(s.part.made), c.material(r.t).verdict
	switch {
	case tries == 0:
	case tries > c.cfg.Retries || c.ran(s):
		p.ToolChoice = ToolNone
	case verdict == nil:
		return c.judge(ctx, r, s)
	case verdict.Retry:
		p.Messages = append(p.Messages, c.tells(correctText+verdict.Reason))
	default:
		p.ToolChoice = ToolNone
	}
	return r.put(ctx, s, p)
}

// ran says that the newest code ran without an error.
func (c *Coder) ran(s *state) bool {
	_, ran := outcome(s.newest())
	return ran
}

// newest is the executor's call of the newest reply that has all results.
func (s *state) newest() *call { return &s.part.made[len(s.part.made)-1].calls[0] }

// scribe is a coder's model. The code in a reply becomes a call, unless there may
// be none; whatever else it wants to call it was not offered.
type scribe struct{ c *Coder }

func (m scribe) Generate(ctx context.Context, p *Prompt) iter.Seq2[Chunk, error] {
	if p.ToolChoice == ToolNone {
		return m.c.cfg.Model.Generate(ctx, p)
	}
	return func(yield func(Chunk, error) bool) {
		var text strings.Builder
		for chunk, err := range m.c.cfg.Model.Generate(ctx, p) {
			text.WriteString(chunk.Text)
			if chunk.Done != nil {
				done := *chunk.Done
				done.Calls = m.c.calls([]string{text.String()})
				chunk.Done = &done
			}
			if !yield(chunk, err) {
				return
			}
		}
	}
}

// tell renders a reply as its author wrote it and what came of the code as
// something that was said: a model need not know of tools to write code.
func (c *Coder) tell(b *batch) []PromptMessage {
	told := prompt(b.text, nil, 0)
	for i := range b.calls {
		text, _ := outcome(&b.calls[i])
		told = append(told, c.tells(text))
	}
	return told
}

// tells is what the coder says to its model.
func (c *Coder) tells(text string) PromptMessage {
	return PromptMessage{Role: RoleUser, Name: c.cfg.Name, Text: text}
}

// material is what a coder knows of its part besides what every assistant does: a
// fold over its thread.
type material struct {
	told    []string // texts since the run began
	verdict *verdict // on the newest code
}

func (c *Coder) material(t *Transcript) *material {
	return Fold(t, c, func() *material { return &material{} }, func(m *material, e *Event) { m.apply(&c.cfg, e) })
}

func (m *material) apply(c *CoderConfig, e *Event) {
	own := e.Source == c.Name
	switch b := e.Body.(type) {
	case RunStarted:
		*m = material{}
	case Message:
		switch {
		case own:
			m.verdict = nil
		case b.Kind == KindText && !b.Incomplete && (len(c.Sources) == 0 || slices.Contains(c.Sources, e.Source)):
			m.told = append(m.told, b.Text)
		}
	case PlanUpdated:
		if own && b.Ledger != "" {
			m.verdict = readVerdict(b.Ledger)
		}
	}
}
