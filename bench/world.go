package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

const (
	domain   = "bench.behalf"
	issuer   = "https://issuer.bench.behalf"
	required = identity.CertificateRequired
	// A server allows 100 streams on a connection and 20 to a person.
	callersPerConn   = 50
	callersPerPerson = 10
)

// world is the machine under measurement: the model, the floor, three behalfs.
type world struct {
	dir     string
	servers map[string]*server
	procs   []*proc
}

func newWorld(ctx context.Context) (*world, error) {
	dir, err := os.MkdirTemp("", "behalf-bench-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, servers: map[string]*server{}}
	if _, err := peers(dir); err != nil { // makes the authority that all share
		return w, err
	}
	llm, err := w.spawn(ctx, "model")
	if err != nil {
		return w, err
	}
	url := "http://" + llm.addr + "/v1"
	for name, args := range map[string][]string{
		"floor":    {"floor"},
		"memory":   {"behalf", "-log", "memory"},
		"single":   {"behalf", "-log", "memory", "-no-coalesce"},
		"embedded": {"behalf", "-log", "embedded"},
	} {
		p, err := w.spawn(ctx, args[0], append(args[1:], "-dir", dir, "-model", url)...)
		if err != nil {
			return w, err
		}
		c, err := w.connect(p.addr)
		if err != nil {
			return w, err
		}
		w.servers[name] = &server{name, p, c}
	}
	return w, nil
}

func (w *world) spawn(ctx context.Context, role string, args ...string) (*proc, error) {
	p, err := spawn(ctx, role, args...)
	if err == nil {
		w.procs = append(w.procs, p)
	}
	return p, err
}

func (w *world) close() {
	for _, p := range w.procs {
		p.stop()
	}
	_ = os.RemoveAll(w.dir)
}

func authority(dir string) (*identity.DevCA, error) {
	return identity.NewDevCA(identity.DevCAConfig{Dir: dir, TrustDomain: domain})
}

func peers(dir string) (*identity.Peers, error) {
	ca, err := authority(dir)
	if err != nil {
		return nil, err
	}
	return identity.NewPeers(identity.PeersConfig{Source: ca, Tenants: map[string]string{domain: "acme"}, Grants: grants()})
}

func grants() []identity.WorkloadGrant {
	return []identity.WorkloadGrant{{ID: "spiffe://" + domain + "/**", Issuers: []string{issuer}}}
}

func devIssuer(dir string) (*identity.DevIssuer, error) {
	return identity.NewDevIssuer(identity.DevIssuerConfig{URL: issuer, KeyFile: filepath.Join(dir, "issuer.key")})
}

// clients are connections and persons enough for all callers of a job.
type clients struct {
	conns  []behalfv1.AgentServiceClient
	tokens []string
}

func (w *world) connect(addr string) (*clients, error) {
	ca, err := authority(w.dir)
	if err != nil {
		return nil, err
	}
	t, err := identity.ClientTLS(identity.ClientConfig{Source: ca, Servers: []string{"spiffe://" + domain + "/**"}})
	if err != nil {
		return nil, err
	}
	iss, err := devIssuer(w.dir)
	if err != nil {
		return nil, err
	}
	c := &clients{}
	for range idleStreams / callersPerConn {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(t)))
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, behalfv1.NewAgentServiceClient(conn))
	}
	for i := range idleStreams / callersPerPerson {
		token, err := iss.Mint(map[string]any{"sub": fmt.Sprintf("user-%d", i), "aud": "behalf", "roles": []string{"support"}, "scope": "crm.read"})
		if err != nil {
			return nil, err
		}
		c.tokens = append(c.tokens, token.Reveal())
	}
	return c, nil
}

// caller gives the n-th caller its connection and its person.
func (c *clients) caller(ctx context.Context, n int) (context.Context, behalfv1.AgentServiceClient) {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.tokens[n/callersPerPerson]), c.conns[n/callersPerConn]
}

