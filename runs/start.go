package runs

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Spec is what a caller wants run. Who wants it is the grant in the context.
type Spec struct {
	Target    string
	GroupChat bool
	Input     string        // text, or
	Parts     []agents.Part // parts; neither: the session goes on where it stands
	SessionID string        // empty: a new session
	Limits    agents.Limits
	Labels    map[string]string

	Method        string // the RPC, for RequestID
	RequestID     string // makes a repeat safe; empty: none
	RequestDigest string // over the request's body

	// Detached runs belong to no connection: the engine's workers execute them.
	Detached bool

	// Tie, if set, is called when an attached run begins to work, with the context
	// that ends when the run is told to stop; what it returns is called when the
	// work is over. Whoever waits for a client inside the loop over the events
	// must then not wait on: the run's end is stored by the same goroutine.
	Tie func(work context.Context) (untie func())
}

// Run is a run that was started. Events may be ranged over once.
type Run struct {
	ID        string
	SessionID string
	// Repeated says that an earlier request with the same id started it.
	Repeated bool

	engine  *Engine
	rec     RunRecord
	grant   identity.Grant
	opening []agents.Event // stored by Start
	session *session       // nil: not executed here
	agent   agents.Agent
	tie     func(context.Context) func()
}

// Start begins a run: it checks the session, keeps grant, session and run, and
// stores RunStarted and the input. An attached run then waits for its Events to
// be ranged over; a caller that does not do that must Cancel it.
//
// Faults: NOT_FOUND (target, session), SESSION_BUSY, ARGUMENT_INVALID (another
// target, a full session, a request id with another body), STREAM_LIMIT (as many
// sessions or detached runs as one may have), RATE_LIMITED (too many of all wait).
func (e *Engine) Start(ctx context.Context, spec Spec) (*Run, error) {
	g, ok := identity.FromContext(ctx)
	if !ok || g.ID() == "" {
		return nil, fault.New(codes.Internal, fault.Internal, "no identity is bound to this call")
	}
	if run, err := e.repeated(ctx, g, spec); run != nil || err != nil {
		return run, err
	}
	run := &Run{engine: e, grant: g, rec: e.newRecord(g, spec), tie: spec.Tie}
	var err error
	if run.agent, err = e.target(spec.Target, run.rec.Kind); err != nil {
		return nil, err
	}
	if run.session, err = e.enter(ctx, g, spec); err != nil {
		return nil, err
	}
	if err := e.open(ctx, run, spec); err != nil {
		if again, _ := e.repeated(ctx, g, spec); again != nil && again.ID != run.ID {
			return again, nil // the same request at the same time, and the other was first
		}
		return nil, err
	}
	if spec.Detached {
		return run, e.enqueue(ctx, run)
	}
	return run, nil
}

func (e *Engine) newRecord(g identity.Grant, spec Spec) RunRecord {
	now := e.cfg.Clock().UnixNano()
	kind := KindAgent
	if spec.GroupChat {
		kind = KindGroupChat
	}
	return RunRecord{
		Tenant: g.Tenant(), SessionID: spec.SessionID, Owner: OwnerOf(g), Target: spec.Target, Kind: kind, State: StateRunning,
		Created: now, Updated: now, RequestID: spec.RequestID, Method: spec.Method, RequestDigest: spec.RequestDigest, Detached: spec.Detached,
	}
}

// repeated finds the run of an earlier request with the same id.
func (e *Engine) repeated(ctx context.Context, g identity.Grant, spec Spec) (*Run, error) {
	if spec.RequestID == "" {
		return nil, nil
	}
	runID, digest, ok, err := e.cfg.Index.RequestID(ctx, g.Tenant(), OwnerOf(g), spec.Method, spec.RequestID)
	if err != nil || !ok {
		return nil, err
	}
	if digest != spec.RequestDigest {
		return nil, fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "request_id was used for another request; use a fresh one")
	}
	rec, err := e.cfg.Index.RunByID(ctx, g.Tenant(), runID)
	if err != nil {
		return nil, internal("find the repeated run", err)
	}
	return &Run{ID: rec.RunID, SessionID: rec.SessionID, Repeated: true, engine: e, rec: rec, grant: g}, nil
}

