package runs

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/internal/wire"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Status is what the stored events say about a run.
type Status struct {
	RunID      string
	Started    agents.RunStarted
	StartedAt  time.Time
	First      uint64 // sequence of its RunStarted; 0: there is no such run
	Last       uint64 // sequence of its newest event
	Output     string // the newest message of an agent
	Structured string
	Usage      agents.Usage // of all threads
	Approvals  []string     // ids that wait for an approver
	Inputs     []string     // ids that wait for a person
	Credential bool         // it waits for a fresh credential
	Finished   *agents.RunFinished
	FinishedAt time.Time
	Worked     bool     // an agent has done something in it
	Answered   []string // the subjects of who has answered an input request in it

	requests map[string]agents.Event // what each open id was asked with
}

// Open reports whether the run has begun and not finished.
func (s *Status) Open() bool { return s.First > 0 && s.Finished == nil }

// Waits reports whether the run waits for somebody.
func (s *Status) Waits() bool {
	return s.Open() && (s.Credential || len(s.Approvals) > 0 || len(s.Inputs) > 0)
}

// State is the run's state as the log has it.
func (s *Status) State() string {
	switch {
	case s.Waits():
		return StateWaiting
	case s.Finished == nil:
		return StateRunning
	case s.Finished.StopReason == agents.StopFailed:
		return StateFailed
	case s.Finished.StopReason == agents.StopCancelled:
		return StateCancelled
	}
	return StateFinished
}

// apply adds the session's next event. A RunStarted begins anew.
func (s *Status) apply(e *agents.Event) {
	if b, ok := e.Body.(agents.RunStarted); ok && e.Thread == "" {
		*s = Status{RunID: e.RunID, Started: b, StartedAt: e.Time, First: e.Sequence, Last: e.Sequence}
		return
	}
	s.Last = e.Sequence
	s.Credential = false
	s.heard(e)
	if m, ok := e.Body.(agents.Message); !ok || m.Role != agents.RoleUser {
		s.Worked = true
	}
	switch b := e.Body.(type) {
	case agents.Message:
		s.Usage = s.Usage.Add(b.Usage)
		if b.Role == agents.RoleAssistant && e.Thread == "" {
			s.Output, s.Structured = b.Text, b.Structured
		}
	case agents.SpeakerSelected:
		s.Usage = s.Usage.Add(b.Usage)
	case agents.PlanUpdated:
		s.Usage = s.Usage.Add(b.Usage)
	case agents.RunFinished:
		if e.Thread == "" {
			s.finish(e, b)
		}
	default:
		s.applyWait(e)
	}
}

func (s *Status) finish(e *agents.Event, b agents.RunFinished) {
	s.Finished, s.FinishedAt = &b, e.Time
	s.Approvals, s.Inputs, s.requests = nil, nil, nil
}

func (s *Status) applyWait(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.ApprovalRequested:
		s.Approvals = append(s.Approvals, b.ApprovalID)
		s.ask(b.ApprovalID, e)
	case agents.ApprovalDecided:
		s.Approvals = without(s.Approvals, b.ApprovalID)
		delete(s.requests, b.ApprovalID)
	case agents.InputRequested:
		s.Inputs = append(s.Inputs, b.InputRequestID)
		s.ask(b.InputRequestID, e)
	case agents.InputReceived:
		s.Inputs = without(s.Inputs, b.InputRequestID)
		delete(s.requests, b.InputRequestID)
	case agents.CredentialRequired:
		s.Credential = true
	}
}

func (s *Status) ask(id string, e *agents.Event) {
	if s.requests == nil {
		s.requests = map[string]agents.Event{}
	}
	s.requests[id] = *e
}

func without(ids []string, id string) []string {
	return slices.DeleteFunc(ids, func(o string) bool { return o == id })
}

// load reads a session: its transcript, what its newest run is at, and its first
// RunStarted, to which it is bound.
func (e *Engine) load(ctx context.Context, k Key) (*session, error) {
	return e.loadUpTo(ctx, k, math.MaxInt64)
}

// loadUpTo is load of a session that a run is to begin in: one with more bytes
// is refused without reading the rest.
func (e *Engine) loadUpTo(ctx context.Context, k Key, limit int64) (*session, error) {
	var size int64
	s := &session{transcript: agents.NewTranscript()}
	for ev, err := range e.cfg.Log.Read(ctx, k) {
		if err != nil {
			return nil, fmt.Errorf("read session %s: %w", k.Session, err)
		}
		if limit < math.MaxInt64 {
			size += weight(&ev)
		}
		if size > limit {
			return nil, fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the session is full; start a new session")
		}
		if b, ok := ev.Body.(agents.RunStarted); ok && s.last == 0 {
			s.bound = b
		}
		s.transcript.Append(ev)
		s.status.apply(&ev)
		s.last = ev.Sequence
	}
	return s, nil
}

// envelope is about what an event's ids, time and chain take.
const envelope = 160

// weight is about how many bytes an event takes in the log. It counts what can
// be big without encoding; what it does not know it encodes.
func weight(e *agents.Event) int64 {
	n := envelope
	switch b := e.Body.(type) {
	case agents.TurnStarted, agents.ToolCallDecided, agents.ApprovalRequested, agents.CredentialRequired:
	case agents.Message:
		n += len(b.Text) + len(b.Structured) + len(b.Thought) + partsWeight(b.Parts)
		for i := range b.Calls {
			n += len(b.Calls[i].Tool) + len(b.Calls[i].Arguments)
		}
	case agents.ToolCallRequested:
		n += len(b.Tool) + len(b.Arguments)
	case agents.ToolCallFinished:
		n += len(b.Result)
	case agents.InputReceived:
		n += len(b.Text) + partsWeight(b.Parts)
	case agents.RunFinished:
		n += len(b.Output) + len(b.Structured) + len(b.ErrorMessage)
	default:
		n = proto.Size(wire.Encode(e))
	}
	return int64(n)
}

func partsWeight(parts []agents.Part) (n int) {
	for i := range parts {
		n += len(parts[i].Text) + len(parts[i].JSON) + len(parts[i].URI)
	}
	return n
}

// session is a log, read.
type session struct {
	transcript *agents.Transcript
	bound      agents.RunStarted
	status     Status // of the newest run
	last       uint64
	rec        SessionRecord // of a session that existed before this run
}

// run finds one run in a session.
func (e *Engine) status(ctx context.Context, k Key, runID string) (Status, error) {
	var at, found Status
	for ev, err := range e.cfg.Log.Read(ctx, k) {
		if err != nil {
			return Status{}, fmt.Errorf("read session %s: %w", k.Session, err)
		}
		at.apply(&ev)
		if at.RunID == runID {
			found = at
		}
	}
	return found, nil
}
