package behalf

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
)

// backendsWithin is how long the start waits for backends to say what they have.
// One that is down does not stop the server.
const backendsWithin = 5 * time.Second

// source is a process that has tools, whichever protocol it speaks.
type source interface {
	Run(ctx context.Context) error       // until ctx ends; one that is down is no error
	Tools() ([]tools.Tool, error)        // those that are known
	Read() bool                          // it has said which tools it has
	Changed() <-chan struct{}            // Tools gives something else
	Notes() []string                     // for the operator: what is no tool, and why
	Waiting() map[string]json.RawMessage // tools that nobody accepted yet, by name, with their schemas; nil: it is not known
}

// backends are the processes behind tools. They are asked before there are policies,
// which must know the tools' arguments, and so before anything is served.
type backends struct {
	sources map[string]source  // by toolset
	stop    context.CancelFunc // nil: nothing runs, for a check
	group   sync.WaitGroup
}

// openBackends connects to what the config names, reads what tools there are, and
// checks everything again with them.
func (s *Server) openBackends(ctx context.Context) error {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &backends{sources: map[string]source{}, stop: stop}
	s.backends = b
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Tools)) {
		src, err := s.newSource(name, s.cfg.Tools[name])
		if err != nil {
			return s.current().problem("tools."+name, err.Error(), "see docs/configuration.md")
		}
		if src != nil {
			b.sources[name] = src
			b.group.Go(func() { _ = src.Run(own) }) // a backend that is down is no error
		}
	}
	if len(b.sources) == 0 {
		return nil
	}
	b.await(ctx)
	if err := s.learn(); err != nil {
		return err
	}
	for name, src := range b.sources {
		s.tellBackend(ctx, name, src)
		b.group.Go(func() { s.watchBackend(own, name, src) })
	}
	return nil
}

// newSource is nil for tools that are in this process.
func (s *Server) newSource(name string, t config.Toolset) (source, error) {
	switch {
	case t.GRPC != nil:
		return s.grpcSource(name, t)
	case t.MCP != nil:
		return s.mcpSource(name, t)
	}
	return nil, nil
}

// learn checks tools and policies again, with what the backends said.
func (s *Server) learn() error {
	sn := &snapshot{Server: s, cfg: s.cfg}
	if err := sn.read(); err != nil {
		return err
	}
	if err := sn.tryBuild(); err != nil {
		return err
	}
	s.inForce.Store(sn)
	return nil
}

// await gives the backends some time to be read.
func (b *backends) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, backendsWithin)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for _, src := range b.sources {
		for ctx.Err() == nil && !src.Read() {
			select {
			case <-look.C:
			case <-ctx.Done():
			}
		}
		select {
		case <-src.Changed(): // until now it is the start
		default:
		}
	}
}

func (b *backends) close() {
	if b != nil && b.stop != nil {
		b.stop()
		b.group.Wait()
	}
}

// tellBackend tells the operator what of a backend is no tool, and if it is away.
func (s *Server) tellBackend(ctx context.Context, name string, src source) {
	for _, n := range src.Notes() {
		s.opt.log.InfoContext(ctx, "not a tool", slog.String("toolset", name), slog.String("note", n))
	}
	if !src.Read() {
		s.opt.log.WarnContext(ctx, "a backend did not say what tools it has; those that are not known from elsewhere are absent until the next start", slog.String("toolset", name))
	}
}

// watchBackend says when a backend has other tools than at the start: they are
// taken at the next one, and calls of tools that are not the same any more fail.
func (s *Server) watchBackend(ctx context.Context, name string, src source) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-src.Changed():
			s.opt.log.WarnContext(ctx, "a backend has other tools than at the start; restart to take them", slog.String("toolset", name))
		}
	}
}

// sourceTools gives the tools of a section: nil where it is not known which they are.
func (s *snapshot) sourceTools(name string) ([]tools.Tool, error) {
	src, err := s.sourceOf(name)
	if src == nil || err != nil {
		return nil, err
	}
	list, err := src.Tools()
	if err != nil {
		return nil, s.problem("tools."+name, strings.ReplaceAll(err.Error(), "\n", "; "), "settle it under tools."+name)
	}
	if len(list) == 0 && !src.Read() {
		return nil, nil
	}
	return append([]tools.Tool{}, list...), nil
}

// sourceOf is nil where nothing is known without asking, and nobody was asked.
func (s *snapshot) sourceOf(name string) (source, error) {
	if s.backends == nil {
		s.backends = &backends{sources: map[string]source{}} // a check, which asks nobody
	}
	src := s.backends.sources[name]
	if src != nil || s.backends.stop != nil || s.cfg.Flawed() {
		return src, nil
	}
	var err error
	kind, t := ".mcp", s.cfg.Tools[name]
	switch {
	case t.MCP != nil:
		src, err = s.pinned(name, t)
	case t.GRPC != nil && t.GRPC.DescriptorSet != "":
		kind = ".grpc"
		src, err = s.grpcSource(name, t)
	}
	if err != nil {
		return nil, s.problem("tools."+name+kind, err.Error(), "see docs/configuration.md")
	}
	if src != nil {
		s.backends.sources[name] = src
	}
	return src, nil
}

// complete reports whether it is known which tools a section has.
func (s *snapshot) complete(name string) bool {
	t := s.cfg.Tools[name]
	if t.GRPC == nil && t.MCP == nil {
		return true
	}
	src := s.backends.sources[name]
	if src == nil || !src.Read() {
		return false
	}
	for _, schema := range src.Waiting() {
		if schema == nil {
			return false
		}
	}
	return true
}

// waiting are the tools that nobody accepted yet, as agents and policies may name
// them. One that has the name of a tool of another section is none.
func (s *snapshot) waiting() map[string]policy.ToolSchema {
	out := map[string]policy.ToolSchema{}
	if s.backends == nil {
		return out
	}
	for _, set := range slices.Sorted(maps.Keys(s.backends.sources)) {
		for name, schema := range s.backends.sources[set].Waiting() {
			d, taken := s.registry.Descriptor(name)
			if _, twice := out[name]; twice || taken && d.Toolset != set {
				continue
			}
			out[name] = policy.ToolSchema{Name: name, Toolset: set, Schema: schema}
		}
	}
	return out
}

// schemas are what policies are held against. Those about a tool of which nothing is
// known rest until it is.
func (s *snapshot) schemas() []policy.ToolSchema {
	waiting := s.waiting()
	out := slices.DeleteFunc(s.registry.Schemas(), func(t policy.ToolSchema) bool { return waiting[t.Name].Name != "" })
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		if waiting[name].Schema != nil {
			out = append(out, waiting[name])
		}
	}
	return out
}

// nameable are the tools that agents may name, by section, without the sections of
// which not all is known.
func (s *snapshot) nameable() map[string][]string {
	out := s.known()
	for name, t := range s.waiting() {
		if !slices.Contains(out[t.Toolset], name) {
			out[t.Toolset] = append(out[t.Toolset], name)
		}
	}
	for _, set := range s.absent {
		delete(out, set)
	}
	return out
}

// present are the references that mean something now. Others were found to be those
// of absent toolsets, or of tools that wait: they mean nothing until the next start.
func (s *snapshot) present(refs []string) (known []string) {
	for _, r := range refs {
		if _, err := s.registry.Resolve([]string{r}); err == nil {
			known = append(known, r)
		}
	}
	return known
}
