package agentstest

import (
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
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
	Stream       bool

	// of a graph
	Edges []team.Edge
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
	Tokens    *team.TokenUsage
	Handoff   string
	Source    []string
	Function  string
	Timeout   string
	External  bool
	Any, All  []conditionFile
}

func (c *conditionFile) condition(t *testing.T) team.Condition {
	t.Helper()
	switch {
	case c == nil:
		return nil
	case c.Max > 0:
		return team.MaxMessages{N: c.Max}
	case c.MaxEvents > 0:
		return team.MaxMessages{N: c.MaxEvents, Events: true}
	case c.Text != "":
		return team.TextMention{Text: c.Text, Sources: c.Sources}
	case c.Stop:
		return team.StopMessage{}
	case c.From != nil:
		return team.TextMessage{Source: *c.From}
	case c.Tokens != nil:
		return *c.Tokens
	case c.Handoff != "":
		return team.HandoffTo{Target: c.Handoff}
	case len(c.Source) > 0:
		return team.SourceMatch{Sources: c.Source}
	case c.Function != "":
		return team.FunctionCall{Name: c.Function}
	case c.External:
		return team.External{}
	case c.Timeout != "":
		after, err := time.ParseDuration(c.Timeout)
		if err != nil {
			t.Fatal(err)
		}
		return team.Timeout{After: after}
	case c.Any != nil:
		return team.Any(conditions(t, c.Any))
	}
	return team.All(conditions(t, c.All))
}

func conditions(t *testing.T, files []conditionFile) []team.Condition {
	t.Helper()
	all := make([]team.Condition, len(files))
	for i := range files {
		all[i] = files[i].condition(t)
	}
	return all
}

// team builds a team of a dialog with all that takes part in it.
func (w *world) team(t *testing.T, name string, f *teamFile) *team.Team {
	t.Helper()
	cfg := team.Config{Name: name, Description: "The team " + name + ".", Until: f.Until.condition(t), MaxTurns: f.MaxTurns}
	for _, p := range f.Participants {
		cfg.Participants = append(cfg.Participants, w.participant(t, p))
	}
	chat, err := team.NewRoundRobin(cfg)
	switch f.Kind {
	case "selector":
		chat, err = team.NewSelector(team.SelectorConfig{
			Config: cfg, Model: w.script, AllowRepeats: f.AllowRepeats, History: f.History, Prompt: f.Prompt, Stream: f.Stream,
		})
	case "swarm":
		chat, err = team.NewSwarm(cfg)
	case "graph":
		chat, err = team.NewGraph(team.GraphConfig{Config: cfg, Edges: f.Edges, Entry: f.Entry})
	case "magentic":
		chat, err = team.NewMagentic(team.MagenticConfig{
			Config: cfg, Model: w.script, MaxStalls: f.MaxStalls, MaxReplans: f.MaxReplans, FinalPrompt: f.FinalPrompt,
		})
	case "waves":
		chat, err = w.d.Waves(cfg, f.Waves...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return chat
}

func (w *world) participant(t *testing.T, name string) team.Member {
	t.Helper()
	if f, ok := w.d.desk.Teams[name]; ok {
		return team.Member{Agent: w.team(t, name, &f)}
	}
	for _, cfg := range w.d.desk.Humans {
		if cfg.Name == name {
			h, err := agents.NewHuman(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return team.Member{Agent: h}
		}
	}
	i := slices.IndexFunc(w.d.desk.Members, func(m memberFile) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("%s: nobody is named %q", w.d.file, name)
	}
	m := w.d.desk.Members[i]
	return team.Member{Agent: w.member(t, &m, w.box(t, &m)), Ceiling: ceiling(m.Ceiling)}
}

// box is a member's toolbox: the tools of the dialog, and its agents as tools.
func (w *world) box(t *testing.T, m *memberFile) agents.Toolbox {
	t.Helper()
	box := NewToolbox(w.transcript, w.d.desk.Tools...)
	if len(m.AsTools) == 0 {
		return box
	}
	var tools []team.AgentTool
	for _, name := range m.AsTools {
		p := w.participant(t, name)
		tools = append(tools, team.AgentTool{Agent: p.Agent, Ceiling: p.Ceiling})
	}
	with, err := team.AsTools(box, AllowAll, tools...)
	if err != nil {
		t.Fatal(err)
	}
	return with
}

// AllowAll is a guard that allows each call once and for all. Like the toolbox
// it lets calls of one reply begin a microsecond apart.
func AllowAll(ctx context.Context, c agents.ToolCall, effect agents.Stream) iter.Seq2[agents.Event, error] {
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
