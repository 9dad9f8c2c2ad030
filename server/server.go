package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/interceptors"
)

// Config is everything that the RPCs reach. Fields without a default in their
// comment are required.
type Config struct {
	TLS      *tls.Config
	Identify Identifier
	// IdentifyWeb is for calls of our own http listener, which bring no certificate.
	// Default nil: there are none.
	IdentifyWeb interceptors.Identifier
	Guard       Guard
	Runs        Runs
	Tools       Tools
	Calls       Calls
	Grants      Delegations
	Answers     Answers
	Catalog     Catalog
	Audit       AuditLog
	Approvals   Approvals
	Admin       Admin
	Keys        SigningKeys
	Log         *slog.Logger
	Metrics     *prometheus.Registry
	Now         func() time.Time
	GrantID     func() string
	Limits      interceptors.Limits // zero: its defaults
	Transport   Transport           // zero: its defaults
	Reflection  bool                // default off
	Version     string              // default empty
}

// Server is a gRPC server with the whole chain. Make it with New.
type Server struct {
	grpc   *grpc.Server
	own    *grpc.Server // the same for our own http listener
	health *health.Server
	door   *door
	inside *inside // nil: the http listener calls nothing
	grace  time.Duration
}

// ConnectionAge is how old a connection gets where nothing else is said.
const ConnectionAge = 30 * time.Minute

// Transport bounds what one connection may cost (SECURITY 9). Zero values take
// the defaults.
type Transport struct {
	Connections    int           // of one SPIFFE ID at once; default 64
	Handshakes     int           // of one address a second; default 50
	Resets         int           // of streams, and other frames that do nothing, on one connection a second; default 100
	Streams        uint32        // at once on one connection; default 100
	HeaderBytes    uint32        // of all metadata of a call; default 16 KiB
	MessageBytes   int           // of one request, decompressed; default 1 MiB
	StuckWrite     time.Duration // to a socket whose client takes nothing; default 10 s
	ConnectTimeout time.Duration // including the TLS handshake; default 10 s
	Idle           time.Duration // of a connection without calls; default 5 min
	Silence        time.Duration // of both sides of a conversation; default 30 min
	Age            time.Duration // of a connection; default ConnectionAge
	Grace          time.Duration // for the calls of a connection that is too old, and for one whose certificate has ended; default 1 min
	Ping           time.Duration // of silence, after which a client is asked whether it is there; default 60 s
	PingTimeout    time.Duration // until it has answered; default 10 s
	Shutdown       time.Duration // for open calls when the server stops; default 10 s
}

func (t Transport) withDefaults() Transport {
	t.Connections = cmp.Or(t.Connections, 64)
	t.Handshakes = cmp.Or(t.Handshakes, 50)
	t.Resets = cmp.Or(t.Resets, 100)
	t.StuckWrite = cmp.Or(t.StuckWrite, 10*time.Second)
	t.Streams = cmp.Or(t.Streams, 100)
	t.HeaderBytes = cmp.Or(t.HeaderBytes, 16<<10)
	t.MessageBytes = cmp.Or(t.MessageBytes, 1<<20)
	t.ConnectTimeout = cmp.Or(t.ConnectTimeout, 10*time.Second)
	t.Idle = cmp.Or(t.Idle, 5*time.Minute)
	t.Silence = cmp.Or(t.Silence, 30*time.Minute)
	t.Age = cmp.Or(t.Age, ConnectionAge)
	t.Grace = cmp.Or(t.Grace, time.Minute)
	t.Ping = cmp.Or(t.Ping, time.Minute)
	t.PingTimeout = cmp.Or(t.PingTimeout, 10*time.Second)
	t.Shutdown = cmp.Or(t.Shutdown, 10*time.Second)
	return t
}

// New builds the server. It fails if a method has no access rule, if a field
// rule does not compile or if a required field is missing.
func New(c Config) (*Server, error) {
	if c.TLS == nil {
		return nil, errors.New("server: TLS is required; there is no plaintext mode")
	}
	limits := c.Transport.withDefaults()
	s := &Server{health: health.NewServer(), grace: limits.Shutdown, door: newDoor(limits, c.TLS)}
	if c.IdentifyWeb != nil {
		s.inside = newInside(limits.Streams)
	}
	// The rules must exist before the server that enforces them, so the same
	// services are registered once on a server that never listens.
	probe := grpc.NewServer()
	c.register(probe, nil, s.health)
	rules, err := interceptors.Rules(probe.GetServiceInfo())
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	metrics := grpcprom.NewServerMetrics()
	chain, err := interceptors.Options(c.chain(rules, metrics, limits.MessageBytes))
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	serving := func(t Transport) *grpc.Server { // with one chain: its counts are of a person, not of a way in
		g := grpc.NewServer(slices.Concat(chain, t.options(s.door))...)
		c.register(g, rules, s.health)
		return g
	}
	s.grpc, s.own = serving(limits), serving(limits.within())
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	metrics.InitializeMetrics(s.grpc)
	for _, m := range []prometheus.Collector{metrics, s.door.refused} {
		if err := c.Metrics.Register(m); err != nil {
			return nil, fmt.Errorf("server: register metrics: %w", err)
		}
	}
	return s, nil
}

