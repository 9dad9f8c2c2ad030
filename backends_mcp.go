package behalf

import (
	"context"
	"errors"
	"fmt"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

func (s *Server) mcpSource(name string, t config.Toolset) (source, error) {
	c := s.mcpConfig(name, t)
	c.TrustOnFirstUse = t.MCP.TrustOnFirstUse
	var err error
	if c.Tokens, c.Backend, err = s.issuing(name, t, c.Backend); err != nil {
		return nil, err
	}
	src, err := s.connectable(c, t)
	if err != nil {
		return nil, err
	}
	return s.exchanges.follow(src, c.Tokens), nil
}

// connectable is a server to which we show what its section says.
func (s *Server) connectable(c mcptool.Config, t config.Toolset) (*mcptool.Source, error) {
	var err error
	if c.TLS, err = s.backendTLS(t.MCP.ServerID); err != nil {
		return nil, err
	}
	return mcptool.New(c)
}

// pinned is what is known of a server without asking it. It is never run.
func (s *Server) pinned(name string, t config.Toolset) (source, error) {
	c := s.mcpConfig(name, t)
	c.Tokens = &tools.Tokens{}
	return mcptool.New(c)
}

func (s *Server) mcpConfig(name string, t config.Toolset) mcptool.Config {
	m, known := t.MCP, map[string]mcptool.Known{}
	for own, f := range t.Tools {
		known[own] = mcptool.Known{
			Name: f.Name, Description: f.Description, Scopes: f.Scopes, Effect: tools.Effect(f.Effect), Risk: f.Risk, Idempotent: f.Idempotent, Owners: owners(f),
		}
	}
	return mcptool.Config{
		Name: name, Prefix: t.Prefix, File: s.cfg.Problem("tools", "", "").File, Review: s.opt.review, URL: m.URL, Headers: secrets(m.Headers), Command: m.Command, Env: secrets(m.Env), Dir: m.Dir,
		Backend: tools.Backend{Audience: m.Audience, Type: calltoken.TypeCall, Chain: m.Chain},
		Tools:   known, Pins: s.pins(m.Pins), Limits: mcptool.Limits{Call: m.Timeout}, Logger: s.opt.log, Now: s.opt.now,
	}
}

// pins are one for each file: what two servers are trusted with at once must not be
// lost.
func (s *Server) pins(file string) *mcptool.FilePins {
	if s.pinFiles == nil {
		s.pinFiles = map[string]*mcptool.FilePins{}
	}
	if s.pinFiles[file] == nil {
		s.pinFiles[file] = mcptool.NewFilePins(file)
	}
	return s.pinFiles[file]
}

func secrets(in map[string]config.Secret) map[string]identity.Secret {
	out := map[string]identity.Secret{}
	for name, value := range in {
		out[name] = identity.NewSecret(value.Reveal())
	}
	return out
}

// ToolServer is an MCP server of the config at toolset, for a command that looks at
// what waits there and accepts it. Nothing is opened but what the server must see of
// us, and nothing is taken unread, whatever the config says. The service need not run.
func ToolServer(ctx context.Context, cfg *config.Config, toolset string, opts ...Option) (*mcptool.Source, error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	t, ok := cfg.Tools[toolset]
	if !ok || t.MCP == nil {
		return nil, fmt.Errorf("tools.%s is no MCP server", toolset)
	}
	if t.MCP.ServerID != "" {
		i, err := s.identity(ctx)
		if err != nil {
			return nil, err
		}
		s.svids = i.Source
	}
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{Now: s.opt.now})
	if err != nil {
		return nil, errors.New("no keys can be made")
	}
	c := s.mcpConfig(toolset, t)
	c.Tokens = &tools.Tokens{Keys: keys} // of no use: a list is read in nobody's name
	return s.connectable(c, t)
}
