package runs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Config is what an engine works with. Log, Index, Grants, Voices and Targets are
// required.
type Config struct {
	Log    Log
	Index  Index
	Grants Grants
	Voices Voices
	// Targets finds an agent or group chat by its name.
	Targets func(name string, groupChat bool) (agents.Agent, bool)

	// Queue holds detached runs; nil means one in memory. With the embedded log
	// it is that log's Queue.
	Queue Queue
	// Shared says that other processes run on the same log and index, so that
	// runs that are open at the start may be theirs.
	Shared bool

	// Hold gives the context in which a run may act. It ends, with its cause,
	// when the run may no longer go on. nil: the run's own.
	Hold func(ctx context.Context, r RunRecord, g identity.Grant) (context.Context, func(), error)
	// Resume asks policy again before a run goes on without its caller. An error
	// ends the run with its reason. nil: always allowed.
	Resume func(ctx context.Context, r RunRecord, g identity.Grant) error
	// Offline reports whether policy lets a run go on without its person though
	// the stored grant has expired (DESIGN 5, run_offline). nil: never.
	Offline func(ctx context.Context, r RunRecord, g identity.Grant) bool
	// Authority is what new sessions of a group chat are bound to. nil: always
	// AuthoritySpeaker.
	Authority func(groupChat string) string
	// Join reports whether the grant may speak in a session that is another
	// person's, of a group chat. nil: never. It is asked when the run begins; that
	// the question is on record is the business of whoever calls Start.
	Join func(ctx context.Context, s SessionRecord, g identity.Grant) bool

	Timeout    time.Duration // of one stretch of work; 0 means 15 minutes
	OfflineMax time.Duration // 0 means 24 hours
	Workers    int           // detached runs at the same time; 0 means 256
	// WorkersPerPerson are those of one person; 0 means 16. Further runs wait.
	WorkersPerPerson int
	// QueuedPerPerson are the detached runs of one person that may wait for their
	// turn, so that nobody fills the queue; 0 means 100.
	QueuedPerPerson int
	// SessionsPerPerson are those that one person may keep; 0 means 10,000.
	SessionsPerPerson int
	// MaxTurns bounds the turns of every run, whatever it asks for; 0 means 64.
	MaxTurns int
	// SessionBytes bounds the stored events of a session in which a run may still
	// begin, and so the memory that a start can take; 0 means 64 MiB. A run that
	// has begun may go beyond.
	SessionBytes int64

	Clock  func() time.Time // nil: time.Now
	Random io.Reader        // of ids; nil: crypto/rand
	Logger *slog.Logger     // nil: slog.Default
}

// Engine starts runs, executes them, and tells about them. All methods may be
// called by many goroutines; Run by one.
//
// It knows tenants and owners. Whether somebody may see or stop a run that is
// another person's is the guard's question, asked before.
type Engine struct {
	cfg  Config
	born int64 // runs that are older and open were left by an earlier process
	left left

	mu     sync.Mutex
	active map[string]*execution // by run id
}

// NewEngine checks the config. Nothing runs before a run's events are ranged
// over, or before Run.
func NewEngine(c Config) (*Engine, error) {
	if c.Log == nil || c.Index == nil || c.Grants == nil || c.Voices == nil || c.Targets == nil {
		return nil, errors.New("runs: Log, Index, Grants, Voices and Targets are required")
	}
	if c.Queue == nil {
		c.Queue = NewMemoryQueue(0)
	}
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Minute
	}
	if c.OfflineMax <= 0 {
		c.OfflineMax = 24 * time.Hour
	}
	if c.Workers <= 0 {
		c.Workers = 256
	}
	if c.WorkersPerPerson <= 0 {
		c.WorkersPerPerson = 16
	}
	if c.QueuedPerPerson <= 0 {
		c.QueuedPerPerson = 100
	}
	if c.SessionsPerPerson <= 0 {
		c.SessionsPerPerson = 10_000
	}
	if c.MaxTurns <= 0 {
		c.MaxTurns = 64
	}
	if c.SessionBytes <= 0 {
		c.SessionBytes = 64 << 20
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Engine{cfg: c, born: c.Clock().UnixNano(), active: map[string]*execution{}}, nil
}

// Why an execution is told to stop.
var (
	errCancelled = errors.New("the run was cancelled")
	errLeft      = errors.New("the client went away")
	errTimeout   = errors.New("the run ran out of time")
	errShutdown  = errors.New("the server is shutting down")
)

// errMoved is what the loser of a fence sees.
var errMoved = fault.New(codes.Aborted, fault.SessionBusy, "the session has moved on without this run; read it again")

// claim makes x the one execution of its run in this process.
func (e *Engine) claim(x *execution) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, taken := e.active[x.rec.RunID]; taken {
		return false
	}
	e.active[x.rec.RunID] = x
	return true
}

func (e *Engine) release(x *execution) {
	e.left.drop(x.status.Started.GrantID)
	e.mu.Lock()
	delete(e.active, x.rec.RunID)
	e.mu.Unlock()
	close(x.done)
}

func (e *Engine) running(runID string) (*execution, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x, ok := e.active[runID]
	return x, ok
}

// note logs what went wrong beside a run that goes on.
func (e *Engine) note(ctx context.Context, what string, r RunRecord, err error) {
	if err != nil {
		e.cfg.Logger.ErrorContext(ctx, what, slog.String("run_id", r.RunID), slog.String("session_id", r.SessionID), slog.Any("error", err))
	}
}

func (e *Engine) target(name, kind string) (agents.Agent, error) {
	agent, ok := e.cfg.Targets(name, kind == KindGroupChat)
	if !ok {
		return nil, fault.New(codes.NotFound, fault.NotFound, "there is no such agent or group chat; list them first")
	}
	return agent, nil
}

func notFound(what string) error {
	return fault.New(codes.NotFound, fault.NotFound, "there is no such "+what)
}

// timeout is how long one stretch of work may take: a request can only narrow it.
func (e *Engine) timeout(l agents.Limits) time.Duration {
	if l.Timeout > 0 {
		return min(l.Timeout, e.cfg.Timeout)
	}
	return e.cfg.Timeout
}

// internal leaves a fault as it is and says of anything else what was being done.
func internal(doing string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fmt.Errorf("%s: %w", doing, err)
}
