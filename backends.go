package behalf

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/tools"
)

// openTokens makes the keys of call tokens, which are kept beside the store.
func (s *Server) openTokens(context.Context) error {
	file := ""
	if db, ok := strings.CutPrefix(s.cfg.Store.DSN, "sqlite://"); ok {
		file = filepath.Join(filepath.Dir(db), "calltoken.keys")
	}
	keys, err := calltoken.NewKeys(calltoken.KeysConfig{File: file, Rotate: s.cfg.CallTokens.Rotate, Logger: s.opt.log, Now: s.opt.now})
	if err != nil {
		return fmt.Errorf("call_tokens: %w", err)
	}
	s.tokens = &tools.Tokens{Keys: keys, Issuer: s.tokenIssuer(), Client: s.ownID, Names: s.digestKey}
	s.stage("keys of call tokens", keys.Run)
	return nil
}

// tokenIssuer is what the config says, or where the http listener is.
func (s *Server) tokenIssuer() string {
	switch {
	case s.cfg.CallTokens.Issuer != "" || s.http == nil:
		return s.cfg.CallTokens.Issuer
	case s.cfg.Server.HTTPTLS != nil:
		return "https://" + s.HTTPAddr()
	}
	return "http://" + s.HTTPAddr()
}

// ownID is our workload; empty while there is no SVID.
func (s *Server) ownID() string {
	svid, err := s.peers.Own()
	if err != nil {
		return ""
	}
	return svid.ID
}

// mayPublish: keys that crossed a network in the clear could be anybody's.
func (s *Server) mayPublish() bool {
	host, _, err := net.SplitHostPort(s.HTTPAddr())
	ip := net.ParseIP(host)
	return s.cfg.Server.HTTPTLS != nil || err == nil && ip != nil && ip.IsLoopback()
}

// jwks is the key set of call tokens (RFC 7517).
func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) {
	body, err := s.tokens.Keys.JWKS()
	if err != nil {
		http.Error(w, "the keys cannot be shown", http.StatusInternalServerError)
		return
	}
	published(w, body)
}

// discovery says where the keys are (RFC 8414).
func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(map[string]any{
		"issuer": s.tokens.Issuer, "jwks_uri": strings.TrimSuffix(s.tokens.Issuer, "/") + "/.well-known/jwks.json",
		"response_types_supported": []string{}, // nobody signs in here
	})
	if err != nil {
		http.Error(w, "the metadata cannot be shown", http.StatusInternalServerError)
		return
	}
	published(w, body)
}

func published(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(calltoken.CacheFor.Seconds())))
	_, _ = w.Write(body)
}
