package team

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// round is one Run of a team. It lives on the consumer's goroutine.
type round struct {
	team   *Team
	t      *agents.Transcript
	grants []string // the team's own chain
	yield  func(agents.Event, error) bool
	chat   *chat // as of this step
}

// step does what the transcript says is next, false if that was the last.
func (r *round) step(ctx context.Context) bool {
	r.chat = agents.Fold(r.t, r.team, func() *chat { return newChat(r.team, r.t) }, (*chat).apply)
	if r.chat.finished {
		return false
	}
	if ctx.Err() != nil {
		return r.fail(ctx, ctx.Err())
	}
	if len(r.chat.wave) > 0 {
		if over, more := r.speak(ctx); !over {
			return more
		}
	}
	return r.goOn(ctx)
}

// speak brings the current wave one step further: open the threads, let all
// speak, lift what they said. It tells whether the turn is over and, if not,
// whether there is more to do now.
func (r *round) speak(ctx context.Context) (over, more bool) {
	for _, name := range r.chat.wave {
		if !r.open(ctx, name) {
			return false, false
		}
	}
	if speaking := r.speaking(); len(speaking) > 0 {
		return false, r.listen(ctx, speaking)
	}
	said := r.said()
	if r.chat.lifted >= len(said) {
		return true, true
	}
	for _, e := range said[r.chat.lifted:] {
		if !r.emit(e) {
			return false, false
		}
	}
	return false, true
}

// open opens a participant's turn in its thread, as far as it is not: a
// RunStarted, then what the others said. False if the run is over.
func (r *round) open(ctx context.Context, name string) bool {
	t := r.thread(name)
	s := sit(t, name)
	if s.started < r.chat.selected {
		started, err := r.started(ctx, name)
		if err != nil {
			return r.fail(ctx, err)
		}
		if !agents.Commit(t, started, r.yield) {
			return false
		}
	} else if s.over {
		return true
	}
	all := r.t.Since(0)
	for _, i := range r.chat.due(name, s.heard) {
		if !agents.Commit(t, heard(&all[i]), r.yield) {
			return false
		}
	}
	return true
}

// started is the RunStarted of a participant's turn.
func (r *round) started(ctx context.Context, name string) (agents.Event, error) {
	ctx, err := r.bind(ctx, name)
	if err != nil {
		return agents.Event{}, err
	}
	limits := agents.Limits{}
	if most := r.chat.limits.MaxTokens; most > 0 {
		limits.MaxTokens = max(most-r.chat.usage.Total(), 1)
	}
	return nested(ctx, r.team.members[name].Agent, limits), nil
}

// nested is the RunStarted of an agent's run in a thread of its own, under the
// grant in ctx.
func nested(ctx context.Context, a agents.Agent, limits agents.Limits) agents.Event {
	g, _ := identity.FromContext(ctx)
	_, team := a.(*Team)
	return agents.Event{Body: agents.RunStarted{
		Target: a.Name(), GroupChat: team, GrantID: g.ID(), Scopes: g.Scopes().Names(), Tier: string(g.Tier()), Limits: limits,
	}}
}

// heard is a message of the chat as a participant gets it: as input, with the
// source it has.
func heard(e *agents.Event) agents.Event {
	m := e.Body.(agents.Message)
	m.Role, m.Usage = agents.RoleUser, agents.Usage{}
	return agents.Event{Source: e.Source, MessageID: e.MessageID, Body: m}
}

// speaking are the participants of the wave whose turn is not over.
func (r *round) speaking() []string {
	var names []string
	for _, name := range r.chat.wave {
		if !sit(r.thread(name), name).over {
			names = append(names, name)
		}
	}
	return names
}

// listen lets participants run, at the same time if they are several, false if
// the run is over or one of them waits for somebody.
func (r *round) listen(ctx context.Context, names []string) bool {
	streams := make([]agents.Stream, len(names))
	for i, name := range names {
		bound, err := r.bind(ctx, name) // here: it may fold, and streams run at the same time
		if err != nil {
			return r.fail(ctx, err)
		}
		g, _ := identity.FromContext(bound)
		streams[i] = func(ctx context.Context) iter.Seq2[agents.Event, error] {
			return r.part(identity.WithGrant(ctx, g), name)
		}
	}
	events := streams[0](ctx)
	if len(streams) > 1 {
		events = agents.Merge(ctx, len(streams), streams)
	}
	for ev, err := range events {
		if err != nil {
			return r.fail(ctx, err)
		}
		if !r.yield(ev, nil) {
			return false
		}
	}
	return len(r.speaking()) == 0
}

