package model

import (
	"context"
	"iter"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

// Filter takes things out of a text that comes in pieces. It may hold back the end
// of what it was given, for as long as it needs to know what follows; a bounded
// number of bytes.
type Filter interface {
	Add(text string) string // what can be let go of now
	End() string            // the rest: nothing more comes
	Held() int              // bytes
}

// GovernedConfig says what is filtered.
type GovernedConfig struct {
	// Filters is asked before each answer how what the model says in it must be
	// filtered; nil: not at all. Each call of what it gives begins a text. An error
	// is the answer's: what must be filtered and cannot be, is not said. Required.
	Filters func(ctx context.Context) (func() Filter, error)
	// Held hears how long text was kept back, each time some is let go of; nil:
	// nobody does. It must not block.
	Held  func(time.Duration)
	Clock func() time.Time // nil: time.Now
}

// Governed is a model whose words pass a filter before anybody sees them: deltas
// and message come from the same filtered chunks, thoughts as well as text. What it
// wants to call is not its business; the gate's is.
func Governed(m agents.Model, c GovernedConfig) agents.Model {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Held == nil {
		c.Held = func(time.Duration) {}
	}
	return &governed{m, c}
}

type governed struct {
	model agents.Model
	cfg   GovernedConfig
}

// Generate asks the model and filters what it says. What is held when an answer is
// cut off by an error is dropped: it may be the beginning of what must not leave.
func (g *governed) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		begin, err := g.cfg.Filters(ctx)
		switch {
		case err != nil:
			yield(agents.Chunk{}, err)
		case begin == nil:
			g.model.Generate(ctx, p)(yield)
		default:
			f := &filtering{cfg: &g.cfg, yield: yield, text: channel{filter: begin()}, thought: channel{filter: begin()}}
			f.run(g.model.Generate(ctx, p))
		}
	}
}

// filtering is one answer on its way.
type filtering struct {
	cfg           *GovernedConfig
	yield         func(agents.Chunk, error) bool
	text, thought channel
}

// channel is one of the two texts of an answer.
type channel struct {
	filter Filter
	since  time.Time // when what is held came; zero: nothing is
}

func (f *filtering) run(answer iter.Seq2[agents.Chunk, error]) {
	for c, err := range answer {
		if err != nil {
			f.yield(agents.Chunk{}, err)
			return
		}
		if !f.pass(c) {
			return
		}
	}
}

// pass gives what can be let go of, false when nobody listens any more. The thought
// comes before the text, as in a message; the last chunk comes last.
func (f *filtering) pass(c agents.Chunk) bool {
	thought, text := f.add(&f.thought, c.Thought), f.add(&f.text, c.Text)
	if c.Done != nil {
		thought += f.end(&f.thought)
		text += f.end(&f.text)
	}
	if thought != "" && !f.yield(agents.Chunk{Thought: thought}, nil) {
		return false
	}
	if text != "" && !f.yield(agents.Chunk{Text: text}, nil) {
		return false
	}
	return c.Done == nil || f.yield(agents.Chunk{Done: c.Done}, nil)
}

func (f *filtering) add(c *channel, text string) string {
	if text == "" {
		return ""
	}
	out := c.filter.Add(text)
	waited := !c.since.IsZero()
	switch {
	case waited && (out != "" || c.filter.Held() == 0):
		now := f.cfg.Clock()
		f.cfg.Held(now.Sub(c.since))
		c.since = now
	case !waited && c.filter.Held() > 0:
		c.since = f.cfg.Clock()
	}
	if c.filter.Held() == 0 {
		c.since = time.Time{}
	}
	return out
}

func (f *filtering) end(c *channel) string {
	if !c.since.IsZero() {
		f.cfg.Held(f.cfg.Clock().Sub(c.since))
	}
	return c.filter.End()
}
