package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
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
// Each is started when it is first needed.
type world struct {
	dir     string
	llm     *proc
	servers map[string]*server
	tokens  []string // of as many persons as any job needs
	// operator is the token of a person who may lock.
	operator string
}

// server is one measured server and the clients that talk to it.
type server struct {
	proc    *proc
	clients *clients
}

func (s *server) stop() {
	s.clients.close()
	s.proc.stop()
}

// newWorld gives a world that must be closed, even with an error.
func newWorld(ctx context.Context) (*world, error) {
	w := &world{servers: map[string]*server{}}
	var err error
	if w.dir, err = os.MkdirTemp("", "behalf-bench-"); err != nil {
		return w, err
	}
	if _, err := peers(w.dir); err != nil { // makes the authority that all share
		return w, err
	}
	if w.tokens, err = mint(w.dir, "support", manyStreams/callersPerPerson); err != nil {
		return w, err
	}
	operator, err := mint(w.dir, "operator", 1)
	if err != nil {
		return w, err
	}
	w.operator = operator[0]
	w.llm, err = spawn(ctx, "model")
	return w, err
}

// server gives the server of a name, which all rounds share.
func (w *world) server(ctx context.Context, name string) (*server, error) {
	if s, ok := w.servers[name]; ok {
		return s, nil
	}
	s, err := w.start(ctx, name, w.llm)
	if err == nil {
		w.servers[name] = s
	}
	return s, err
}

// start starts a server beside a model; the caller stops it.
func (w *world) start(ctx context.Context, name string, llm *proc) (*server, error) {
	role, args := "behalf", []string{"-dir", w.dir, "-model", "http://" + llm.addr + "/v1"}
	switch name {
	case "floor":
		role = "floor"
	case "single":
		args = append(args, "-no-coalesce")
	default:
		args = append(args, "-log", name)
	}
	p, err := spawn(ctx, role, args...)
	if err != nil {
		return nil, err
	}
	c, err := w.connect(p.addr)
	if err != nil {
		p.stop()
		return nil, err
	}
	return &server{p, c}, nil
}

func (w *world) close() {
	for _, s := range w.servers {
		s.stop()
	}
	if w.llm != nil {
		w.llm.stop()
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

// mint makes a token for each of n persons of a role.
func mint(dir, role string, n int) ([]string, error) {
	iss, err := devIssuer(dir)
	if err != nil {
		return nil, err
	}
	var tokens []string
	for i := range n {
		token, err := iss.Mint(map[string]any{"sub": fmt.Sprintf("%s-%d", role, i), "aud": "behalf", "roles": []string{role}, "scope": "crm.read"})
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token.Reveal())
	}
	return tokens, nil
}

// clients are connections and persons enough for all callers of a job.
type clients struct {
	conns  []*grpc.ClientConn // which connect when they are first used
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
	c := &clients{tokens: w.tokens}
	for range manyStreams / callersPerConn {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(t)))
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *clients) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// caller gives the n-th caller its connection and its person.
func (c *clients) caller(ctx context.Context, n int) (context.Context, *grpc.ClientConn) {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.tokens[n/callersPerPerson])
	return ctx, c.conns[n/callersPerConn]
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
	for _, n := range chatLengths() {
		opts = append(opts, behalf.WithModel(chatOf(n), talker{n}))
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
	fmt.Fprintf(&y, "server: { listen: 127.0.0.1:0, limits: { connections_per_peer: %d } }\nmodels:\n", manyStreams)
	for _, a := range benchAgents() {
		fmt.Fprintf(&y, "  %s: { base_url: %q, model: %s }\n", a, o.modelURL, scriptOf(a).name())
	}
	for _, n := range chatLengths() {
		fmt.Fprintf(&y, "  %s: { base_url: %q, model: %s }\n", chatOf(n), o.modelURL, chatOf(n))
	}
	fmt.Fprintf(&y, "tools:\n  crm: { builtin: bench }\nagents:\n")
	for _, a := range benchAgents() {
		fmt.Fprintf(&y, "  %s: { model: %s, instructions: You are a helpful agent., tools: [lookup], scopes: [crm.read] }\n", a, a)
	}
	writeChats(&y)
	fmt.Fprintf(&y, "policy: { dir: policies }\naudit: { witness: witness }\nstore: { dsn: \"sqlite://behalf.db\" }\nruns: { log: %s, dir: runs, max_turns: 1000 }\n", o.log)
	p.WriteString(`@id("run") permit (principal in Role::"support", action in [Action::"run_agent", Action::"run_group_chat"], resource);
@id("tools") permit (principal in Role::"support", action == Action::"call_tool", resource in Toolset::"crm");
@id("locks") permit (principal in Role::"operator", action == Action::"lock", resource);
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

// The agents, each with a model that does what its name says.
const (
	toolAgent  = "a-1-20-0"
	longAgent  = "a-0-200-0"
	pacedAgent = "a-0-100-20"
	idleAgent  = "a-0-2-100000" // one word, and then nothing for longer than anybody waits
)

func benchAgents() []string { return []string{toolAgent, longAgent, pacedAgent, idleAgent} }

// scriptOf is what the model of an agent does; the agent's name says it.
func scriptOf(agent string) script {
	if isChat(agent) {
		return script{}
	}
	s, err := parseScript(strings.TrimPrefix(agent, "a-"))
	if err != nil {
		panic(err)
	}
	return s
}