// hold opens n streams and returns when the server has them all.
func (c *clients) hold(ctx context.Context, agent string, n int) (release func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range n {
		cctx, client := c.caller(ctx, i)
		stream, err := client.StreamAgent(cctx, &behalfv1.StreamAgentRequest{Agent: agent, Input: "wait"})
		if err != nil {
			cancel()
			return nil, err
		}
		wg.Go(func() {
			for {
				if _, err := stream.Recv(); err != nil {
					return
				}
			}
		})
	}
	// The server tells nobody that it is idle; a second is ample on loopback.
	<-time.After(3 * time.Second)
	return func() { cancel(); wg.Wait() }, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serveBehalf is the measured service: mutual TLS, tokens, 50 policies, a
// redaction and a durable audit log.
func serveBehalf(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "server-")
	if err != nil {
		return err
	}
	cfg, err := writeConfig(dir, o)
	if err != nil {
		return err
	}
	ca, err := authority(o.dir)
	if err != nil {
		return err
	}
	iss, err := devIssuer(o.dir)
	if err != nil {
		return err
	}
	opts := []behalf.Option{
		behalf.WithTools("bench", tools.Func("lookup", "Looks up a customer.", lookupTool, tools.ReadOnly(), tools.Scopes("crm.read"))),
		behalf.WithIdentity(behalf.Identity{Source: ca, Issuers: []identity.Issuer{iss.Issuer("behalf", "acme")}, Tenants: map[string]string{domain: "acme"}, Grants: grants()}),
		behalf.WithLogger(quiet()),
	}
	for _, a := range benchAgents() {
		m, err := model.NewOpenAI(model.OpenAIConfig{BaseURL: o.modelURL, Model: scriptOf(a).name(), NoCoalesce: o.noCoalesce})
		if err != nil {
			return err
		}
		opts = append(opts, behalf.WithModel(a, m))
	}
	s, err := behalf.New(ctx, cfg, opts...)
	if err != nil {
		return err
	}
	if o.log == "memory" && !o.noCoalesce {
		if err := profile(); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stdout, s.Addr())
	return s.Run(ctx)
}

type lookupArgs struct {
	ID string `json:"id" jsonschema:"the customer's id"`
}

func lookupTool(_ context.Context, in lookupArgs) (customer, error) {
	return customer{in.ID, "Ines Moreau", "078-05-1120"}, nil
}

func writeConfig(dir string, o options) (*config.Config, error) {
	if err := os.MkdirAll(filepath.Join(dir, "policies"), 0o700); err != nil {
		return nil, err
	}
	var y, p strings.Builder
	fmt.Fprintf(&y, "server: { listen: 127.0.0.1:0 }\nmodels:\n")
	for _, a := range benchAgents() {
		fmt.Fprintf(&y, "  %s: { base_url: %q, model: %s }\n", a, o.modelURL, scriptOf(a).name())
	}
	fmt.Fprintf(&y, "tools:\n  crm: { builtin: bench }\nagents:\n")
	for _, a := range benchAgents() {
		fmt.Fprintf(&y, "  %s: { model: %s, instructions: You are a helpful agent., tools: [lookup], scopes: [crm.read] }\n", a, a)
	}
	fmt.Fprintf(&y, "policy: { dir: policies }\naudit: { witness: witness }\nstore: { dsn: \"sqlite://behalf.db\" }\nruns: { log: %s, dir: runs }\n", o.log)
	p.WriteString(`@id("run") permit (principal in Role::"support", action == Action::"run_agent", resource);
@id("tools") permit (principal in Role::"support", action == Action::"call_tool", resource in Toolset::"crm");
@id("no-ssn") @redact("result:$.ssn") forbid (principal in Role::"support", action == Action::"call_tool", resource == Tool::"lookup");
`)
	for i := range 47 {
		fmt.Fprintf(&p, "@id(\"rule-%d\") forbid (principal in Role::\"role-%d\", action == Action::\"call_tool\", resource == Tool::\"lookup\") when { context.args.id == \"C-%d\" };\n", i, i, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "policies", "bench.cedar"), []byte(p.String()), 0o600); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "behalf.yaml")
	if err := os.WriteFile(file, []byte(y.String()), 0o600); err != nil {
		return nil, err
	}
	return config.Load(file, os.LookupEnv)
}

func benchAgents() []string { return []string{"a-1-20-0", "a-0-200-0", "a-0-100-20", "a-0-2-100000"} }

// scriptOf is what the model of an agent does; the agent's name says it.
func scriptOf(agent string) script {
	s, err := parseScript(strings.TrimPrefix(agent, "a-"))
	if err != nil {
		panic(err)
	}
	return s
}
