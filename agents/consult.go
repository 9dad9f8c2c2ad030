package agents

import (
	"context"
	"strings"
)

// maxConsultBytes bounds what the model of a team or society may answer.
const maxConsultBytes = 256 << 10

// consulted is what such a model said.
type consulted struct {
	text  string
	usage Usage
	gone  bool // the consumer broke the loop
}

// consult asks a team's own model and gives its whole answer. With show the text
// is also shown live. There is always a usage: a call that failed is a call.
func (r *round) consult(ctx context.Context, m Model, p *Prompt, show bool) (consulted, error) {
	return consult(ctx, m, p, func(text string) bool { return !show || r.emit(Event{Body: TextDelta{text}}) })
}

// consult asks a model and gives its whole answer, or with an error what there was
// of it. Each piece is shown; the consumer is gone when show says false.
func consult(ctx context.Context, m Model, p *Prompt, show func(text string) bool) (answer consulted, _ error) {
	answer.usage = Usage{ModelCalls: 1}
	var text strings.Builder
	defer func() { answer.text = text.String() }()
	for c, err := range m.Generate(ctx, p) {
		if err != nil {
			return answer, err
		}
		if text.Len()+len(c.Text) > maxConsultBytes {
			return answer, errTooLong
		}
		text.WriteString(c.Text)
		if c.Text != "" && !show(c.Text) {
			answer.gone = true
			return answer, nil
		}
		if c.Done != nil {
			answer.usage = c.Done.Usage
			answer.usage.ModelCalls = max(answer.usage.ModelCalls, 1)
			return answer, nil
		}
		if ctx.Err() != nil {
			return answer, ctx.Err()
		}
	}
	return answer, errCutOff
}