func (c Config) chain(rules map[string]*interceptors.Rule, m *grpcprom.ServerMetrics, messageBytes int) interceptors.Config {
	return interceptors.Config{
		Rules: rules, Identify: doors{c.Identify, c.IdentifyWeb}, Guard: c.Guard, Resolve: &resolver{c.Runs, c.Catalog, c.Approvals, c.Grants, c.Guard},
		Metrics: m, Log: c.Log, Now: c.Now, GrantID: c.GrantID, Limits: c.Limits, MessageBytes: messageBytes,
	}
}

// within is for connections in the process. All clients of the http listener share
// these, so that none may end by its age with all that goes on over it.
func (l Transport) within() Transport {
	l.Age, l.Idle = 0, 0
	return l
}

func (l Transport) options(d *door) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(d),
		grpc.MaxConcurrentStreams(l.Streams),
		grpc.MaxHeaderListSize(l.HeaderBytes),
		grpc.ConnectionTimeout(l.ConnectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: l.Idle, MaxConnectionAge: l.Age, MaxConnectionAgeGrace: l.Grace,
			Time: l.Ping, Timeout: l.PingTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second}),
		// Unknown methods go through the chain too, which answers after identity.
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return fault.New(codes.Unimplemented, fault.Unimplemented, "no such method")
		}),
		grpc.WaitForHandlers(true),
	}
}

func (c Config) register(g *grpc.Server, rules map[string]*interceptors.Rule, h *health.Server) {
	may := &rights{c.Guard, c.Now}
	to := interceptors.Taking(g, rules, doors{c.Identify, c.IdentifyWeb}, c.Limits)
	behalfv1.RegisterAgentServiceServer(to, &agentService{runs: c.Runs, catalog: c.Catalog, rights: may})
	behalfv1.RegisterRunServiceServer(to, &runService{runs: c.Runs, guard: c.Guard})
	behalfv1.RegisterSessionServiceServer(to, &sessionService{runs: c.Runs})
	behalfv1.RegisterToolServiceServer(to, &toolService{tools: c.Tools, grants: c.Grants, answers: c.Answers})
	behalfv1.RegisterAuditServiceServer(to, &auditService{log: c.Audit})
	behalfv1.RegisterAdminServiceServer(to, &adminService{admin: c.Admin, keys: c.Keys, version: c.Version, explain: &Explainer{
		Guard: c.Guard, Calls: c.Calls, Objects: c.Runs, Catalog: c.Catalog, Approvals: c.Approvals, Admin: c.Admin, Now: c.Now,
	}})
	behalfv1.RegisterGroupChatServiceServer(to, &groupChatService{runs: c.Runs, catalog: c.Catalog, rights: may})
	behalfv1.RegisterConversationServiceServer(to, &conversationService{
		runs: c.Runs, guard: c.Guard, approvals: c.Approvals, identify: c.Identify, silence: c.Transport.withDefaults().Silence,
	})
	behalfv1.RegisterApprovalServiceServer(to, &approvalService{approvals: c.Approvals})
	healthpb.RegisterHealthServer(to, h)
	if c.Reflection {
		reflection.RegisterV1(g)
	}
}

// Run serves on l until ctx ends, then says NOT_SERVING, waits for open calls
// for the grace period and cuts off what is left.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop()
	})
	within := s.within()
	err := s.grpc.Serve(s.door.behind(l))
	within()
	if stop() { // Serve failed by itself
		return fmt.Errorf("serve: %w", err)
	}
	<-stopped
	return nil
}

// within serves our own http listener's calls. What it gives waits for the end.
func (s *Server) within() (wait func()) {
	if s.inside == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() { // ends with s.own
		defer close(done)
		_ = s.own.Serve(s.inside)
	}()
	return func() {
		_ = s.inside.Close()
		<-done
	}
}

// stop is the server's part of the shut-down.
func (s *Server) stop() {
	s.health.Shutdown()
	cut := time.AfterFunc(s.grace, func() { go s.own.Stop(); s.grpc.Stop() }) // each waits for its handlers; both.Wait for both
	defer cut.Stop()
	var both sync.WaitGroup
	both.Go(s.own.GracefulStop)
	both.Go(s.grpc.GracefulStop)
	both.Wait()
}
