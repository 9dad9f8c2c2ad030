package behalf

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/tools"
)

// openStore opens the database and the keys of the audit log beside it.
func (s *Server) openStore(ctx context.Context) error {
	dir := filepath.Dir(strings.TrimPrefix(s.cfg.Store.DSN, "sqlite://"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store.dsn: %w", err)
	}
	key, err := s.auditKey(dir)
	if err != nil {
		return fmt.Errorf("audit.key: %w", err)
	}
	if s.witness, err = openWitness(s.cfg.Audit.Witness); err != nil {
		return fmt.Errorf("audit.witness: %w", err)
	}
	if err := s.openJournal(dir); err != nil {
		return fmt.Errorf("audit.journal: %w", err)
	}
	s.store, err = store.Open(ctx, store.Config{
		DSN: s.cfg.Store.DSN, Clock: s.opt.now, Key: key, Witness: s.witness, Journal: s.journal, CheckpointEvery: int64(s.cfg.Audit.CheckpointEvery), Retention: s.cfg.Audit.Retention, Log: s.opt.log,
	})
	if err != nil {
		return fmt.Errorf("store.dsn: %w", err)
	}
	s.stage("store", s.store.Run)
	return nil
}

// openJournal also takes in what an earlier process left, if no tenant has a
// journal any more: it belongs into the log.
func (s *Server) openJournal(dir string) error {
	path := cmp.Or(s.cfg.Audit.Journal, filepath.Join(dir, "audit.journal"))
	if _, err := os.Stat(path); err != nil && !s.cfg.Audit.Journaled() {
		return nil
	}
	key, err := hkdf.Key(sha256.New, s.auditSeed, nil, "behalf audit journal", sha256.Size)
	if err != nil {
		return err
	}
	s.journal, err = store.OpenJournal(store.JournalConfig{Path: path, Key: key, Max: int64(s.cfg.Audit.JournalBytes)})
	return err
}

// auditKey is the signing key of the checkpoints. Its public half is written beside
// the store, for whoever verifies.
func (s *Server) auditKey(dir string) (crypto.Signer, error) {
	key, err := s.signingKey(dir)
	if err != nil {
		return nil, err
	}
	if s.auditPublic, err = audit.PublicOf(key); err != nil {
		return nil, err
	}
	if s.auditSeed, err = s.digestSeed(key); err != nil {
		return nil, err
	}
	text, err := audit.PublicPEM(s.auditPublic)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(filepath.Join(dir, "audit.key.pub"), text, 0o644) //nolint:gosec // it is public
}

// signingKey is what the program brought, the configured key, or one that is made
// once and kept beside the store.
func (s *Server) signingKey(dir string) (crypto.Signer, error) {
	if s.opt.signer != nil {
		return s.opt.signer, nil
	}
	if !s.cfg.Audit.Key.IsZero() {
		return audit.ParseKey([]byte(s.cfg.Audit.Key.Reveal()))
	}
	private := filepath.Join(dir, "audit.key")
	if err := lost(private); err != nil {
		return nil, err
	}
	return audit.LoadOrCreateKey(private)
}

// digestSeed is the secret that digests and the journal are keyed from: one of its
// own, or the seed of a signing key that is in memory.
func (s *Server) digestSeed(key crypto.Signer) ([]byte, error) {
	if own := s.cfg.Audit.DigestKey; !own.IsZero() {
		return []byte(own.Reveal()), nil
	}
	if near, ok := key.(ed25519.PrivateKey); ok {
		return near.Seed(), nil
	}
	return nil, errNoSeed
}

var errNoSeed = errors.New("the signing key is not in this process, so the key of digests cannot be derived from it: set audit.digest_key to 32 or more random characters, e.g. of `openssl rand -base64 32`")

// lost is the error of a key that there was: its public half is there, and it
// is not.
func lost(private string) error {
	_, key := os.Stat(private)
	_, public := os.Stat(private + ".pub")
	if errors.Is(key, os.ErrNotExist) && public == nil {
		return fmt.Errorf("%s is gone, but the log beside it was signed with it: put it back, or move the whole folder away to begin a new log", private)
	}
	return nil
}

func (s *Server) openGuard(ctx context.Context) (err error) {
	if err := s.opt.meters.register(s.opt.metrics, s.journaled); err != nil {
		return err
	}
	s.guard, err = policy.NewGuard(policy.GuardConfig{
		Sink: s.store, Buckets: s.store, Approvals: s.store, ApprovalLife: s.cfg.Policy.ApprovalLife, MaxPending: s.cfg.Server.Limits.ApprovalsPerUser, MaxDenials: s.cfg.Server.Limits.DenialsPerMinute,
		DigestKey: s.digestKey, Clock: s.opt.now, OnRedacted: s.opt.meters.redacted, Locks: s.store, Operators: s.cfg.Server.OperatorTenant,
		Trusts: s.trusts, Journals: s.cfg.Audit.Journals, OnLock: s.exchanges.purge,
		OnAlarm: func(ctx context.Context, a policy.Alarm) {
			s.opt.log.ErrorContext(ctx, "guard alarm", slog.String("reason", string(a.Reason)), slog.String("tenant", a.Tenant),
				slog.String("action", a.Action), slog.Any("cause", a.Err))
		},
	})
	if err != nil {
		return err
	}
	s.stage("trust", func(ctx context.Context) error {
		return s.peers.Watch(ctx, s.opt.log, func([]string) { s.guard.Distrust() })
	})
	s.stage("refused calls", s.guard.SumUp)
	return s.guard.LoadLocks(ctx)
}

// openWitness is the place outside the store where checkpoints go; nil for none.
func openWitness(where string) (*audit.Witness, error) {
	switch where {
	case "":
		return nil, nil
	case "stdout":
		return audit.NewWitness(os.Stdout), nil
	}
	return audit.OpenWitness(where)
}

// digestKey derives a tenant's key for digests of low-entropy values, which
// nobody can guess by dictionary without it (SECURITY 7.3), from the audit key.
func (s *Server) digestKey(tenant string) []byte {
	if key, ok := s.digestKeys.Load(tenant); ok {
		return key.([]byte) //nolint:forcetypeassert // only this function stores
	}
	key := s.deriveDigestKey(tenant)
	if key != nil {
		s.digestKeys.Store(tenant, key)
	}
	return key
}

func (s *Server) deriveDigestKey(tenant string) []byte {
	key, err := hkdf.Key(sha256.New, s.auditSeed, nil, "behalf audit digests of "+tenant, sha256.Size)
	if err != nil {
		return nil // and the guard refuses to act without one
	}
	return key
}

func (s *Server) openRuns(ctx context.Context) error {
	queue, err := s.openLog(ctx)
	if err != nil {
		return fmt.Errorf("runs.log: %w", err)
	}
	s.runs, err = runs.NewEngine(runs.Config{
		Log: s.log, Queue: queue, Index: s.store, Grants: s.store, Voices: s.store, Targets: s.target, Authority: s.authority, Join: s.mayJoin,
		Hold: s.hold, Resume: s.again, Offline: s.offline, Clock: s.opt.now,
		Logger: s.opt.log, OfflineMax: s.cfg.Runs.OfflineMax, WorkersPerPerson: s.cfg.Server.Limits.DetachedRunsPerUser,
		QueuedPerPerson: s.cfg.Server.Limits.QueuedRunsPerUser, SessionsPerPerson: s.cfg.Server.Limits.SessionsPerUser, MaxTurns: s.cfg.Runs.MaxTurns,
	})
	if err != nil {
		return err
	}
	open, err := s.store.OpenRuns(ctx)
	if err != nil {
		return err
	}
	s.stage("audit of the last process", func(ctx context.Context) error { return s.abandon(ctx, open) })
	s.stage("runs", s.runs.Run)
	s.approvals = newApprovals(s)
	s.stage("approvals", s.approvals.run)
	return nil
}

// abandon records the calls that the last process decided and never finished:
// they may have happened. Tool calls of detached runs are left to their run,
// which goes on and knows what to do about them; calls of this process are its
// own.
func (s *Server) abandon(ctx context.Context, open []runs.RunRecord) error {
	detached := map[string]bool{}
	for _, r := range open {
		detached[r.RunID] = r.Detached
	}
	n, err := s.abandoned(ctx, detached)
	for err != nil && ctx.Err() == nil { // it waits for the store, as everybody does
		s.opt.log.ErrorContext(ctx, "calls without an outcome cannot be recorded; trying again", slog.Any("cause", err))
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		n, err = s.abandoned(ctx, detached)
	}
	if n > 0 {
		s.opt.log.WarnContext(ctx, "calls without an outcome were found and recorded as abandoned", slog.Int("calls", n))
	}
	<-ctx.Done()
	return nil
}

func (s *Server) abandoned(ctx context.Context, detached map[string]bool) (int, error) {
	return s.store.Abandoned(ctx, func(r audit.Record) bool {
		return r.Action == policy.ActionCallTool && detached[r.RunID] || r.Time >= s.started.UnixNano()
	})
}

func (s *Server) openLog(ctx context.Context) (runs.Queue, error) {
	if s.cfg.Runs.Log == "memory" {
		s.log = runs.NewMemory()
		return runs.NewMemoryQueue(0), nil
	}
	j, err := runs.OpenJetStream(ctx, runs.JetStreamConfig{Dir: s.cfg.Runs.Dir})
	if err != nil {
		return nil, err
	}
	s.log, s.closeLog = j, j.Close
	return j.Queue(), nil
}

func (s *Server) openServer(ctx context.Context) error {
	mode := identity.CertificateRequired
	if s.cfg.Server.ClientCertificate == "optional" {
		mode = identity.CertificateOptional
	}
	who, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: s.peers, Verifier: s.verifier, ClientCertificate: mode})
	if err != nil {
		return err
	}
	web, err := s.webIdentifier()
	if err != nil {
		return err
	}
	s.stage("refused callers", func(ctx context.Context) error { return s.recordRefusals(ctx, who) })
	elsewhere, err := tools.NewElsewhere(tools.ElsewhereConfig{Past: s.store, Tokens: s.tokens, Most: (s.lanes.Limit() + 1) / 2, Clock: s.opt.now, Report: s.reportTool})
	if err != nil {
		return err
	}
	s.stage("calls made elsewhere", elsewhere.Run)
	l := s.cfg.Server.Limits
	s.grpc, err = server.New(server.Config{
		TLS: s.peers.ServerTLS(mode), Identify: who, IdentifyWeb: web, Guard: s.guard, Runs: &people{s.runs, s}, Tools: &toolbox{s, elsewhere}, Calls: &calls{s}, Grants: &delegations{s}, Answers: &answers{s},
		Catalog: &catalog{s}, Audit: &auditLog{s}, Approvals: s.approvals, Admin: &admin{s.guard, s}, Keys: s.tokens.Keys, Log: s.opt.log, Metrics: s.opt.metrics, Now: s.opt.now,
		GrantID: newGrantID, Reflection: s.cfg.Server.Reflection, Version: s.opt.version,
		Limits: interceptors.Limits{Streams: l.StreamsPerUser, Calls: l.CallsPerUser, UnaryDeadline: l.UnaryDeadline, RunDeadline: l.RunDeadline, StreamLife: l.StreamLife},
		Transport: server.Transport{
			Connections: l.ConnectionsPerPeer, Handshakes: l.HandshakesPerSecond, Resets: l.ResetsPerSecond,
			Streams: uint32(l.StreamsPerConnection), HeaderBytes: uint32(l.HeaderBytes), MessageBytes: l.MessageBytes, ConnectTimeout: l.ConnectTimeout,
			Idle: l.ConnectionIdle, Age: s.connectionAge(ctx), Grace: l.ConnectionGrace, Shutdown: l.Shutdown,
		},
	})
	if err != nil {
		return err
	}
	s.stage("server", func(ctx context.Context) error { return s.grpc.Run(ctx, s.listener) })
	if s.http != nil {
		s.stage("http", s.serveHTTP)
	}
	return nil
}

