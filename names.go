package behalf

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/tools"
)

// holders are the toolsets that names of backends' tools were last in use of, by name,
// also before the start. While a backend was not read since then they tell its names from
// those of others.
// Whoever has the turn of reloads may use them; a map does not change once it is made.
type holders map[string]string

// keep gives what a snapshot that is put in force tells. Of toolsets that are silent
// holds what was known.
func (h holders) keep(now *snapshot) holders {
	next, silent := holders{}, now.silent()
	for name, set := range h {
		if slices.Contains(silent, set) {
			next[name] = set
		}
	}
	for set := range now.sources {
		for _, t := range now.brought[set] {
			if d, ok := now.registry.Descriptor(t.Name); ok && d.Toolset == set {
				next[t.Name] = set
			}
		}
	}
	return next
}

// rememberNames stores what holds of names, for a start while a backend is away. Nothing
// stops because it cannot: it is tried again, and until then a start would believe what
// held before. The store outlives this, and a name that is in use shall not be lost
// because the server ends.
func (s *Server) rememberNames(ctx context.Context) {
	if maps.Equal(s.holders, s.keptNames) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberWithin)
	defer cancel()
	err := s.store.PutToolNames(ctx, s.holders)
	switch {
	case err == nil && s.forgetful:
		s.opt.log.WarnContext(ctx, "whose the names of backends' tools are is stored again")
	case err != nil && !s.forgetful:
		s.opt.log.WarnContext(ctx, "whose the names of backends' tools are cannot be stored; it is tried again", slog.String("why", err.Error()))
	}
	if s.forgetful = err != nil; err == nil {
		s.keptNames = s.holders
	}
}

// rememberAgain stores what could not be stored before.
func (s *Server) rememberAgain(ctx context.Context) {
	if s.reloads.take(ctx) != nil {
		return
	}
	defer s.reloads.leave()
	s.rememberNames(ctx)
}

const (
	rememberWithin = 5 * time.Second
	rememberEvery  = 5 * time.Second
)

// free leaves out what a backend calls like a tool that the config expects of another
// one, or that another one had or may have: while that is away, nobody shall get its
// calls.
func (s *snapshot) free(list []tools.Tool) (rest []tools.Tool) {
	expected, silent := s.expected(), s.silent()
	written := map[string][]string{}
	for _, set := range slices.Sorted(maps.Keys(s.sources)) {
		written[set] = s.written(set)
	}
	for _, t := range list {
		set, ok := expected[t.Name]
		if !t.Offered || ok && set == t.Toolset {
			rest = append(rest, t)
		} else if ok {
			s.left = append(s.left, tools.Leave(t, set))
		} else if other := s.claim(t, silent, written[t.Toolset]); other != "" {
			s.left = append(s.left, tools.Withhold(t, other))
		} else {
			rest = append(rest, t)
		}
	}
	return rest
}

// silent are the toolsets of which nobody knows yet what they have, sorted, though
// their backends are asked.
func (s *snapshot) silent() (sets []string) {
	for _, set := range slices.Sorted(maps.Keys(s.sources)) {
		r, t := s.sources[set], s.cfg.Tools[set]
		trusted := t.MCP != nil && t.MCP.TrustOnFirstUse
		if r.cancel != nil && (s.brought[set] == nil || trusted && !r.Read()) {
			sets = append(sets, set)
		}
	}
	return sets
}

// claim gives a silent toolset that may have a tool of this name; empty: none. A name
// that had a holder is the holder's, or of one that the config speaks of. Others may be
// anybody's, as far as their prefixes let them.
func (s *snapshot) claim(t tools.Tool, silent, written []string) string {
	holder := s.holders[t.Name]
	switch {
	case holder == t.Toolset || slices.Contains(written, t.Name):
		return ""
	case holder != "" && slices.Contains(silent, holder):
		return holder
	}
	ours := s.cfg.Tools[t.Toolset].Prefix
	for _, set := range silent {
		theirs := s.cfg.Tools[set].Prefix
		if set != t.Toolset && strings.HasPrefix(t.Name, theirs) && len(theirs) >= len(ours) {
			return set
		}
	}
	return ""
}

// written are the names of tools that the config speaks of in a section.
func (s *snapshot) written(set string) []string {
	if names, ok := s.sources[set].inner().(interface{ Awaited() []string }); ok {
		return names.Awaited()
	}
	return nil
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
