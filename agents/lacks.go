package agents

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// Lacks says what a model is known not to be able to do. The zero value is a model
// that can do all. What an agent needs and its model lacks is an error of the
// agent's constructor, before anything is asked. For images there is [Blind].
type Lacks struct {
	Tools            bool // function calling
	StructuredOutput bool // answers that follow a JSON Schema
}

// Blind is a model that is shown no images. In their place a mark stands in the
// text, so that it can be said that they are not seen.
func Blind(m Model) Model { return blind{m} }

type blind struct{ model Model }

// imageMark stands for an image.
const imageMark = "<image>"

func (b blind) Generate(ctx context.Context, p *Prompt) iter.Seq2[Chunk, error] {
	if !slices.ContainsFunc(p.Messages, hasImage) {
		return b.model.Generate(ctx, p)
	}
	told := *p
	told.Messages = make([]PromptMessage, len(p.Messages))
	for i, m := range p.Messages {
		told.Messages[i] = inWords(m)
	}
	return b.model.Generate(ctx, &told)
}

func hasImage(m PromptMessage) bool {
	return slices.ContainsFunc(m.Parts, func(p Part) bool { return p.URI != "" })
}

// inWords is a message with images as text alone: a model without them may not
// take parts either.
func inWords(m PromptMessage) PromptMessage {
	if !hasImage(m) {
		return m
	}
	var lines []string
	if m.Text != "" {
		lines = append(lines, m.Text)
	}
	for _, p := range m.Parts {
		switch {
		case p.URI != "":
			lines = append(lines, imageMark)
		case p.Text != "":
			lines = append(lines, p.Text)
		case p.JSON != "":
			lines = append(lines, p.JSON)
		}
	}
	m.Text, m.Parts = strings.Join(lines, "\n"), nil
	return m
}
