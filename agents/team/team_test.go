package team_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// says is an agent that says what f makes of its turn and ends it. It fills in
// nothing that the team can fill in for it.
type says struct {
	name string
	f    func(turn int) (agents.Message, error)
}

func (s says) Name() string { return s.name }

func (s says) Run(_ context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		turn, said := 0, false
		for _, e := range t.Since(0) {
			switch b := e.Body.(type) {
			case agents.RunStarted:
				turn, said = turn+1, false
			case agents.Message:
				said = said || b.Role == agents.RoleAssistant
			}
		}
		m, err := s.f(turn)
		if err != nil {
			yield(agents.Event{}, err)
			return
		}
		if m.Role = agents.RoleAssistant; !said && !yield(agents.Event{Body: m}, nil) {
			return
		}
		yield(agents.Event{Body: agents.RunFinished{StopReason: agents.StopCompleted, Output: m.Text}}, nil)
	}
}

func always(name string, m agents.Message) team.Member {
	return team.Member{Agent: says{name, func(int) (agents.Message, error) { return m, nil }}}
}

// named are participants that say their name.
func named(names ...string) []team.Member {
	members := make([]team.Member, len(names))
	for i, name := range names {
		members[i] = always(name, agents.Message{Text: name})
	}
	return members
}

// play runs a team on a task and gives who spoke in its own thread, and the end.
func play(t *testing.T, chat *team.Team, tr *agents.Transcript) (speakers []string, stop string, err error) {
	t.Helper()
	events, err := agentstest.Run(agentstest.Context(t.Context()), t, chat, tr)
	for _, e := range events {
		if e.Thread != "" {
			continue
		}
		switch b := e.Body.(type) {
		case agents.Message:
			speakers = append(speakers, e.Source)
		case agents.RunFinished:
			stop = b.StopReason
		}
	}
	return speakers, stop, err
}

func task(text string) *agents.Transcript {
	tr := agents.NewTranscript()
	agentstest.Start(tr, "run1", "desk", text, agents.Limits{})
	return tr
}

func TestStopMessageOfAParticipantStopsTheTeam(t *testing.T) {
	stopper := team.Member{Agent: says{"s", func(turn int) (agents.Message, error) {
		if turn == 2 {
			return agents.Message{Kind: agents.KindStop, Text: "TERMINATE"}, nil
		}
		return agents.Message{Text: "hi"}, nil
	}}}
	chat, err := team.NewRoundRobin(team.Config{Name: "desk", Participants: []team.Member{stopper}, Until: team.StopMessage{}})
	if err != nil {
		t.Fatal(err)
	}

	speakers, stop, err := play(t, chat, task("hi"))

	if len(speakers) != 2 || stop != "Stop message received" || err != nil {
		t.Errorf("got %v, %q, %v; want two turns and a stop message", speakers, stop, err)
	}
}

func TestParticipantThatFailsEndsTheRun(t *testing.T) {
	flaky := errors.New("I am flaky")
	members := append(named("a"), team.Member{Agent: says{"f", func(int) (agents.Message, error) { return agents.Message{}, flaky }}})
	chat, err := team.NewRoundRobin(team.Config{Name: "desk", Participants: members, MaxTurns: 5})
	if err != nil {
		t.Fatal(err)
	}

	speakers, _, err := play(t, chat, task("go"))

	if !slices.Equal(speakers, []string{"a"}) || !errors.Is(err, flaky) {
		t.Errorf("got %v, %v; want a and the error", speakers, err)
	}
}

func TestExternalStopIsStoredBeforeItCounts(t *testing.T) {
	calls := 0
	until := team.All{team.MaxMessages{N: 2}, team.External{Requested: func() bool { calls++; return calls == 2 }}}
	chat, err := team.NewRoundRobin(team.Config{Name: "desk", Participants: named("a", "b"), Until: until})
	if err != nil {
		t.Fatal(err)
	}
	tr := task("go")

	_, stop, err := play(t, chat, tr)

	want := "Maximum number of messages 2 reached, current message count: 2, External termination requested"
	stored := slices.ContainsFunc(tr.Since(0), func(e agents.Event) bool {
		m, ok := e.Body.(agents.Message)
		return ok && m.Kind == agents.KindStop && e.Source == "desk"
	})
	if stop != want || err != nil || !stored {
		t.Errorf("got %q, %v, stored %t; want %q, stored", stop, err, stored, want)
	}
}

