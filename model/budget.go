package model

import (
	"context"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/policy"
)

// Budget keeps account of the tokens that model calls use: *policy.Guard.
type Budget interface {
	Spend(ctx context.Context, tokens int64) (*policy.Spending, error)
}

// Budgeted makes a model whose calls are paid from the token budgets of the run in
// ctx: what the prompt takes and a first piece of the answer is reserved before the
// model is asked, more while it speaks, and what it says that it used is charged in
// the end. An answer that the budget does not cover is cut off.
//
// Before the end tokens are estimated, so a budget can be overdrawn by the error of
// the estimate of the calls at work, and no more.
func Budgeted(m agents.Model, b Budget) agents.Model { return &budgeted{m, b} }

type budgeted struct {
	model  agents.Model
	budget Budget
}

const (
	bytesPerToken = 4   // of English text; others have fewer
	messageTokens = 8   // what a message takes beside its text
	answerTokens  = 512 // of an answer are reserved at once
)

// Generate asks the model as far as the budget goes.
func (m *budgeted) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		asked := estimate(p)
		s, err := m.budget.Spend(ctx, asked+answerTokens)
		if err != nil {
			yield(agents.Chunk{}, err)
			return
		}
		a := &account{Spending: s, asked: asked, covered: answerTokens}
		defer func() { s.Settle(ctx, a.used()) }()
		for chunk, err := range m.model.Generate(ctx, p) {
			if err == nil {
				err = a.note(ctx, &chunk)
			}
			if err != nil {
				yield(agents.Chunk{}, err)
				return
			}
			if !yield(chunk, nil) {
				return
			}
		}
	}
}

// account is one call's.
type account struct {
	*policy.Spending
	asked   int64 // tokens of the prompt
	said    int64 // bytes of the answer
	covered int64 // tokens of the answer that are reserved
	told    int64 // what the model says that it used; 0: it did not say
}

// note counts a chunk, and reserves more when it is the answer's next piece.
func (a *account) note(ctx context.Context, c *agents.Chunk) error {
	a.said += int64(len(c.Text) + len(c.Thought))
	if c.Done != nil {
		a.told = c.Done.Usage.Total()
		for i := range c.Done.Calls {
			a.said += int64(len(c.Done.Calls[i].Tool) + len(c.Done.Calls[i].Arguments))
		}
		return nil // it has been said; what it took is charged
	}
	for tokens(a.said) > a.covered {
		if err := a.More(ctx, answerTokens); err != nil {
			return err
		}
		a.covered += answerTokens
	}
	return nil
}

// used is what the call is charged: what the model says, or what it looks like when
// it was cut off or does not say.
func (a *account) used() int64 {
	if a.told > 0 {
		return a.told
	}
	return a.asked + tokens(a.said)
}

func tokens(bytes int64) int64 { return (bytes + bytesPerToken - 1) / bytesPerToken }

// estimate is about how many tokens a prompt takes.
func estimate(p *agents.Prompt) int64 {
	size, messages := len(p.System)+len(p.Schema), 1+len(p.Messages)
	for i := range p.Messages {
		m := &p.Messages[i]
		size += len(m.Text) + len(m.Name)
		for j := range m.Parts {
			size += len(m.Parts[j].Text) + len(m.Parts[j].JSON) + len(m.Parts[j].URI)
		}
		for j := range m.Calls {
			size += len(m.Calls[j].Tool) + len(m.Calls[j].Arguments)
		}
	}
	for i := range p.Tools {
		size += len(p.Tools[i].Name) + len(p.Tools[i].Description) + len(p.Tools[i].Schema)
	}
	return tokens(int64(size)) + int64(messages)*messageTokens
}
