package behalf

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
	"github.com/prometheus/client_golang/prometheus"
)

// Server is the whole service in one value. Make it with New, run it once.
type Server struct {
	cfg       *config.Config // as at the start; what a reload covers is in force
	opt       options
	started   time.Time
	inForce   atomic.Pointer[snapshot]
	reloads   turns
	toldLeft  []tools.Left      // what the operator was told of tools that are left out; under reloads
	toldUnfit map[string]string // and of toolsets whose tools cannot be taken; under reloads

	toldWeaker map[string]string // and of those that are not believed; under reloads
	demands    demands           // what backends' tools asked; under reloads
	holders    holders           // of names that backends chose; under reloads
	keptNames  holders           // as the store has them; under reloads
	forgetful  bool              // they could not be stored; under reloads
	lanes      *tools.Lanes
	store      *store.Store
	guard      *policy.Guard
	log        runs.Log
	runs       *runs.Engine
	approvals  *approvals
	peers      *identity.Peers
	verifier   *identity.Verifier
	grpc       *server.Server
	listener   net.Listener
	http       net.Listener
	stages     []stage
	closeLog   func()
	tokens     *tools.Tokens // of calls to backends
	failures   failures      // of tools, as the operator was told
	exchanges  exchanges     // whose tokens somebody else issues
	backends   *backends
	pinFiles   map[string]*mcptool.FilePins // what was accepted of MCP servers
	svids      identity.Source              // of our own certificate

	witness     *audit.Witness
	journal     *store.Journal // nil: no tenant has one
	auditPublic ed25519.PublicKey
	auditSeed   []byte   // digests are keyed by what is derived from it
	digestKeys  sync.Map // of each tenant that was met
}

// options are what the config cannot say.
type options struct {
	tools    map[string][]tools.Tool
	models   map[string]agents.Model
	identity *Identity
	log      *slog.Logger
	metrics  *prometheus.Registry
	meters   *meters
	now      func() time.Time
	version  string
	untested bool
	signer   crypto.Signer
	reread   func() (*config.Config, error)
	pace     time.Duration
	review   string
}

// Option adds what a config file cannot hold.
type Option func(*options)

// WithTools offers typed Go functions under the name that the config's
// `builtin:` refers to.
func WithTools(name string, list ...tools.Tool) Option {
	return func(o *options) { o.tools[name] = append(o.tools[name], list...) }
}

// WithModel replaces the model that the config calls name.
func WithModel(name string, m agents.Model) Option {
	return func(o *options) { o.models[name] = m }
}

// WithPace is how long offline models wait between two words, for whoever watches.
func WithPace(d time.Duration) Option { return func(o *options) { o.pace = d } }

// WithReview is what an operator types to read the tools that wait, but for their
// names: `behalf tools review` with other flags than the config's file, which mean its
// servers. Whoever calls such a tool is told it too.
func WithReview(command string) Option { return func(o *options) { o.review = command } }

// WithLogger sends log lines to l instead of the default logger.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithVersion is what WhoAmI and GetStatus call the program.
func WithVersion(v string) Option { return func(o *options) { o.version = v } }

// WithoutPolicyTests leaves the cases beside the policies alone, which else must
// hold: for commands that run them, or look at policies in the making.
func WithoutPolicyTests() Option { return func(o *options) { o.untested = true } }

// WithAuditSigner signs the checkpoints of the audit log with a key that never comes
// into this process, such as one in a KMS or behind PKCS #11, instead of audit.key.
// It must be Ed25519. Digests cannot be derived from it, so the config needs
// audit.digest_key. A signer that fails or hangs stops the recording, and with it
// everything, once audit.checkpoint_every rows are unsigned.
func WithAuditSigner(key crypto.Signer) Option { return func(o *options) { o.signer = key } }

// WithReload says how the config is read anew when an operator asks for it. Without
// it a reload takes the policies, and what else the config names in other files.
func WithReload(read func() (*config.Config, error)) Option {
	return func(o *options) { o.reread = read }
}

