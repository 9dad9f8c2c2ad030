package config

import (
	"strings"
	"time"
)

// Exchange has an authorization server that the backend trusts issue what its calls
// carry, in place of our call token (RFC 8693).
type Exchange struct {
	TokenURL string   `yaml:"token_url" is:"https"`
	ServerID string   `yaml:"server_id" is:"spiffe"` // whom to expect there; absent: by the system's roots
	Audience string   `yaml:"audience"`              // for whom the token is: this or Resource, or both
	Resource string   `yaml:"resource"`
	Scope    []string `yaml:"scope" is:"scope"` // asked for beside what a tool needs, as far as the grant has it

	Client ExchangeClient `yaml:"client"`
	Actor  string         `yaml:"actor" enum:"none|jwt_svid"` // what says who acts; absent: none

	Issuer string          `yaml:"issuer"`                 // `iss` of what comes back; absent: the person's own
	Person *ExchangePerson `yaml:"person"`                 // absent: sub is theirs
	Act    string          `yaml:"act" enum:"refuse|warn"` // where a token does not name us; absent: refuse
	Bound  bool            `yaml:"bound"`                  // refuse what is not bound to our certificate
	Opaque bool            `yaml:"opaque"`                 // take what is no JWT

	Cap     time.Duration `yaml:"cap" range:"1m..24h"`       // the longest life of what comes back; absent: 15m
	Timeout time.Duration `yaml:"timeout" range:"100ms..1m"` // absent: 10s
}

// ExchangeClient is how we prove to be the client: exactly one of both.
type ExchangeClient struct {
	MTLS          *ClientMTLS `yaml:"mtls"`            // by our SVID (RFC 8705)
	PrivateKeyJWT *ClientKey  `yaml:"private_key_jwt"` // by a signature (RFC 7523)
}

// ClientMTLS is a client that the server knows by its certificate.
type ClientMTLS struct {
	ClientID string `yaml:"client_id"`
}

// ClientKey is a client that the server knows by its public key.
type ClientKey struct {
	ClientID string `yaml:"client_id"`
	Key      Secret `yaml:"key"`      // PEM
	KeyID    string `yaml:"key_id"`   // absent: the key's thumbprint
	Audience string `yaml:"audience"` // of assertions; absent: token_url
}

// ExchangePerson is which claim of what comes back is which fact of the person.
type ExchangePerson struct {
	Claim string `yaml:"claim"`
	Is    string `yaml:"is" enum:"subject|email"`
}

// exchange checks what a toolset has in place of call tokens. A toolset has either:
// a backend that is given two could believe the weaker one.
func (c *checker) exchange(p place, t Toolset) {
	if t.Exchange == nil {
		return
	}
	c.exchanges(p, t)
	c.exchangeItself(p.key("exchange"), t.Exchange)
}

// exchanges looks at what an exchange is beside.
func (c *checker) exchanges(p place, t Toolset) {
	switch {
	case t.GRPC == nil && t.MCP == nil && !c.said(p.key("grpc")) && !c.said(p.key("mcp")):
		c.bad(p.key("exchange"), "belongs to grpc, or to mcp with a url", "remove it")
	case t.MCP != nil && len(t.MCP.Command) > 0:
		c.bad(p.key("exchange"), "does not go with command, which is given no token", "remove it")
	}
	for _, kind := range []string{"grpc", "mcp"} {
		for _, key := range []string{"audience", "chain", "unbound"} {
			if c.said(p.key(kind).key(key)) {
				c.bad(p.key(kind).key(key), "is of our call token, and exchange takes its place", "remove it, or remove exchange")
			}
		}
	}
	if t.MCP == nil {
		return
	}
	for _, name := range names(t.MCP.Headers) {
		if strings.EqualFold(name, "authorization") {
			c.bad(p.key("mcp").key("headers").key(name), "is where the exchanged token goes", "remove one of the two")
		}
	}
}

func (c *checker) exchangeItself(p place, x *Exchange) {
	if x.TokenURL == "" {
		c.missing(p.key("token_url"), "write the https address of the token endpoint")
	}
	if !c.said(p.key("audience")) && !c.said(p.key("resource")) {
		c.bad(p, "has none of audience and resource", "say for whom the token is")
	}
	c.unique(p.key("scope"), x.Scope)
	if c.said(p.key("client")) {
		c.exchangeClient(p.key("client"), x.Client)
	} else {
		c.missing(p.key("client"), "say mtls or private_key_jwt with its client_id")
	}
	if x.Person != nil {
		c.require(p.key("person"), map[string]string{"claim": x.Person.Claim, "is": x.Person.Is}, "say which claim is the person's subject or email")
	}
	c.exchangePlain(p, x)
}

func (c *checker) exchangeClient(p place, x ExchangeClient) {
	switch c.exactlyOne(p, "mtls", "private_key_jwt") {
	case "mtls":
		if x.MTLS != nil {
			c.require(p.key("mtls"), map[string]string{"client_id": x.MTLS.ClientID}, "write our name at the server")
		}
	case "private_key_jwt":
		if k := x.PrivateKeyJWT; k != nil {
			c.require(p.key("private_key_jwt"), map[string]string{"client_id": k.ClientID}, "write our name at the server")
			c.require(p.key("private_key_jwt"), map[string]string{"key": k.Key.Reveal()}, "name a file with a private key in PEM: ${file:…}")
		}
	}
}

// exchangePlain refuses certificates where there is no TLS to show or see one.
func (c *checker) exchangePlain(p place, x *Exchange) {
	if !strings.HasPrefix(x.TokenURL, "http:") || c.spoilt[p.key("token_url")] {
		return
	}
	for key, said := range map[string]bool{"client": x.Client.MTLS != nil, "server_id": x.ServerID != ""} {
		if said {
			c.bad(p.key(key), "needs https: without TLS nobody shows a certificate", "write https")
		}
	}
}

// For is whom the token is for, as the calls of the toolset name it.
func (x *Exchange) For() string {
	if x.Audience != "" {
		return x.Audience
	}
	return x.Resource
}
