package behalf

import (
	"context"
	"log/slog"
	"slices"

	"github.com/behalf-dev/behalf/tools"
)

// free leaves out what a backend calls like a tool that the config expects of another
// one: while that is away, nobody shall get its calls.
func (s *snapshot) free(list []tools.Tool) (rest []tools.Tool) {
	expected := s.expected()
	for _, t := range list {
		if set, ok := expected[t.Name]; ok && t.Offered && set != t.Toolset {
			s.left = append(s.left, tools.Leave(t, set))
			continue
		}
		rest = append(rest, t)
	}
	return rest
}

// leaveOut notes what has no place in the registry. What is said of the tools of such
// a toolset may be about these: it means nothing until they are there, and is no
// mistake.
func (s *snapshot) leaveOut(left []tools.Left) {
	s.left = append(s.left, left...)
	for _, l := range s.left {
		if !slices.Contains(s.absent, l.Toolset) {
			s.absent = append(s.absent, l.Toolset)
		}
	}
}

// tellLeft tells the operator what was left out, once. Its caller holds the turn of
// reloads, or is the start.
func (s *Server) tellLeft(ctx context.Context, left []tools.Left) {
	if slices.Equal(left, s.toldLeft) {
		return
	}
	s.toldLeft = left
	for _, l := range left[:min(len(left), mostTold)] {
		s.opt.log.WarnContext(ctx, "a backend's tool is left out, and nobody can call it", slog.String("toolset", l.Toolset), slog.String("tool", l.Name), slog.String("why", l.Why))
	}
	if more := len(left) - mostTold; more > 0 {
		s.opt.log.WarnContext(ctx, "more tools of backends are left out", slog.Int("tools", more))
	}
}