// connectionAge is that of the config, but no more than our SVID's life: a connection
// must not be older than the certificate that it was made with can be (SECURITY 3.7).
// gRPC adds up to a tenth, so that not all come back at once.
func (s *Server) connectionAge(ctx context.Context) time.Duration {
	age := cmp.Or(s.cfg.Server.Limits.ConnectionAge, server.ConnectionAge)
	own, err := s.peers.Own()
	if err != nil {
		return age // there is nothing to serve with either
	}
	most := own.NotAfter.Sub(own.NotBefore) * 9 / 10
	if age <= most {
		return age
	}
	s.opt.log.WarnContext(ctx, "server.limits.connection_age is longer than the server's own certificate lives; connections are closed sooner",
		slog.Duration("connection_age", age), slog.Duration("closed_after", most))
	return most
}

// directGates are the gates for direct calls, by the agent in whose name they are
// made: a configured agent that acts elsewhere has its own tools there too, and so has
// whoever acts below it; everybody else ("") has all.
func (s *snapshot) directGates() (map[string]*tools.Gate, error) {
	lists := map[string][]string{"": append(s.registry.Names(), s.registry.Awaited()...)}
	for _, name := range external(s.cfg) {
		lists[name] = s.present(s.cfg.Agents[name].Tools)
	}
	gates := map[string]*tools.Gate{}
	for name, list := range lists {
		gate, err := tools.NewGate(tools.GateConfig{
			Registry: s.registry, Guard: s.guard, Tools: list, Clock: s.opt.now, Trace: interceptors.Trace, Report: s.reportTool, Live: outside{standing{made: s}},
			Limits: tools.Limits{MaxResult: s.cfg.Server.Limits.ResultBytes}, Lanes: s.lanes,
		})
		if err != nil {
			return nil, err
		}
		gates[name] = gate
	}
	return gates, nil
}
