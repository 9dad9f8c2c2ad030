package behalf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
)

// openIdentity prepares both halves of identification.
func (s *Server) openIdentity(ctx context.Context) error {
	i, err := s.identity(ctx)
	if err != nil {
		return err
	}
	s.peers, err = identity.NewPeers(identity.PeersConfig{
		Source: i.Source, Tenants: i.Tenants, Grants: i.Grants, Audiences: i.Audiences, Now: s.opt.now,
	})
	if err != nil {
		return err
	}
	if s.verifier, err = identity.NewVerifier(identity.VerifierConfig{Issuers: i.Issuers, Logger: s.opt.log, Now: s.opt.now, Holds: s.exchanges.any}); err != nil {
		return err
	}
	if err := s.registerTrust(); err != nil {
		return err
	}
	s.svids = i.Source
	s.stage("certificates", i.Source.Run)
	s.stage("issuers", s.verifier.Run)
	return s.warm(ctx)
}

// trusts reports why whoever was verified once is not trusted any more.
func (s *Server) trusts(p identity.Principal) error {
	user := p.User != nil && p.User.Issuer != "" // only a question can be about a person of no issuer
	if user {
		if err := s.verifier.Trusts(*p.User); err != nil {
			return err
		}
	}
	if p.Workload == nil {
		return nil
	}
	if err := s.peers.Trusts(*p.Workload); err != nil || !user {
		return err
	}
	return s.peers.Presents(*p.Workload, p.User.Issuer)
}

// warm fetches before the first call the keys of the issuers that demand it.
func (s *Server) warm(ctx context.Context) error {
	var names []string
	for _, i := range s.cfg.Identity.JWT.Issuers {
		if i.RequireAtStart {
			names = append(names, i.Issuer)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return s.verifier.Warm(ctx, names...)
}

// identity is what WithIdentity brought, or what the config says.
func (s *Server) identity(ctx context.Context) (*Identity, error) {
	i := s.trustOf(s.cfg)
	if s.opt.identity != nil {
		return i, nil
	}
	source, err := s.source(ctx)
	if err == nil {
		source, err = s.federated(ctx, source)
	}
	if err != nil {
		return nil, fmt.Errorf("identity.workload: %w", err)
	}
	i.Source, i.Tenants, i.Audiences = source, s.cfg.Identity.Workload.Tenants, s.cfg.Identity.Workload.Audiences
	return i, nil
}

// trustOf is what WithIdentity brought, with the issuers and grants of a config where
// it brought none.
func (s *Server) trustOf(cfg *config.Config) *Identity {
	i := &Identity{}
	if s.opt.identity != nil {
		*i = *s.opt.identity
	}
	if i.Grants == nil {
		for _, g := range cfg.Identity.Workload.Grants {
			i.Grants = append(i.Grants, identity.WorkloadGrant{ID: g.ID, Scopes: g.Scopes, Issuers: g.MayPresentUsersFrom})
		}
	}
	if i.Issuers == nil {
		for _, c := range cfg.Identity.JWT.Issuers {
			i.Issuers = append(i.Issuers, issuer(c))
		}
	}
	return i
}

func (s *Server) source(ctx context.Context) (identity.Source, error) {
	w := s.cfg.Identity.Workload
	switch w.Source {
	case "workload_api":
		return identity.NewWorkloadAPI(ctx, identity.WorkloadAPIConfig{Socket: w.Socket, JWT: len(w.Audiences) > 0, Logger: s.opt.log})
	case "files":
		return identity.NewFiles(identity.FilesConfig{Cert: w.Cert, Key: w.Key, Bundles: w.Bundles, JWTBundles: w.JWTBundles, Logger: s.opt.log})
	case "dev":
		return identity.NewDevCA(identity.DevCAConfig{Dir: w.Dir, Now: s.opt.now})
	}
	return nil, errors.New("source is missing; name workload_api, files or dev")
}

// federated adds the trust domains whose bundles are fetched. A domain that cannot
// be reached now does not stop the start: it is refused until it can.
func (s *Server) federated(ctx context.Context, source identity.Source) (identity.Source, error) {
	domains := federation(s.cfg)
	if len(domains) == 0 {
		return source, nil
	}
	f, err := identity.NewFederation(identity.FederationConfig{Source: source, Domains: domains, Logger: s.opt.log, Now: s.opt.now})
	if err != nil {
		return nil, err
	}
	f.Refresh(ctx)
	return f, nil
}

func federation(cfg *config.Config) (out []identity.FederatedDomain) {
	all := cfg.Identity.Workload.Federation
	for _, domain := range slices.Sorted(maps.Keys(all)) {
		c := all[domain]
		out = append(out, identity.FederatedDomain{
			TrustDomain: domain, URL: c.URL, Profile: c.Profile, EndpointID: c.EndpointID, Bundle: c.Bundle,
			AllowPrivateAddresses: c.AllowPrivateAddresses, MaxStale: c.MaxStale,
		})
	}
	return out
}

func issuer(c config.Issuer) identity.Issuer {
	return identity.Issuer{
		Issuer: c.Issuer, Audiences: c.Audiences, Algorithms: c.Algorithms, TokenTypes: c.TokenTypes, ClientIDs: c.ClientIDs,
		Tenant: c.Tenant, TenantClaim: c.TenantClaim, Tenants: c.Tenants, SubjectPrefix: c.SubjectPrefix,
		RolesClaim: c.RolesClaim, ScopesClaim: c.ScopesClaim, JWKSURL: c.JWKSURL, JWKSFile: c.JWKSFile,
		SingleAudience: c.SingleAudience, RequireBound: c.RequireBound, AllowPrivateAddresses: c.AllowPrivateAddresses,
		Skew: c.Skew, MaxLifetime: c.MaxLifetime, MaxStale: c.MaxStale,
	}
}
