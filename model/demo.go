package model

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

// stranger is the answer when no rule fits.
const stranger = "I am the offline demo model: I answer from a file of rules, and none of them fits this. " +
	"Set OPENAI_API_KEY to talk to a language model."

// DemoConfig says what a Demo knows.
type DemoConfig struct {
	Rules []byte        // YAML, see Demo
	Name  string        // of the file, for error messages
	Pace  time.Duration // between words, so that a terminal shows a stream; 0: none
}

// Demo is an offline model that answers from rules. The first rule that fits
// the prompt answers:
//
//	rules:
//	  - agent: billing                  # who is asked; empty: anybody
//	    pattern: '(?P<order>O-\d+)'     # in what the person said last; empty: any
//	    seen: 'not approved'            # in any message, whoever said it; empty: any
//	    after: [get_customer, charge]   # tools that answered since then
//	    failed: [charge]                # which of them failed; the others did not
//	    text: "{{ .result.get_customer.name }}: no, because {{ .reason }}"
//	    calls: [{ tool: get_order, args: { id: "{{ .match.order }}", full: true } }]
//
// A prompt without messages (a selector's question) is read as what a person said.
// after names exactly the tools that answered, in any order, as often as they
// did; without it any will do. Hand-offs (transfer_to_…) count only where it
// names one. Strings are text/template with .match.NAME, .result.TOOL (its JSON),
// .failed.TOOL and .reason (of the last failure); what is missing reads
// "(unknown)". args may also be one string, the JSON text itself.
//
// A Demo is a pure function of the prompt and may be used by many goroutines.
type Demo struct {
	rules []rule
	pace  time.Duration
}

var _ agents.Model = (*Demo)(nil)

// NewDemo reads the rules. Its error names every problem with its line.
func NewDemo(cfg DemoConfig) (*Demo, error) {
	rules, err := loadRules(cfg.Rules)
	if err != nil {
		return nil, fmt.Errorf("demo rules %s: %w", cfg.Name, err)
	}
	return &Demo{rules: rules, pace: cfg.Pace}, nil
}

// Describe names the model for a banner.
func (d *Demo) Describe() string { return "offline demo model (rules)" }

// Generate answers word by word.
func (d *Demo) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		text, calls := d.answer(p)
		for word := range words(text) {
			if err := pause(ctx, d.pace); err != nil {
				yield(agents.Chunk{}, ended(ctx))
				return
			}
			if !yield(agents.Chunk{Text: word}, nil) {
				return
			}
		}
		yield(agents.Chunk{Done: done(p, text, calls)}, nil)
	}
}

func (d *Demo) answer(p *agents.Prompt) (string, []agents.CallRequest) {
	s := observe(p)
	for i := range d.rules {
		if match, ok := d.rules[i].fits(p, s); ok {
			return d.rules[i].play(s.view(match), len(p.Messages))
		}
	}
	return stranger, nil
}

// words cuts after each run of spaces; together they are the text.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text != "" {
			n := strings.IndexAny(text, " \n")
			for n >= 0 && n < len(text) && (text[n] == ' ' || text[n] == '\n') {
				n++
			}
			if n < 0 {
				n = len(text)
			}
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// done counts words where a language model counts tokens.
func done(p *agents.Prompt, text string, calls []agents.CallRequest) *agents.Reply {
	asked, said := count(p.System), count(text)
	for i := range p.Messages {
		asked += count(p.Messages[i].Text)
	}
	finish := "stop"
	for _, c := range calls {
		finish = "tool_calls"
		said += count(c.Arguments)
	}
	return &agents.Reply{
		Calls:  calls,
		Usage:  agents.Usage{PromptTokens: asked, CompletionTokens: said, ModelCalls: 1},
		Finish: finish,
	}
}

func count(s string) int64 { return int64(len(strings.Fields(s))) }