// WithClock replaces the wall clock, for tests.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// Identity replaces the identity section of the config: for development, where
// the authority and the issuer live in the process.
type Identity struct {
	Source  identity.Source
	Issuers []identity.Issuer        // nil: those of the config
	Tenants map[string]string        // trust domain to tenant
	Grants  []identity.WorkloadGrant // nil: those of the config
	// Audiences are our names in JWT-SVIDs; none: they are refused.
	Audiences []string
}

// WithIdentity is how demo and dev bring their own authority and issuer.
func WithIdentity(i Identity) Option { return func(o *options) { o.identity = &i } }

// New builds the service from its config. All problems of the input are
// reported together, and nothing is opened before there are none.
func New(ctx context.Context, cfg *config.Config, opts ...Option) (_ *Server, err error) {
	s := &Server{cfg: cfg, opt: defaults(opts), reloads: make(turns, 1)}
	s.started, s.lanes = s.opt.now(), tools.NewLanes(cfg.Server.Limits.ToolCallsPerUser)
	if err = s.check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, build := range []func(context.Context) error{
		s.bind, s.openIdentity, s.openStore, s.openTokens, s.openGuard, s.openTools, s.openRuns, s.openServer,
	} {
		if err := build(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func defaults(opts []Option) options {
	o := options{
		tools: map[string][]tools.Tool{}, models: map[string]agents.Model{},
		log: slog.Default(), metrics: prometheus.NewRegistry(), meters: newMeters(), now: time.Now,
	}
	for _, apply := range opts {
		apply(&o)
	}
	return o
}

// check finds everything that is wrong with the input before anything is opened.
func (s *Server) check() error {
	switch err := s.look(); {
	case err != nil:
		return err
	case s.cfg.Flawed():
		return errors.New("this config is the rest of a file with problems, which is never run")
	}
	return s.current().tryBuild()
}

// look is check for what may be half a config, of which no agents can be made.
func (s *Server) look() error {
	sn := &snapshot{Server: s, cfg: s.cfg}
	if err := errors.Join(sn.read(), s.checkFiles()); err != nil {
		return err
	}
	s.inForce.Store(sn)
	return nil
}

// Run serves until ctx ends, then stops from the top to the bottom.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	s.opt.log.InfoContext(ctx, "serving", slog.String("address", s.Addr()), slog.String("http", s.HTTPAddr()), slog.String("policy_revision", s.guard.Revision()))
	return runStages(ctx, s.stages...)
}

// Addr is where gRPC is served.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// HTTPAddr is where health and metrics are served; empty if they are not.
func (s *Server) HTTPAddr() string {
	if s.http == nil {
		return ""
	}
	return s.http.Addr().String()
}

// close gives back what New opened. Stages have ended by then.
func (s *Server) close() {
	for _, l := range []net.Listener{s.listener, s.http} {
		if l != nil {
			_ = l.Close()
		}
	}
	s.backends.close()
	if s.closeLog != nil {
		s.closeLog()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.opt.log.Error("close the store", slog.String("cause", err.Error()))
		}
	}
	if s.witness != nil {
		_ = s.witness.Close()
	}
	if s.journal != nil {
		_ = s.journal.Close()
	}
}

// stage adds a long-lived part above those that were added before.
func (s *Server) stage(name string, run func(context.Context) error) {
	s.stages = append(s.stages, stage{name, run})
}

// bind takes the addresses first: a second server on them shall touch nothing.
func (s *Server) bind(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "tcp", s.cfg.Server.Listen); err != nil {
		return fmt.Errorf("server.listen: %w; is another server running?", err)
	}
	if s.cfg.Server.HTTP == "" {
		return nil
	}
	if s.http, err = lc.Listen(ctx, "tcp", s.cfg.Server.HTTP); err != nil {
		return fmt.Errorf("server.http: %w; is another server running?", err)
	}
	return nil
}
