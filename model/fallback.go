package model

import (
	"context"
	"errors"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
)

// Chain is a list of models of which the first that is available answers.
type Chain struct{ models []agents.Model }

var _ agents.Model = (*Chain)(nil)

// Fallback makes a model that asks first, and each of rest in turn when the one
// before it is MODEL_UNAVAILABLE and has said nothing yet. Any other error, and
// one in the middle of an answer, ends it.
func Fallback(first agents.Model, rest ...agents.Model) *Chain {
	return &Chain{append([]agents.Model{first}, rest...)}
}

// Generate asks the models in order. Its error is the last model's, joined with
// those before it.
func (c *Chain) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		var failed []error
		for _, m := range c.models {
			err := relay(m.Generate(ctx, p), yield)
			if err == nil {
				return
			}
			failed = append([]error{err}, failed...)
			if ctx.Err() != nil {
				break
			}
		}
		yield(agents.Chunk{}, errors.Join(failed...))
	}
}

// relay passes an answer on. It returns the error of a model that is
// unavailable and has said nothing; everything else it has dealt with.
func relay(answer iter.Seq2[agents.Chunk, error], yield func(agents.Chunk, error) bool) error {
	said := false
	for chunk, err := range answer {
		if err != nil && !said && errors.Is(err, fault.ModelUnavailable) {
			return err
		}
		said = true
		if !yield(chunk, err) {
			return nil
		}
	}
	return nil
}
