package behalf

import (
	"context"
	"log/slog"

	"github.com/behalf-dev/behalf/policy"
)

// openTools asks the tools' backends what they have, and puts the first snapshot in
// force.
func (s *Server) openTools(ctx context.Context) error {
	if err := s.openBackends(ctx); err != nil {
		return err
	}
	sn := s.current()
	if err := sn.build(); err != nil {
		return err
	}
	s.putInForce(ctx, sn)
	return nil
}

// putInForce makes a snapshot the one that everybody asks, and tells the operator what
// is doubtful in its policies. They decide first: what agents are new shall never be
// held against the policies from before. What is old is held against the new ones
// anyway, as long as its runs go on.
func (s *Server) putInForce(ctx context.Context, sn *snapshot) {
	for _, w := range sn.set.Warnings() {
		s.opt.log.WarnContext(ctx, "policy warning", slog.String("warning", w))
	}
	s.guard.Swap(policy.NewEngine(sn.set))
	s.inForce.Store(sn)
}

func (s *Server) reload(ctx context.Context) (policyRevision, configRevision string, err error) {
	sn := &snapshot{Server: s, cfg: s.current().cfg}
	if err := sn.read(); err != nil {
		return "", "", err
	}
	if err := sn.build(); err != nil {
		return "", "", err
	}
	s.putInForce(ctx, sn)
	return sn.set.Revision(), sn.cfg.Revision(), nil
}
