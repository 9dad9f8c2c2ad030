package behalf

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
)

// backendsWithin is how long the start waits for backends to say what they have.
// One that is down does not stop the server: its tools are absent.
const backendsWithin = 5 * time.Second

// backends are the processes behind gRPC tools. They are asked before there are
// policies, which must know the tools' arguments, and so before anything is served.
type backends struct {
	sources map[string]*grpctool.Source // by toolset
	stop    context.CancelFunc
	group   sync.WaitGroup
}

// openBackends connects to what the config names, reads what tools there are, and
// checks everything again with them.
func (s *Server) openBackends(ctx context.Context) error {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &backends{sources: map[string]*grpctool.Source{}, stop: stop}
	s.backends = b
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Tools)) {
		if s.cfg.Tools[name].GRPC == nil {
			continue
		}
		src, err := s.backend(name, s.cfg.Tools[name])
		if err != nil {
			return s.problem("tools."+name+".grpc", err.Error(), "see docs/configuration.md")
		}
		b.sources[name] = src
		b.group.Go(func() { _ = src.Run(own) }) // a backend that is down is no error
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

// learn checks tools and policies again, with what the backends said. Models stay.
func (s *Server) learn() error {
	list, problems := s.builtins()
	registry, err := tools.NewRegistry(list...)
	if err != nil {
		return errors.Join(append(problems, err)...)
	}
	s.registry = registry
	s.set, err = s.loadPolicies()
	if err := errors.Join(append(problems, err, s.checkTools())...); err != nil {
		return err
	}
	return s.checkAgents()
}

func (s *Server) backend(name string, t config.Toolset) (*grpctool.Source, error) {
	g := t.GRPC
	transport, err := s.backendTLS(g.ServerID)
	if err != nil {
		return nil, err
	}
	var set []byte
	if g.DescriptorSet != "" {
		if set, err = os.ReadFile(g.DescriptorSet); err != nil {
			return nil, errors.New("its descriptor_set cannot be read")
		}
	}
	facts := map[string]grpctool.Facts{}
	for method, f := range t.Tools {
		owners := map[string]tools.Owner{}
		for parameter, fact := range f.Owners {
			owners[parameter] = tools.Owner(fact)
		}
		facts[method] = grpctool.Facts{
			Name: f.Name, Description: f.Description, Scopes: f.Scopes, Effect: tools.Effect(f.Effect), Risk: f.Risk, Idempotent: f.Idempotent, Owners: owners,
		}
	}
	return grpctool.New(grpctool.Config{
		Toolset: name, Target: g.Target, Services: g.Services, DescriptorSet: set, TLS: transport, Tokens: s.tokens,
		Backend: tools.Backend{Audience: g.Audience, Type: calltoken.TypeCall, Chain: g.Chain},
		Prefix:  t.Prefix, Facts: facts, Waived: g.Waive, Timeout: g.Timeout, MaxResult: s.cfg.Server.Limits.ResultBytes, Logger: s.opt.log, Now: s.opt.now,
	})
}

// backendTLS shows our SVID to a server that has one, and takes any other by the
// system's roots.
func (s *Server) backendTLS(serverID string) (*tls.Config, error) {
	if serverID == "" {
		return nil, nil
	}
	return identity.ClientTLS(identity.ClientConfig{Source: s.svids, Servers: []string{serverID}, Now: s.opt.now})
}

// await gives the backends some time to be read.
func (b *backends) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, backendsWithin)
	defer cancel()
	for _, src := range b.sources {
		for ctx.Err() == nil {
			if _, err := src.Tools(); !errors.Is(err, grpctool.ErrNotRead) {
				break
			}
			select {
			case <-src.Changed():
			case <-ctx.Done():
			}
		}
	}
}

func (b *backends) close() {
	if b != nil {
		b.stop()
		b.group.Wait()
	}
}

// tellBackend tells the operator what of a backend is no tool, and if it is away.
func (s *Server) tellBackend(ctx context.Context, name string, src *grpctool.Source) {
	for _, n := range src.Notes() {
		s.opt.log.InfoContext(ctx, "not a tool", slog.String("toolset", name), slog.String("note", n))
	}
	if _, err := src.Tools(); errors.Is(err, grpctool.ErrNotRead) {
		s.opt.log.WarnContext(ctx, "a backend did not say what tools it has; they are absent until the next start", slog.String("toolset", name), slog.Any("cause", src.Problem()))
	}
}

// watchBackend says when a backend has other tools than at the start: they are
// taken at the next one, and calls of tools that are not the same any more fail.
func (s *Server) watchBackend(ctx context.Context, name string, src *grpctool.Source) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-src.Changed():
			s.opt.log.WarnContext(ctx, "a backend has other tools than at the start; restart to take them", slog.String("toolset", name))
		}
	}
}

// grpcTools gives the tools of a section: nil where it is not known which they are.
func (s *Server) grpcTools(name string) ([]tools.Tool, error) {
	if s.backends == nil || s.backends.sources[name] == nil {
		return nil, nil
	}
	list, err := s.backends.sources[name].Tools()
	switch {
	case errors.Is(err, grpctool.ErrNotRead):
		return nil, nil
	case err != nil:
		return nil, s.problem("tools."+name, strings.ReplaceAll(err.Error(), "\n", "; "), "settle it under tools."+name)
	}
	return append([]tools.Tool{}, list...), nil
}

// present are the references that mean something now: those of absent toolsets mean
// nothing until they are there, and then at the next start.
func (s *Server) present(refs []string) (known []string) {
	for _, r := range refs {
		if _, err := s.registry.Resolve([]string{r}); err == nil || len(s.absent) == 0 {
			known = append(known, r)
		}
	}
	return known
}
