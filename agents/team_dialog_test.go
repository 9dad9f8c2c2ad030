package agents_test

import (
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
)

// teamFile is a team in a dialog.
type teamFile struct {
	Kind         string // round_robin, selector, swarm, graph, magentic, waves
	Participants []string
	Until        *conditionFile
	MaxTurns     int

	// of a selector
	AllowRepeats bool
	History      int
	Prompt       string

	// of a graph
	Edges []agents.Edge
	Entry []string

	// of a magentic
	MaxStalls   int
	MaxReplans  int
	FinalPrompt string

	Waves [][]string
}

// conditionFile is a condition in a dialog: one field is set.
type conditionFile struct {
	Max       int
	MaxEvents int
	Text      string
	Sources   []string // of Text
	Stop      bool
	From      *string // a text message of, empty of anybody
	Tokens    *agents.TokenUsage
	Handoff   string
	Source    []string
	Function  string
	Timeout   string
	External  bool
	Any, All  []conditionFile
}

func (c *conditionFile) condition(t *testing.T) agents.Condition {
	t.Helper()
	switch {
	case c == nil:
		return nil
	case c.Max > 0:
		return agents.MaxMessages{N: c.Max}
	case c.MaxEvents > 0:
		return agents.MaxMessages{N: c.MaxEvents, Events: true}
	case c.Text != "":
		return agents.TextMention{Text: c.Text, Sources: c.Sources}
	case c.Stop:
		return agents.StopMessage{}
	case c.From != nil:
		return agents.TextMessage{Source: *c.From}
	case c.Tokens != nil:
		return *c.Tokens
	case c.Handoff != "":
		return agents.HandoffTo{Target: c.Handoff}
	case len(c.Source) > 0:
		return agents.SourceMatch{Sources: c.Source}
	case c.Function != "":
		return agents.FunctionCall{Name: c.Function}
	case c.External:
		return agents.External{}
	case c.Timeout != "":
		after, err := time.ParseDuration(c.Timeout)
		if err != nil {
			t.Fatal(err)
		}
		return agents.Timeout{After: after}
	case c.Any != nil:
		return agents.Any(conditions(t, c.Any))
	}
	return agents.All(conditions(t, c.All))
}

func conditions(t *testing.T, files []conditionFile) []agents.Condition {
	t.Helper()
	all := make([]agents.Condition, len(files))
	for i := range files {
		all[i] = files[i].condition(t)
	}
	return all
}

// team builds a team of a dialog with all that takes part in it.
func (w *world) team(t *testing.T, name string, f *teamFile) *agents.Team {
	t.Helper()
	cfg := agents.TeamConfig{Name: name, Description: "The team " + name + ".", Until: f.Until.condition(t), MaxTurns: f.MaxTurns}
	for _, p := range f.Participants {
		cfg.Participants = append(cfg.Participants, w.participant(t, p))
	}
	team, err := agents.NewRoundRobin(cfg)
	switch f.Kind {
	case "selector":
		team, err = agents.NewSelector(agents.SelectorConfig{
			TeamConfig: cfg, Model: w.script, AllowRepeats: f.AllowRepeats, History: f.History, Prompt: f.Prompt,
		})
	case "swarm":
		team, err = agents.NewSwarm(cfg)
	case "graph":
		team, err = agents.NewGraph(agents.GraphConfig{TeamConfig: cfg, Edges: f.Edges, Entry: f.Entry})
	case "magentic":
		team, err = agents.NewMagentic(agents.MagenticConfig{
			TeamConfig: cfg, Model: w.script, MaxStalls: f.MaxStalls, MaxReplans: f.MaxReplans, FinalPrompt: f.FinalPrompt,
		})
	case "waves":
		team, err = agents.NewWaves(cfg, f.Waves...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return team
}

func (w *world) participant(t *testing.T, name string) agents.Member {
	t.Helper()
	if f, ok := w.d.desk.Teams[name]; ok {
		return agents.Member{Agent: w.team(t, name, &f)}
	}
	for _, cfg := range w.d.desk.Humans {
		if cfg.Name == name {
			h, err := agents.NewHuman(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return agents.Member{Agent: h}
		}
	}
	i := slices.IndexFunc(w.d.desk.Members, func(m memberFile) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("%s: nobody is named %q", w.d.file, name)
	}
	m := w.d.desk.Members[i]
	return agents.Member{Agent: w.member(t, &m, w.box(t, &m)), Ceiling: ceiling(m.Ceiling)}
}

// box is a member's toolbox: the tools of the dialog, and its agents as tools.
func (w *world) box(t *testing.T, m *memberFile) agents.Toolbox {
	t.Helper()
	box := agentstest.NewToolbox(w.transcript, w.d.desk.Tools...)
	if len(m.AsTools) == 0 {
		return box
	}
	var tools []agents.AgentTool
	for _, name := range m.AsTools {
		p := w.participant(t, name)
		tools = append(tools, agents.AgentTool{Agent: p.Agent, Ceiling: p.Ceiling})
	}
	with, err := agents.AsTools(box, allowAll, tools...)
	if err != nil {
		t.Fatal(err)
	}
	return with
}

// allowAll is a guard that allows each call once and for all. Like the toolbox
// it lets calls of one reply begin a microsecond apart.
func allowAll(ctx context.Context, c agents.ToolCall, effect agents.Effect) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		<-time.After(time.Duration(1+c.Ordinal) * time.Microsecond)
		if !c.Resumed && !yield(agents.Event{Body: agents.ToolCallDecided{Decision: agents.Allowed}}, nil) {
			return
		}
		for ev, err := range effect(ctx) {
			if !yield(ev, err) {
				return
			}
		}
	}
}

// teamStep brings from outside what only teams know.
func (w *world) teamStep(t *testing.T, verb, rest string) {
	t.Helper()
	var task []agents.Event
	switch verb {
	case "input":
		w.answer(t, rest)
		return
	case "stop":
		w.commit(agents.Event{Source: "user", Body: agents.Message{Role: agents.RoleUser, Kind: agents.KindStop}})
		return
	case "task":
		var messages []agents.Message
		decode(t, w.d.file, rest, &messages)
		for _, m := range messages {
			m.Role = agents.RoleUser
			task = append(task, agents.Event{Source: "user", Body: m})
		}
	}
	w.commit(agents.Event{RunID: w.nextRun(), Body: agents.RunStarted{Target: w.desk.Name()}})
	for _, e := range task {
		w.commit(e)
	}
}

// answer answers the newest question to a person, in its thread.
func (w *world) answer(t *testing.T, text string) {
	t.Helper()
	for _, e := range slices.Backward(w.stored) {
		if b, ok := e.Body.(agents.InputRequested); ok {
			w.commit(agents.Event{Source: "user", Thread: e.Thread, Body: agents.InputReceived{InputRequestID: b.InputRequestID, Text: text}})
			return
		}
	}
	t.Fatalf("%s: nobody waits for input", w.d.file)
}
