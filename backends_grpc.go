package behalf

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"os"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
)

// methods are the tools of a gRPC backend, of which none waits for anybody.
type methods struct{ *grpctool.Source }

func (m methods) Tools() ([]tools.Tool, error) {
	list, err := m.Source.Tools()
	if errors.Is(err, grpctool.ErrNotRead) {
		return nil, nil
	}
	return list, err
}

func (m methods) Read() bool {
	_, err := m.Source.Tools()
	return !errors.Is(err, grpctool.ErrNotRead)
}

func (m methods) Waiting() map[string]json.RawMessage { return nil }

func (s *Server) grpcSource(name string, t config.Toolset) (source, error) {
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
	tokens, backend, err := s.issuing(name, t, tools.Backend{Audience: g.Audience, Type: calltoken.TypeCall, Chain: g.Chain})
	if err != nil {
		return nil, err
	}
	facts := map[string]grpctool.Facts{}
	for method, f := range t.Tools {
		facts[method] = grpctool.Facts{
			Name: f.Name, Description: f.Description, Scopes: f.Scopes, Effect: tools.Effect(f.Effect), Risk: f.Risk, Idempotent: f.Idempotent, Owners: owners(f),
		}
	}
	src, err := grpctool.New(grpctool.Config{
		Toolset: name, Target: g.Target, Services: g.Services, DescriptorSet: set, TLS: transport, Tokens: tokens, Backend: backend,
		Prefix: t.Prefix, Facts: facts, Waived: g.Waive, Timeout: g.Timeout, MaxResult: s.cfg.Server.Limits.ResultBytes, Logger: s.opt.log, Now: s.opt.now,
	})
	if err != nil {
		return nil, err
	}
	return s.exchanges.follow(methods{src}, tokens), nil
}

func owners(t config.Tool) map[string]tools.Owner {
	out := map[string]tools.Owner{}
	for parameter, fact := range t.Owners {
		out[parameter] = tools.Owner(fact)
	}
	return out
}

// backendTLS shows our SVID to a server that has one, and takes any other by the
// system's roots.
func (s *Server) backendTLS(serverID string) (*tls.Config, error) {
	if serverID == "" || s.svids == nil { // a check, which asks nobody
		return nil, nil
	}
	return identity.ClientTLS(identity.ClientConfig{Source: s.svids, Servers: []string{serverID}, Now: s.opt.now})
}