func TestWaveOfSeveralSpeakersIsOneTurn(t *testing.T) {
	cfg := team.Config{
		Name: "desk", Participants: named("a", "b", "c", "d"), Until: team.SourceMatch{Sources: []string{"b"}},
	}
	chat, err := team.NewWaves(cfg, []string{"a"}, []string{"b", "c"}, []string{"d"})
	if err != nil {
		t.Fatal(err)
	}
	tr := task("go")

	speakers, stop, err := play(t, chat, tr)

	if !slices.Equal(speakers, []string{"a", "b", "c"}) || stop != "'b' answered" || err != nil {
		t.Errorf("got %v, %q, %v; want the whole wave of b to speak, then a stop", speakers, stop, err)
	}
	agentstest.Commit(tr, agents.Event{RunID: "run2", Body: agents.RunStarted{Target: "desk"}})
	speakers, stop, err = play(t, chat, tr)
	if !slices.Equal(speakers, []string{"d"}) || stop != "All waves are over" || err != nil {
		t.Errorf("got %v, %q, %v; want d to finish the waves", speakers, stop, err)
	}
	var heard []string
	for _, e := range tr.Sub("/d").Since(0) {
		if m, ok := e.Body.(agents.Message); ok && m.Role == agents.RoleUser {
			heard = append(heard, e.Source)
		}
	}
	if !slices.Equal(heard, []string{"user", "a", "b", "c"}) {
		t.Errorf("d heard %v, want user, a, b, c", heard)
	}
}

func TestSelectorAsksItsFunctionsFirst(t *testing.T) {
	by := func(table map[string][]string) func([]agents.Event) []string {
		return func(said []agents.Event) []string { return table[said[len(said)-1].Source] }
	}
	choose := by(map[string][]string{"user": {"a"}})
	candidates := by(map[string][]string{"a": {"b"}, "b": {"b", "c"}, "c": {"d"}})
	script := agentstest.NewScript(map[string][]agentstest.Reply{"desk": {{Text: "c"}}})
	chat, err := team.NewSelector(team.SelectorConfig{
		Config: team.Config{Name: "desk", Participants: named("a", "b", "c", "d"), MaxTurns: 4},
		Model:  script,
		Choose: func(_ context.Context, said []agents.Event) (string, error) {
			return strings.Join(choose(said), ""), nil
		},
		Candidates: func(_ context.Context, said []agents.Event) ([]string, error) { return candidates(said), nil },
	})
	if err != nil {
		t.Fatal(err)
	}

	speakers, _, err := play(t, chat, task("go"))

	if !slices.Equal(speakers, []string{"a", "b", "c", "d"}) || err != nil {
		t.Errorf("got %v, %v", speakers, err)
	}
	if prompts := script.Prompts(); len(prompts) != 1 || !strings.Contains(prompts[0].System, "['b', 'c']") {
		t.Errorf("got the prompts %v, want one that names b and c", prompts)
	}
}

