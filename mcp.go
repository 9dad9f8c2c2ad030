package behalf

import (
	"net/http"
	"strings"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/server/mcpserver"
)

// webIdentifier is for people who come to the http listener with a token and no
// certificate; nil where nobody may.
func (s *Server) webIdentifier() (interceptors.Identifier, error) {
	if !s.cfg.Server.MCP || s.http == nil {
		return nil, nil
	}
	return identity.NewIdentifier(identity.IdentifierConfig{Peers: s.peers, Verifier: s.verifier, ClientCertificate: identity.CertificateOptional})
}

// mcp adds the MCP face to the http listener, where the config wants it.
func (s *Server) mcp(mux *http.ServeMux) {
	if !s.cfg.Server.MCP || !s.mayPublish() {
		return
	}
	issuers := func() (names []string) {
		for _, st := range s.verifier.Status() {
			names = append(names, st.Issuer)
		}
		return names
	}
	h := mcpserver.New(s.grpc.Inside(), mcpserver.Config{Resource: strings.TrimSuffix(s.tokenIssuer(), "/") + "/mcp", Issuers: issuers, Version: s.opt.version})
	mux.Handle("/mcp", h)
	mux.Handle("/.well-known/oauth-protected-resource", h)
	mux.Handle("/.well-known/oauth-protected-resource/mcp", h)
}
