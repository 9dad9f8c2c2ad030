package behalf

import (
	"context"

	"github.com/behalf-dev/behalf/policy"
)

// purse is the guard as models see it. They are made before it.
type purse struct{ s *Server }

// Spend implements model.Budget.
func (p purse) Spend(ctx context.Context, tokens int64) (*policy.Spending, error) {
	return p.s.guard.Spend(ctx, tokens)
}
