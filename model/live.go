package model

import (
	"context"
	"iter"

	"github.com/behalf-dev/behalf/agents"
)

// Authority is who says whether an agent may ask its model: *policy.Guard.
type Authority interface {
	// Think notes that the agent of the grant in ctx is at work, until leave.
	Think(ctx context.Context) (leave func(), err error)
}

// Live gives m, which is asked only under authority that holds, and says nothing
// more when it has ended: not even what has arrived by then.
func Live(m agents.Model, a Authority) agents.Model {
	if m == nil {
		return nil
	}
	return live{m, a}
}

type live struct {
	model     agents.Model
	authority Authority
}

// Generate implements agents.Model.
func (l live) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		leave, err := l.authority.Think(ctx)
		if err != nil {
			yield(agents.Chunk{}, err)
			return
		}
		defer leave()
		for c, err := range l.model.Generate(ctx, p) {
			if ctx.Err() != nil {
				yield(agents.Chunk{}, context.Cause(ctx))
				return
			}
			if !yield(c, err) {
				return
			}
		}
	}
}