// part is one participant's run in its thread, under its own grant.
func (r *round) part(ctx context.Context, name string) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		t := r.thread(name)
		for ev, err := range r.team.members[name].Agent.Run(ctx, t) {
			if err == nil {
				fill(ctx, &ev, t, name)
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// fill completes an event that an agent left in no thread, as simple agents may.
func fill(ctx context.Context, ev *agents.Event, t *agents.Transcript, agent string) {
	if ev.Thread != "" {
		return
	}
	g, _ := identity.FromContext(ctx)
	ev.Thread, ev.Source, ev.Chain = t.Thread(), cmp.Or(ev.Source, agent), g.Chain()
}

// said is what the wave said, in the order of its speakers.
func (r *round) said() []agents.Event {
	if len(r.chat.wave) == 1 {
		return r.lift(r.chat.wave[0])
	}
	var all []agents.Event
	for _, name := range r.chat.wave {
		all = append(all, r.lift(name)...)
	}
	return all
}

// lift is what one participant said. Where a hand-off changes who acts below
// whom, the hand-off itself comes first, also one from inside the participant.
func (r *round) lift(name string) []agents.Event {
	s := sit(r.thread(name), name)
	if _, ok := r.team.kind.(binder); !ok || len(s.said) == 0 {
		return s.said
	}
	handOff := s.handOff
	if handOff == nil {
		handOff = r.carried(name, s.said)
	}
	if handOff == nil {
		return s.said
	}
	last := s.said[len(s.said)-1]
	return append([]agents.Event{{Source: last.Source, Chain: last.Chain, Body: *handOff}}, s.said...)
}

// goOn ends the run after a turn, or lets the team choose who speaks next.
func (r *round) goOn(ctx context.Context) bool {
	if k, ok := r.team.kind.(completer); ok {
		if stop := k.completed(r); stop != "" {
			return r.finish(stop)
		}
	}
	if !r.chat.closed && r.stopWanted() {
		return r.emit(agents.Event{Body: agents.Message{Role: agents.RoleUser, Kind: agents.KindStop, Text: stopRequested}})
	}
	if stop := r.chat.close(everything); stop != "" {
		return r.finish(stop)
	}
	switch stop := r.limit(); stop {
	case "":
	case agents.StopMaxTurns:
		if k, ok := r.team.kind.(concluder); ok {
			return k.conclude(ctx, r)
		}
		return r.finish(stop)
	default:
		return r.finish(stop)
	}
	return r.team.kind.next(ctx, r)
}

// stopWanted asks the external stops. Their answer is stored before it counts.
func (r *round) stopWanted() bool {
	if r.chat.outside {
		return false
	}
	for _, wanted := range r.team.requests {
		if wanted() {
			return true
		}
	}
	return false
}

// limit says which limit the run has reached.
func (r *round) limit() string {
	c := r.chat
	switch {
	case c.limits.MaxTokens > 0 && c.usage.Add(c.planned).Total() >= c.limits.MaxTokens:
		return agents.StopMaxTokens
	case c.turns >= r.team.cfg.MaxTurns, c.limits.MaxTurns > 0 && c.turns >= c.limits.MaxTurns:
		return agents.StopMaxTurns
	}
	return ""
}

// say stores a message of the team itself.
func (r *round) say(m agents.Message) bool {
	m.Role = agents.RoleAssistant
	return r.emit(agents.Event{MessageID: agents.MessageID(r.t.RunID(), r.t.Last()), Body: m})
}

// give stores who speaks next.
func (r *round) give(s agents.SpeakerSelected) bool {
	return r.emit(agents.Event{Body: s})
}

// finish ends the run.
func (r *round) finish(reason string) bool {
	r.chat.close(everything)
	last := r.chat.output
	r.emit(agents.Event{Body: agents.RunFinished{
		StopReason: reason, Output: last.Text, Structured: last.Structured, Usage: r.chat.usage.Add(r.chat.planned),
	}})
	return false
}

// fail ends the run with an error. Once the context is cancelled the reason is
// its cause.
func (r *round) fail(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.yield(agents.Event{}, fmt.Errorf("team %s: %w", r.team.cfg.Name, err))
	return false
}

// emit commits an event of the team's thread: its own, or a lifted one.
func (r *round) emit(e agents.Event) bool {
	if e.Source == "" {
		e.Source = r.team.cfg.Name
	}
	if e.Chain == nil {
		e.Chain = r.grants
	}
	return agents.Commit(r.t, e, r.yield)
}

func (r *round) thread(participant string) *agents.Transcript {
	return r.t.Sub(seatThread(r.t.Thread(), participant, r.chat.generation))
}

// consult asks a team's own model. With show its answer is also shown live.
func (r *round) consult(ctx context.Context, m agents.Model, p *agents.Prompt, show bool) (agents.Answer, error) {
	return agents.Consult(ctx, m, p, func(text string) bool { return !show || r.emit(agents.Event{Body: agents.TextDelta{Text: text}}) })
}

// bind gives a participant its own grant.
func (r *round) bind(ctx context.Context, name string) (context.Context, error) {
	m, ok := r.team.members[name]
	if !ok {
		return nil, fault.New(codes.FailedPrecondition, fault.NotFound,
			"the participant whose turn it is is no longer configured; start a new session")
	}
	if k, ok := r.team.kind.(binder); ok {
		return k.bind(ctx, r, name)
	}
	return identity.Child(ctx, name, m.Ceiling, agents.MaxDepth)
}