// enter reads the session, if there is one already, and checks that it is free.
func (e *Engine) enter(ctx context.Context, g identity.Grant, spec Spec) (*session, error) {
	if spec.SessionID == "" {
		return &session{transcript: agents.NewTranscript()}, nil
	}
	rec, err := e.cfg.Index.SessionByID(ctx, g.Tenant(), spec.SessionID)
	if err != nil {
		return nil, internal("find the session", err)
	}
	if rec.Owner != OwnerOf(g) {
		if err := e.join(ctx, rec, g, spec); err != nil {
			return nil, err
		}
	}
	s, err := e.loadUpTo(ctx, Key{g.Tenant(), spec.SessionID}, e.cfg.SessionBytes)
	if err != nil {
		return nil, err
	}
	if rec.Target != spec.Target || s.last > 0 && s.bound.GroupChat != spec.GroupChat {
		return nil, fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the session is bound to another target; start a new session for this one")
	}
	if s.status.Open() {
		return nil, busy(s.status.RunID)
	}
	s.rec = rec
	return s, nil
}

func busy(runID string) error {
	f := fault.New(codes.FailedPrecondition, fault.SessionBusy, "the session has an open run; wait for it or cancel it")
	if runID == "" {
		return f
	}
	return f.With("run_id", runID)
}

// open makes the run known: grant, session and run first, then the events that
// refer to them.
func (e *Engine) open(ctx context.Context, run *Run, spec Spec) (err error) {
	if run.rec.RunID, err = NewID(RunPrefix, e.cfg.Random); err != nil {
		return err
	}
	if spec.SessionID == "" {
		if run.rec.SessionID, err = NewID(SessionPrefix, e.cfg.Random); err != nil {
			return err
		}
	}
	run.ID, run.SessionID = run.rec.RunID, run.rec.SessionID
	if err := e.index(ctx, run, spec); err != nil {
		return err
	}
	run.opening = e.opening(run, spec)
	err = e.cfg.Log.Append(ctx, run.key(), run.session.last, run.opening)
	if err != nil {
		return e.notBegun(ctx, run, err)
	}
	for i := range run.opening {
		run.session.transcript.Append(run.opening[i])
		run.session.status.apply(&run.opening[i])
		run.session.last = run.opening[i].Sequence
	}
	return nil
}

func (e *Engine) index(ctx context.Context, run *Run, spec Spec) error {
	r := run.rec
	session := run.session.rec
	var room Room
	if session.SessionID == "" {
		room.Sessions = e.cfg.SessionsPerPerson
		session = SessionRecord{Tenant: r.Tenant, SessionID: r.SessionID, Owner: r.Owner, Target: r.Target, Created: r.Created, Authority: e.authority(spec)}
	}
	run.session.rec = session
	session.Updated, session.LastRun = r.Updated, r.RunID
	var kept *GrantRecord
	if r.Detached { // an attached run keeps its grant only if it comes to wait
		room.Detached = e.cfg.WorkersPerPerson + e.cfg.QueuedPerPerson
		kept = new(RecordOf(run.grant, e.cfg.Clock()))
	}
	if err := e.cfg.Index.Begin(ctx, session, r, kept, room); err != nil {
		return internal("index the run", err)
	}
	// Only now: who may not begin leaves nothing behind.
	if err := e.speak(ctx, session, run); err != nil {
		e.unindex(ctx, run)
		return err
	}
	return nil
}

// notBegun says why a run did not begin. When it is not known whether its first
// step was stored, the index keeps it open: Cancel and the next start find out.
func (e *Engine) notBegun(ctx context.Context, run *Run, err error) error {
	if !errors.Is(err, ErrConflict) {
		return fault.New(codes.Unavailable, fault.Internal, "the log of runs cannot be written at the moment; whether the run began is not known, so look for it with ListRuns before you send it again").
			Because(fmt.Errorf("begin the run: %w", err))
	}
	e.unindex(ctx, run)
	return busy("")
}

// unindex says that a run did not begin.
func (e *Engine) unindex(ctx context.Context, run *Run) {
	ctx, cancel := limited(context.WithoutCancel(ctx))
	defer cancel()
	e.note(ctx, "index a run that did not begin", run.rec, e.cfg.Index.UpdateRunState(ctx, run.rec.Tenant, run.ID, StateFailed, agents.StopFailed))
}

