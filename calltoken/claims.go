package calltoken

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// Types of a call token. A backend accepts the one it was told to.
const (
	TypeCall   = "agent-call+jwt" // for backends that use this package
	TypeAccess = "at+jwt"         // for ordinary resource servers (RFC 9068)
)

// Life is how long a token is good at most. A call is made at once.
const Life = 60 * time.Second

// Claims are what a call token says (SECURITY E.2). Times are seconds since 1970.
type Claims struct {
	Issuer        string       `json:"iss"`
	Subject       string       `json:"sub"`               // the person; the workload's SPIFFE ID where there is none. Never an agent
	SubjectIssuer string       `json:"sub_iss,omitempty"` // whose name Subject is
	Actor         *Actor       `json:"act,omitempty"`
	ClientID      string       `json:"client_id"` // our workload, by its SPIFFE ID
	Audience      string       `json:"aud"`
	Scope         string       `json:"scope"` // what is left of the person's scopes and the tool needs; empty is nothing
	Tenant        string       `json:"tenant"`
	Transaction   string       `json:"txn"` // one for all calls of a request
	ID            string       `json:"jti"`
	Tool          string       `json:"tool"`
	ToolVersion   string       `json:"tool_ver"`
	Arguments     string       `json:"args_s256"` // see Digest
	Decision      Decision     `json:"dec"`
	Approval      *Approval    `json:"apr,omitempty"`
	AuthTime      int64        `json:"auth_time,omitempty"`
	ACR           string       `json:"acr,omitempty"`
	AMR           []string     `json:"amr,omitempty"`
	IssuedAt      int64        `json:"iat"`
	NotBefore     int64        `json:"nbf"`
	Expires       int64        `json:"exp"`
	Confirmation  Confirmation `json:"cnf,omitzero"`
}

// Actor is who acts for the subject: the outermost is the agent that calls, inside
// it those it acts for, innermost the service (RFC 8693, 4.1). Only the outermost
// may be used for access control.
type Actor struct {
	Subject string `json:"sub"`
	Issuer  string `json:"iss,omitempty"`
	Profile string `json:"sub_profile,omitempty"` // agent; the service has none
	Grant   string `json:"grant,omitempty"`       // of the outermost: the id of the grant by which it acts (grt_…)
	Actor   *Actor `json:"act,omitempty"`
}

// Decision is what policy said. What it takes out of results behalf takes out itself,
// and gives nobody else a token for such a call: Effects are for the backend to fulfil,
// and none is named at present.
type Decision struct {
	ID       string   `json:"id"` // the call, as in the audit log
	Revision string   `json:"rev,omitempty"`
	Effects  []string `json:"effects,omitempty"` // obligations that still bind the backend
}

// Approval is who agreed.
type Approval struct {
	ID       string `json:"id"`
	Approver string `json:"sub,omitempty"`
}

// Confirmation binds the token to a client certificate (RFC 8705).
type Confirmation struct {
	Thumbprint string `json:"x5t#S256,omitempty"`
}

// Scopes are the words of Scope.
func (c *Claims) Scopes() []string { return strings.Fields(c.Scope) }

// Agents are the names of the agents that act, the outermost first: for a log line.
// Only the first may be used for access control.
func (c *Claims) Agents() (names []string) {
	for a := c.Actor; a != nil; a = a.Actor {
		if a.Profile == "agent" {
			names = append(names, a.Subject)
		}
	}
	return names
}

// Digest is args_s256: base64url of the SHA-256 of the argument bytes as they are
// sent, which is the message of a gRPC call and the body of an HTTP request.
func Digest(sent []byte) string {
	sum := sha256.Sum256(sent)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Thumbprint is x5t#S256 of a certificate in DER (RFC 8705, 3.1).
func Thumbprint(der []byte) string { return Digest(der) }

// complete reports what a token must say and does not.
func (c *Claims) complete() error {
	for _, claim := range [...]struct{ name, value string }{
		{"iss", c.Issuer},
		{"sub", c.Subject},
		{"client_id", c.ClientID},
		{"aud", c.Audience},
		{"tenant", c.Tenant},
		{"txn", c.Transaction},
		{"jti", c.ID},
		{"tool", c.Tool},
		{"tool_ver", c.ToolVersion},
		{"args_s256", c.Arguments},
		{"dec.id", c.Decision.ID},
	} {
		if claim.value == "" {
			return errors.New("the token has no " + claim.name)
		}
	}
	if c.IssuedAt <= 0 || c.NotBefore <= 0 || c.Expires <= 0 {
		return errors.New("the token lacks one of iat, nbf and exp")
	}
	return nil
}

// Chain makes the actors of a chain of agents, outermost first as a run has them,
// inside which the service acts.
func Chain(service string, agents []Actor) *Actor {
	act := &Actor{Subject: service}
	for _, a := range agents {
		a.Actor = act
		act = &a
	}
	return act
}
