package agentstest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
)

// optionFile is what a member of a dialog may be or do besides asking a model.
type optionFile struct {
	MaxToolRounds int
	Reflect       bool
	Summary       string
	Memory        []string
	Window        *windowFile
	Output        json.RawMessage
	Format        string
	Required      []string // fields of an answer

	// other kinds of agents
	Society string           // the member or team inside
	Filter  string           // the member inside
	Rows    []team.FilterRow // of a filter
	Echo    bool
	StopAt  int // of an echo
	Code    *codeFile
}

// codeFile is a coder in a dialog.
type codeFile struct {
	Tool    string
	Sources []string
	Retries int
	NoModel bool
	Plain   bool // the model follows no schema
}

// windowFile is a window in a dialog: one kind is set.
type windowFile struct{ Buffered, Head, Tail, Words int }

func (f *windowFile) window() agents.Window {
	switch {
	case f == nil:
		return nil
	case f.Buffered > 0:
		return agents.Buffered{N: f.Buffered}
	case f.Words > 0:
		return agents.TokenLimit{Max: f.Words, Count: func(s string) int { return len(strings.Fields(s)) }}
	}
	return agents.HeadTail{Head: f.Head, Tail: f.Tail}
}

// validate is a schema library for people in a hurry.
func (f *optionFile) validate(answer json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(answer, &fields); err != nil {
		return fmt.Errorf("it is not an object: %w", err)
	}
	for _, name := range f.Required {
		if _, ok := fields[name]; !ok {
			return fmt.Errorf("the field %q is missing", name)
		}
	}
	return nil
}

// member makes an agent of a dialog.
func (w *world) member(t *testing.T, m *memberFile, box agents.Toolbox) agents.Agent {
	t.Helper()
	var a agents.Agent
	var err error
	switch {
	case m.Society != "":
		a, err = team.NewSociety(team.SocietyConfig{Name: m.Name, Team: w.participant(t, m.Society), Model: w.script, Window: m.Window.window()})
	case m.Filter != "":
		a, err = team.NewFilter(team.FilterConfig{Name: m.Name, Agent: w.participant(t, m.Filter), Rows: m.Rows})
	case m.Code != nil:
		a, err = agents.NewCoder(w.coder(m, box))
	case m.Echo:
		a = Echo{AgentName: m.Name, StopAt: m.StopAt}
	default:
		a, err = agents.NewAssistant(w.config(m, box))
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) config(m *memberFile, box agents.Toolbox) agents.AssistantConfig {
	cfg := agents.AssistantConfig{
		Name: m.Name, Description: m.Name + " agent", Instructions: m.Instructions, Model: w.script, Toolbox: box,
		Handoffs: m.Handoffs, MaxTurns: m.MaxTurns, MaxToolsPerRun: m.MaxTools,
		MaxToolRounds: m.MaxToolRounds, Reflect: m.Reflect, SummaryFormat: m.Summary, Window: m.Window.window(),
	}
	if m.Memory != nil {
		half := (len(m.Memory) + 1) / 2
		cfg.Memory = agents.Memories{agents.ListMemory(m.Memory[:half]), agents.ListMemory(slices.Clone(m.Memory[half:]))}
	}
	if m.Output != nil {
		cfg.Output = agents.Output{Schema: m.Output, Format: m.Format, Validate: m.validate}
	}
	return cfg
}

func (w *world) coder(m *memberFile, box agents.Toolbox) agents.CoderConfig {
	cfg := agents.CoderConfig{
		Name: m.Name, Description: m.Name + " agent", Instructions: m.Instructions, Toolbox: box, Window: m.Window.window(),
		Tool: m.Code.Tool, Sources: m.Code.Sources, Retries: m.Code.Retries, ModelLacks: agents.Lacks{StructuredOutput: m.Code.Plain},
	}
	if !m.Code.NoModel {
		cfg.Model = w.script
	}
	return cfg
}

// atDesk are the members that share the desk: an agent with another inside is
// alone there.
func (f *deskFile) atDesk() []memberFile {
	if first := f.Members[0]; first.Society != "" || first.Filter != "" {
		return f.Members[:1]
	}
	return f.Members
}
