package calltoken

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
)

// maxBody bounds what is read of a request to digest it.
const maxBody = 1 << 20

// Middleware refuses what the verifier refuses, with 401, before h. Tool names what
// is called, and what it has no name for is refused; nil does not ask. The body is read,
// at most 1 MiB, and given to tool and to h again.
//
// A token is for a body: h must take nothing that is the caller's choice from anywhere
// else. A query is refused for that, unless [VerifierConfig.AllowQuery] is set; what is
// in the path and the method tool must tell apart.
func (v *Verifier) Middleware(h http.Handler, tool func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
			return
		}
		call := ofTLS(r.TLS)
		c, err := v.request(r, body, tool, &call)
		if err != nil {
			v.refused(r.Context(), call, c, err)
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "the call token was not accepted", http.StatusUnauthorized)
			return
		}
		r = r.WithContext(withClaims(r.Context(), c))
		again(r, body)
		h.ServeHTTP(w, r)
	})
}

// again has the body read again.
func again(r *http.Request, body []byte) { r.Body = io.NopCloser(bytes.NewReader(body)) }

func (v *Verifier) request(r *http.Request, body []byte, tool func(*http.Request) string, call *Received) (*Claims, error) {
	token, err := bearer(r.Header.Values(Header))
	if err != nil {
		return nil, err
	}
	if (r.URL.RawQuery != "" || r.URL.ForceQuery) && !v.c.AllowQuery {
		return nil, errors.New("the request has a query, which no token covers")
	}
	call.Arguments = body
	if tool != nil {
		again(r, body)
		if call.Tool = tool(r); call.Tool == "" {
			return nil, errors.New("the request is of no tool")
		}
	}
	return v.verify(r.Context(), token, *call)
}

// ofTLS is what a connection says of the caller. Its certificate was verified by
// whoever terminates it.
func ofTLS(s *tls.ConnectionState) (r Received) {
	if s == nil || len(s.PeerCertificates) == 0 {
		return r
	}
	leaf := s.PeerCertificates[0]
	r.Leaf = leaf.Raw
	if len(leaf.URIs) == 1 {
		r.Client = leaf.URIs[0].String()
	}
	return r
}