// opening are the run's first events.
func (e *Engine) opening(run *Run, spec Spec) []agents.Event {
	r, who := run.rec, speaker(run.grant)
	limits := spec.Limits
	limits.Timeout = e.timeout(limits)
	if limits.MaxTurns <= 0 || limits.MaxTurns > e.cfg.MaxTurns {
		limits.MaxTurns = e.cfg.MaxTurns
	}
	at := agents.Event{Sequence: run.session.last + 1, Time: e.cfg.Clock().UTC(), RunID: r.RunID, SessionID: r.SessionID}
	started, workload := at, ""
	if w := run.grant.Principal().Workload; w != nil {
		workload = w.ID
	}
	started.Body = agents.RunStarted{
		Target: r.Target, GroupChat: spec.GroupChat, GrantID: run.grant.ID(), User: who, Workload: workload,
		Scopes: run.grant.Scopes().Names(), Tier: string(run.grant.Tier()),
		RequestID: r.RequestID, RequestDigest: r.RequestDigest, Labels: spec.Labels, Limits: limits,
	}
	if spec.Input == "" && len(spec.Parts) == 0 {
		return []agents.Event{started}
	}
	said := at
	said.Sequence++
	said.Source, said.MessageID = "user", r.RunID+"/input"
	said.Body = agents.Message{Role: agents.RoleUser, Text: spec.Input, Parts: spec.Parts, Speaker: who}
	return []agents.Event{started, said}
}

// speaker is the public face of who acts; empty for a workload alone.
func speaker(g identity.Grant) agents.Speaker {
	u := g.Principal().User
	if u == nil {
		return agents.Speaker{}
	}
	return agents.Speaker{Tenant: u.Tenant, Subject: u.Subject, Name: u.Name}
}

func (e *Engine) enqueue(ctx context.Context, run *Run) error {
	r := run.rec
	e.left.leave(run.grant.ID(), run.grant, e.cfg.Clock())
	err := e.cfg.Queue.Put(ctx, Job{r.Tenant, r.SessionID, r.RunID})
	if err == nil {
		return nil
	}
	e.left.drop(run.grant.ID())
	// The run has begun; without a worker it would block its session for ever.
	x := e.execution(run.rec, run.grant, run.agent, run.session)
	e.note(ctx, "end a run that cannot be queued", r, x.finish(agents.StopFailed, fault.RateLimited))
	if errors.Is(err, ErrFull) {
		return fault.New(codes.ResourceExhausted, fault.RateLimited, "too many runs wait already; try again later")
	}
	return fmt.Errorf("queue the run: %w", err)
}

func (r *Run) key() Key { return Key{r.rec.Tenant, r.rec.SessionID} }

// Events executes an attached run in the caller's goroutine and yields its
// events from RunStarted on: a stored one once it is stored, a live one at once,
// never one before another that came first. It ends after RunFinished, or after
// a pause when nothing is left to do until somebody answers; go on from there
// with Watch, or use Follow. When the agent failed, RunFinished is followed by the error.
//
// A loop that breaks, or a ctx that ends, cancels the run. A slow loop holds up
// the model, and the end of a run that is cancelled: see Spec.Tie.
//
// For a detached or repeated run the loop only watches, until RunFinished.
func (r *Run) Events(ctx context.Context) iter.Seq2[agents.Event, error] {
	if r.session == nil || r.rec.Detached {
		return r.watch(ctx)
	}
	return func(yield func(agents.Event, error) bool) {
		x := r.engine.execution(r.rec, r.grant, r.agent, r.session)
		if !r.engine.claim(x) {
			yield(agents.Event{}, errMoved)
			return
		}
		defer r.engine.release(x)
		x.yield = yield
		if r.tie != nil {
			x.tie = r.tie
		}
		err := x.run(identity.WithGrant(ctx, r.grant), r.opening)
		if err != nil && !x.left {
			yield(agents.Event{}, err)
		}
	}
}

// Follow is Events, and after a pause what comes when somebody has answered: it
// ends after RunFinished or with an error. Behind the first pause at which the run
// had to rest it only watches, so a loop that breaks no longer cancels the run.
func (r *Run) Follow(ctx context.Context) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		var last uint64
		var over bool
		for ev, err := range r.Events(ctx) {
			if !yield(ev, err) || err != nil {
				return
			}
			last = max(last, ev.Sequence)
			over = over || ended(&ev)
		}
		if !over {
			r.engine.follow(ctx, r.rec, last)(yield)
		}
	}
}

// ended reports whether the event is a run's last, and not a nested one's.
func ended(ev *agents.Event) bool {
	_, end := ev.Body.(agents.RunFinished)
	return end && ev.Thread == ""
}

func (r *Run) watch(ctx context.Context) iter.Seq2[agents.Event, error] {
	if len(r.opening) > 0 {
		return r.engine.follow(ctx, r.rec, r.opening[0].Sequence-1)
	}
	return r.engine.follow(ctx, r.rec, 0)
}
