package behalf

import (
	"context"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
)

// purse is the guard as models see it. They are made before it.
type purse struct{ s *Server }

// Spend implements model.Budget.
func (p purse) Spend(ctx context.Context, tokens int64) (*policy.Spending, error) {
	return p.s.guard.Spend(ctx, tokens)
}

// charged binds a run's question to the context in which it acts, so that its model
// calls are charged to the budgets that apply to it.
func (s *Server) charged(ctx context.Context, r runs.RunRecord, g identity.Grant) (context.Context, func(), error) {
	return policy.WithRun(ctx, s.question(runAction(r), r, g)), func() {}, nil
}
