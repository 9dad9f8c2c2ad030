package team

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
)

// hosting is what agents differ in that let another one, their guest, run in a
// thread below their own.
type hosting interface {
	// generation names the guest's thread: with the same one it remembers.
	generation(v *visit) int
	// input is what the guest hears in this turn, the same each time it is asked.
	input(h *host) []agents.Event
	// reply does one step when the guest's turn is over, false if it was the last.
	reply(ctx context.Context, h *host, guest *seat) bool
}

// host is one Run of such an agent. It lives on the consumer's goroutine.
type host struct {
	name  string
	guest Member
	kind  hosting // also the fold's key
	t     *agents.Transcript
	chain []string
	yield func(agents.Event, error) bool
	visit *visit // as of this step
}

// visit is what a host knows of its own thread: a fold over it.
type visit struct {
	runID    string
	started  uint64
	runs     int
	limits   agents.Limits
	seen     int    // events
	heard    []int  // indexes of all inputs
	earlier  int    // how many of these are of earlier runs
	invited  uint64 // sequence of the invitation of the guest
	said     int    // messages of this run
	answer   agents.Message
	finished bool
}

func (v *visit) apply(e *agents.Event) {
	v.seen++
	switch b := e.Body.(type) {
	case agents.RunStarted:
		*v = visit{
			runID: e.RunID, started: e.Sequence, runs: v.runs + 1, limits: b.Limits,
			seen: v.seen, heard: v.heard, earlier: len(v.heard),
		}
	case agents.SpeakerSelected:
		v.invited = e.Sequence
	case agents.Message:
		switch {
		case b.Role == agents.RoleUser:
			v.heard = append(v.heard, v.seen-1)
		case !b.Incomplete:
			v.said++
			v.answer = b
		}
	case agents.HandedOff, agents.RunFinished:
		v.finished = true
	}
}

// run is the host's Run.
func (h host) run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		chain, err := agents.OwnChain(ctx, h.name)
		if err != nil {
			yield(agents.Event{}, err)
			return
		}
		h.t, h.chain, h.yield = t, chain, yield
		for h.step(ctx) {
		}
	}
}

// step does what the transcript says is next, false if that was the last. The
// guest is invited as a speaker, so that who reads the host's thread finds its.
func (h *host) step(ctx context.Context) bool {
	h.visit = agents.Fold(h.t, h.kind, func() *visit { return &visit{} }, (*visit).apply)
	if h.visit.finished {
		return false
	}
	if ctx.Err() != nil {
		return h.fail(ctx, ctx.Err())
	}
	guest := h.thread()
	if h.visit.invited == 0 {
		name := strings.TrimPrefix(guest.Thread(), h.t.Thread()+"/")
		return h.emit(agents.Event{Body: agents.SpeakerSelected{Speakers: []string{name}, Reason: "only_candidate"}})
	}
	s := sit(guest, h.guest.Agent.Name())
	if s.started > h.visit.started && s.over {
		return h.kind.reply(ctx, h, s)
	}
	bound, err := identity.Child(ctx, h.guest.Agent.Name(), h.guest.Ceiling, agents.MaxDepth)
	if err != nil {
		return h.fail(ctx, err)
	}
	return h.open(bound, guest, s) && h.listen(bound, guest)
}

// thread is where the guest runs.
func (h *host) thread() *agents.Transcript {
	return h.t.Sub(seatThread(h.t.Thread(), h.guest.Agent.Name(), h.kind.generation(h.visit)))
}

// open opens the guest's turn, as far as it is not.
func (h *host) open(ctx context.Context, guest *agents.Transcript, s *seat) bool {
	if s.started < h.visit.started {
		if !agents.Commit(guest, nested(ctx, h.guest.Agent, h.visit.limits), h.yield) {
			return false
		}
		s = sit(guest, h.guest.Agent.Name())
	}
	input := h.kind.input(h)
	for i := s.inputs; i < len(input); i++ {
		if !agents.Commit(guest, input[i], h.yield) {
			return false
		}
	}
	return true
}

// listen lets the guest run, false if it waits for somebody.
func (h *host) listen(ctx context.Context, guest *agents.Transcript) bool {
	for ev, err := range h.guest.Agent.Run(ctx, guest) {
		if err != nil {
			return h.fail(ctx, err)
		}
		fill(ctx, &ev, guest, h.guest.Agent.Name())
		if !h.yield(ev, nil) {
			return false
		}
	}
	return sit(guest, h.guest.Agent.Name()).over
}

// inputs are messages of the thread as the guest gets them.
func (h *host) inputs(indexes []int) []agents.Event {
	all := h.t.Since(0)
	events := make([]agents.Event, len(indexes))
	for i, at := range indexes {
		events[i] = heard(&all[at])
	}
	return events
}

// emit commits an event of the host's thread.
func (h *host) emit(e agents.Event) bool {
	if e.Source == "" {
		e.Source, e.Chain = h.name, h.chain
	}
	return agents.Commit(h.t, e, h.yield)
}

func (h *host) fail(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	h.yield(agents.Event{}, fmt.Errorf("agent %s: %w", h.name, err))
	return false
}

// checkGuest checks what all hosts have.
func checkGuest(name string, guest Member) error {
	problem := errors.Join(agents.CheckName(name), require(name != string(agents.RoleUser), `an agent cannot be named "user"`))
	if guest.Agent == nil {
		return errors.Join(problem, errors.New("the agent inside is missing"))
	}
	return errors.Join(problem, agents.CheckName(guest.Agent.Name()))
}
