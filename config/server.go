package config

import "time"

// Server is what listens.
type Server struct {
	Listen            string    `yaml:"listen" is:"listen"` // gRPC
	HTTP              string    `yaml:"http" is:"listen"`   // health, metrics, JWKS, console; absent: none of them
	HTTPTLS           *TLSFiles `yaml:"http_tls"`
	ClientCertificate string    `yaml:"client_certificate" enum:"required|optional"`
	Reflection        bool      `yaml:"reflection"`
	MCP               bool      `yaml:"mcp"`                         // tools and agents for MCP clients, on the http listener
	OperatorTenant    string    `yaml:"operator_tenant" is:"tenant"` // absent: nobody is an operator
	Limits            Limits    `yaml:"limits"`
}

// TLSFiles are PEM files.
type TLSFiles struct {
	Cert string `yaml:"cert" is:"file"`
	Key  string `yaml:"key" is:"keyfile"`
}

// Limits bound what callers can make the server hold. 0 means the default.
type Limits struct {
	StreamsPerUser       int           `yaml:"streams_per_user" range:"1..10000"`
	CallsPerUser         int           `yaml:"calls_per_user" range:"1..10000"`
	ToolCallsPerUser     int           `yaml:"tool_calls_per_user" range:"1..10000"`    // in flight
	DetachedRunsPerUser  int           `yaml:"detached_runs_per_user" range:"1..10000"` // at work
	QueuedRunsPerUser    int           `yaml:"queued_runs_per_user" range:"1..5000"`    // detached, not at work
	SessionsPerUser      int           `yaml:"sessions_per_user" range:"1..100000000"`  // kept
	ApprovalsPerUser     int           `yaml:"approvals_per_user" range:"1..10000"`     // pending
	DenialsPerMinute     int           `yaml:"denials_per_minute" range:"1..100000"`    // of one person
	StreamsPerConnection int           `yaml:"streams_per_connection" range:"1..100000"`
	ConnectionsPerPeer   int           `yaml:"connections_per_peer" range:"1..100000"`
	HandshakesPerSecond  int           `yaml:"handshakes_per_second" range:"1..100000"`
	ResetsPerSecond      int           `yaml:"resets_per_second" range:"1..100000"`
	MessageBytes         int           `yaml:"message_bytes" range:"1024..67108864"`
	HeaderBytes          int           `yaml:"header_bytes" range:"1024..1048576"`
	ResultBytes          int           `yaml:"result_bytes" range:"256..67108864"`
	ConnectTimeout       time.Duration `yaml:"connect_timeout" range:"1s..5m"`
	ConnectionIdle       time.Duration `yaml:"connection_idle" range:"1s..24h"`
	ConnectionAge        time.Duration `yaml:"connection_age" range:"10s..24h"`
	ConnectionGrace      time.Duration `yaml:"connection_grace" range:"1s..1h"`
	UnaryDeadline        time.Duration `yaml:"unary_deadline" range:"1s..1h"`
	RunDeadline          time.Duration `yaml:"run_deadline" range:"1s..24h"`
	StreamLife           time.Duration `yaml:"stream_life" range:"1s..24h"`
	Shutdown             time.Duration `yaml:"shutdown" range:"1s..10m"`
}

func (c *checker) server() {
	p := place("server")
	if t := c.Server.HTTPTLS; t != nil {
		c.require(p.key("http_tls"), map[string]string{"cert": t.Cert, "key": t.Key}, "TLS needs a certificate and its key")
		if !c.said(p.key("http")) {
			c.bad(p.key("http_tls"), "has no listener", "say server.http, or remove it")
		}
	}
	if c.Server.HTTP != "" && c.Server.HTTP == c.Server.Listen && c.Server.HTTP != "127.0.0.1:0" {
		c.bad(p.key("http"), "is the address that gRPC listens on", "take another port")
	}
	switch {
	case !c.Server.MCP:
	case c.Server.HTTP == "":
		c.bad(p.key("mcp"), "has no listener", "say server.http, or remove it")
	case !isLocal(c.Server.HTTP) && c.Server.HTTPTLS == nil:
		c.bad(p.key("mcp"), "would take tokens over a network in the clear", "add server.http_tls, or listen on loopback")
	}
	if c.Identity.Workload.Source != "dev" {
		return
	}
	for key, address := range map[string]string{"listen": c.Server.Listen, "http": c.Server.HTTP} {
		if address != "" && !isLocal(address) {
			c.bad(p.key(key), c.show(p.key(key))+" can be reached from other machines, and the dev source gives credentials to anybody", "listen on 127.0.0.1, or take another identity.workload.source")
		}
	}
}