func TestSelectorFunctionDoesNotLetARepeatSlipThrough(t *testing.T) {
	chat, err := team.NewSelector(team.SelectorConfig{
		Config: team.Config{Name: "desk", Participants: named("a", "b"), MaxTurns: 2},
		Model:  agentstest.NewScript(nil),
		Choose: func(_ context.Context, said []agents.Event) (string, error) {
			return map[string]string{"user": "a"}[said[len(said)-1].Source], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	speakers, _, err := play(t, chat, task("go"))

	if !slices.Equal(speakers, []string{"a", "b"}) || err != nil {
		t.Errorf("got %v, %v; want a, b", speakers, err)
	}
}

func TestSelectorFunctionThatNamesAStrangerEndsTheRun(t *testing.T) {
	cfg := team.SelectorConfig{Config: team.Config{Name: "desk", Participants: named("a", "b")}, Model: agentstest.NewScript(nil)}
	strangers := map[string]func(*team.SelectorConfig){
		"choose": func(c *team.SelectorConfig) {
			c.Choose = func(context.Context, []agents.Event) (string, error) { return "zed", nil }
		},
		"candidates": func(c *team.SelectorConfig) {
			c.Candidates = func(context.Context, []agents.Event) ([]string, error) { return []string{"zed"}, nil }
		},
		"no candidates": func(c *team.SelectorConfig) {
			c.Candidates = func(context.Context, []agents.Event) ([]string, error) { return nil, nil }
		},
	}
	for name, set := range strangers {
		t.Run(name, func(t *testing.T) {
			c := cfg
			set(&c)
			chat, err := team.NewSelector(c)
			if err != nil {
				t.Fatal(err)
			}

			speakers, _, err := play(t, chat, task("go"))

			if !errors.Is(err, fault.ArgumentInvalid) || len(speakers) > 0 {
				t.Errorf("got %v, %v; want an error before anybody speaks", speakers, err)
			}
		})
	}
}

func TestNestedTeamWithNothingPendingRuns(t *testing.T) {
	inner, err := team.NewRoundRobin(team.Config{Name: "inner", Participants: named("w"), MaxTurns: 1})
	if err != nil {
		t.Fatal(err)
	}
	outer, err := team.NewRoundRobin(team.Config{Name: "desk", Participants: []team.Member{{Agent: inner}}, MaxTurns: 2})
	if err != nil {
		t.Fatal(err)
	}

	speakers, stop, err := play(t, outer, task("go"))

	if !slices.Equal(speakers, []string{"w", "w"}) || stop != agents.StopMaxTurns || err != nil {
		t.Errorf("got %v, %q, %v; want w twice", speakers, stop, err)
	}
}

func TestTeamsThatMakeNoSenseAreRefused(t *testing.T) {
	model := agentstest.NewScript(nil)
	chat := func(cfg team.Config) error { _, err := team.NewRoundRobin(cfg); return err }
	for problem, err := range map[string]error{
		"participant names must be unique": chat(team.Config{Name: "t", Participants: named("a", "a")}),
		"at least one participant":         chat(team.Config{Name: "t"}),
		"max turns must be":                chat(team.Config{Name: "t", Participants: named("a"), MaxTurns: -1}),
		"has the team's name":              chat(team.Config{Name: "t", Participants: named("t")}),
		"holds one of":                     chat(team.Config{Name: "t", Participants: named("a/b")}),
		"has no agent":                     chat(team.Config{Name: "t", Participants: []team.Member{{}}}),
		"number of messages":               chat(team.Config{Name: "t", Participants: named("a"), Until: team.MaxMessages{}}),
		"at least two participants": func() error {
			_, err := team.NewSelector(team.SelectorConfig{Config: team.Config{Name: "t", Participants: named("a")}, Model: model})
			return err
		}(),
		"must be able to produce a handoff": func() error {
			_, err := team.NewSwarm(team.Config{Name: "t", Participants: named("a")})
			return err
		}(),
		"nothing would govern": func() error { _, err := team.AsTools(nil, nil); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("got %v, want %q", err, problem)
		}
	}
}

func TestTeamWithoutIdentityIsRefused(t *testing.T) {
	chat, err := team.NewRoundRobin(team.Config{Name: "desk", Participants: named("a")})
	if err != nil {
		t.Fatal(err)
	}

	events, err := agentstest.Run(context.Background(), t, chat, task("go"))

	if !errors.Is(err, fault.Internal) || len(events) > 0 {
		t.Errorf("got %d events, %v; want only an error", len(events), err)
	}
}

// TestTwoUsersNeverMix lets one team run 100 sessions of two people at the same
// time, with an agent as a tool that is called twice in one reply.
func TestTwoUsersNeverMix(t *testing.T) {
	chat := delegatingTeam(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { oneOfMany(t, chat, i, []string{"ana", "bob"}[i%2]) })
	}
	wg.Wait()
}

func oneOfMany(t *testing.T, chat *team.Team, i int, person string) {
	user := &identity.User{Issuer: "https://idp.example", Subject: person, Tenant: "acme", Scopes: identity.NewScopes("of." + person), Expires: time.Now().Add(time.Hour)}
	ctx := identity.WithGrant(t.Context(), identity.Root("grt_"+person, identity.Principal{User: user}, nil, identity.Interactive))
	tr := agents.NewTranscript()
	other := map[string]string{"ana": "bob", "bob": "ana"}[person]
	for run := range 3 {
		agentstest.Start(tr, fmt.Sprintf("run%d-%d", i, run), "desk", "I am "+person, agents.Limits{})
		events, err := agentstest.Run(ctx, t, chat, tr)
		if err != nil {
			t.Error(err)
		}
		if text := agentstest.Format(events); strings.Contains(text, other) || strings.Count(text, "of."+person) < 3 {
			t.Errorf("session %d of %s: got\n%s", i, person, text)
		}
	}
}

// delegatingTeam is a selector of an assistant that delegates and one that answers.
func delegatingTeam(t *testing.T) *team.Team {
	t.Helper()
	worker, err := agents.NewAssistant(agents.AssistantConfig{Name: "t", Model: repeater{}, Toolbox: whoami{}})
	if err != nil {
		t.Fatal(err)
	}
	box, err := team.AsTools(whoami{}, agentstest.AllowAll, team.AgentTool{Agent: worker})
	if err != nil {
		t.Fatal(err)
	}
	boss, err := agents.NewAssistant(agents.AssistantConfig{Name: "boss", Model: repeater{delegates: true}, Toolbox: box})
	if err != nil {
		t.Fatal(err)
	}
	chat, err := team.NewSelector(team.SelectorConfig{
		Config: team.Config{Name: "desk", Participants: append(named("x"), team.Member{Agent: boss}), MaxTurns: 3},
		Model:  agentstest.NewScript(nil),
		Choose: func(_ context.Context, said []agents.Event) (string, error) {
			return map[string]string{"x": "boss", "user": "x"}[said[len(said)-1].Source], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return chat
}

// repeater first calls tools and then repeats what it heard last.
type repeater struct{ delegates bool }

func (m repeater) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		last := p.Messages[len(p.Messages)-1]
		calls := []agents.CallRequest{{ID: "c1", Tool: "whoami", Arguments: "{}"}}
		if m.delegates {
			calls = []agents.CallRequest{{ID: "c1", Tool: "t", Arguments: `{"task":"one"}`}, {ID: "c2", Tool: "t", Arguments: `{"task":"two"}`}}
		}
		if last.Role != agents.RoleTool {
			yield(agents.Chunk{Done: &agents.Reply{Calls: calls}}, nil)
			return
		}
		if yield(agents.Chunk{Text: last.Text}, nil) {
			yield(agents.Chunk{Done: &agents.Reply{}}, nil)
		}
	}
}

// whoami is a toolbox that tells whom it was called for.
type whoami struct{}

func (whoami) Shown(_ context.Context, c agents.CallRequest) string { return c.Arguments }

func (whoami) Specs(context.Context) iter.Seq2[agents.Spec, error] {
	return func(yield func(agents.Spec, error) bool) { yield(agents.Spec{Name: "lookup"}, nil) }
}

func (whoami) Call(ctx context.Context, _ agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		g, _ := identity.FromContext(ctx)
		yield(agents.Event{Body: agents.ToolCallFinished{Result: fmt.Sprintf("%q", g.Scopes().Names()[0])}}, nil)
	}
}
