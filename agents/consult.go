package agents

import (
	"context"
	"strings"
)

// maxConsultBytes bounds such an answer.
const maxConsultBytes = 256 << 10

// Answer is what a model said that was asked by Consult.
type Answer struct {
	Text  string
	Usage Usage // a call that failed is a call
	Gone  bool  // the consumer broke the loop
}

// Object is the JSON object in the answer, if there is one: models like to put it
// between fences.
func (a *Answer) Object() string {
	from, to := strings.IndexByte(a.Text, '{'), strings.LastIndexByte(a.Text, '}')
	if from < 0 || to < from {
		return a.Text
	}
	return a.Text[from : to+1]
}

// Consult asks a model something that is not a turn of the conversation and gives
// its whole answer, or with an error what there was of it; ErrTooLong if that grew
// too long. Each piece is shown; the consumer is gone when show says false.
func Consult(ctx context.Context, m Model, p *Prompt, show func(text string) bool) (answer Answer, _ error) {
	answer.Usage = Usage{ModelCalls: 1}
	var text strings.Builder
	defer func() { answer.Text = text.String() }()
	for c, err := range m.Generate(ctx, p) {
		if err != nil {
			return answer, err
		}
		if text.Len()+len(c.Text) > maxConsultBytes {
			return answer, ErrTooLong
		}
		text.WriteString(c.Text)
		if c.Text != "" && !show(c.Text) {
			answer.Gone = true
			return answer, nil
		}
		if c.Done != nil {
			answer.Usage = c.Done.Usage
			answer.Usage.ModelCalls = max(answer.Usage.ModelCalls, 1)
			return answer, nil
		}
		if ctx.Err() != nil {
			return answer, ctx.Err()
		}
	}
	return answer, errCutOff
}
