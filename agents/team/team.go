package team

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

// Team is a group chat: an agent that lets its participants speak in turn, each
// in a thread of its own and under its own child grant. Which kind of team it is
// says only who speaks next. It holds no state and may run many transcripts.
//
// A participant's thread is the team's thread, a slash and its name, over all
// turns. A turn opens it with a RunStarted and what the others said since the
// last one; then the participant runs. What it says without calling tools is
// lifted into the team's thread with the source and message id it has there, and
// without its usage. A nested team lifts all that its participants say.
//
// After each turn: condition, limit of turns, limit of tokens, next speaker. A
// condition sees the task as a first turn. Each choice is a SpeakerSelected that
// is stored before the chosen speak.
type Team struct {
	cfg      Config
	order    []string // names of the participants
	members  map[string]Member
	kind     chooser
	requests []func() bool // the external stops
	refuses  bool          // a run that failed before anybody spoke never was
	leads    bool          // participants and conditions hear the team, not its task
}

// TeamConfig says what all kinds of teams have.
type Config struct {
	Name         string // required
	Description  string // for a selector or orchestrator around it
	Participants []Member
	Until        Condition // nil: none
	MaxTurns     int       // of participants in one run; who speaks at once is one: 1,000, which is also the most
}

// mostTurns keeps a run from going on for ever.
const mostTurns = 1000

// chooser makes a kind of team.
//
// next is called when nobody speaks and nothing stops the run. It does one thing
// towards the next turn and commits it as an event with r.emit, at last the
// choice itself with r.give, or it ends the run with r.finish or r.fail. False
// says that the run is over or the consumer gone. What it knows it folds from
// r.t, with [agents.Fold] and itself as reader, or finds in r.chat.
type chooser interface {
	next(ctx context.Context, r *round) bool
}

// completer is a chooser whose own end comes before the conditions.
type completer interface {
	// completed says why the team is done, empty if it is not. It is asked after
	// each turn.
	completed(r *round) string
}

// concluder is a chooser with a last word when the limit of turns ends a run.
type concluder interface {
	// conclude is called in place of next, with the same duties. After it the
	// kind is completed.
	conclude(ctx context.Context, r *round) bool
}

// binder is a chooser for which a participant acts below others.
type binder interface {
	bind(ctx context.Context, r *round, participant string) (context.Context, error)
}

// newTeam checks what all kinds have in common.
func newTeam(cfg Config, kind chooser) (*Team, error) {
	if cfg.MaxTurns == 0 {
		cfg.MaxTurns = mostTurns
	}
	t := &Team{cfg: cfg, kind: kind, members: make(map[string]Member, len(cfg.Participants))}
	problems := []error{
		agents.CheckName(cfg.Name),
		require(cfg.MaxTurns > 0 && cfg.MaxTurns <= mostTurns, fmt.Sprintf("max turns must be 1 to %d", mostTurns)),
		require(len(cfg.Participants) > 0, "at least one participant is needed"),
	}
	for _, m := range cfg.Participants {
		problems = append(problems, t.add(m))
	}
	if cfg.Until != nil {
		problems = append(problems, cfg.Until.check())
		t.requests = stopRequests(cfg.Until)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("team %q: %w", cfg.Name, err)
	}
	return t, nil
}

func (t *Team) add(m Member) error {
	if m.Agent == nil {
		return errors.New("a participant has no agent")
	}
	name := m.Agent.Name()
	_, twice := t.members[name]
	t.members[name] = m
	t.order = append(t.order, name)
	return errors.Join(
		agents.CheckName(name),
		require(!twice, fmt.Sprintf("participant names must be unique: %q", name)),
		require(name != t.cfg.Name, fmt.Sprintf("participant %q has the team's name", name)),
	)
}

// Name is the team's name.
func (t *Team) Name() string { return t.cfg.Name }

// Description says to other agents what the team is good for.
func (t *Team) Description() string { return t.cfg.Description }

// Run continues the chat. See [agents.Agent].
func (t *Team) Run(ctx context.Context, tr *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		g, ok := identity.FromContext(ctx)
		if !ok {
			yield(agents.Event{}, fault.New(codes.Internal, fault.Internal, "the team has no identity to act with"))
			return
		}
		r := &round{team: t, t: tr, grants: g.Chain(), yield: yield}
		for r.step(ctx) {
		}
	}
}

// describe is what an agent says of itself to others.
func describe(a agents.Agent) string {
	if d, ok := a.(interface{ Description() string }); ok {
		return d.Description()
	}
	return ""
}

func require(ok bool, problem string) error {
	if ok {
		return nil
	}
	return errors.New(problem)
}
