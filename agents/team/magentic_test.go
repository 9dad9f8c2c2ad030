package team_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
)

// quiet is an agent that ends its turn without a word.
type quiet struct{ name string }

func (q quiet) Name() string { return q.name }

func (q quiet) Run(context.Context, *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		yield(agents.Event{Body: agents.RunFinished{StopReason: agents.StopCompleted}}, nil)
	}
}

func ledgerReply(f agentstest.ReplyFile) agentstest.Reply { return f.Written() }

func TestOrchestratedTeamsThatMakeNoSenseAreRefused(t *testing.T) {
	model := agentstest.NewScript(nil)
	chat := team.Config{Name: "desk", Participants: named("a")}
	for problem, cfg := range map[string]team.MagenticConfig{
		"the model is missing":     {Config: chat},
		"must not be negative":     {Config: chat, Model: model, MaxStalls: -1},
		"at least one participant": {Config: team.Config{Name: "desk"}, Model: model},
	} {
		if _, err := team.NewMagentic(cfg); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("got %v, want %q", err, problem)
		}
	}
}

// TestHostileLedgersAreBounded feeds the orchestrator answers that no ledger
// should be, and in the end a reason that no stop reason should be.
func TestHostileLedgersAreBounded(t *testing.T) {
	long := strings.Repeat("ä", 20_000)
	script := agentstest.NewScript(map[string][]agentstest.Reply{"desk": {
		{Text: "facts"}, {Text: "plan {task}"},
		{Text: "null"}, {Text: "[{}]"}, {Text: "}{"}, {Text: `{"is_in_loop": 1`}, {Text: strings.Repeat("x", 300<<10)},
		{Text: strings.Repeat(`{"a":`, 20_000)},
		ledgerReply(agentstest.ReplyFile{Ledger: []any{true, true, false, "", "", long}}), {Text: "final"},
	}})
	chat, err := team.NewMagentic(team.MagenticConfig{
		Config: team.Config{Name: "desk", Participants: named("a", "b")}, Model: script,
	})
	if err != nil {
		t.Fatal(err)
	}

	_, stop, err := play(t, chat, task("go {facts}"))

	if len(stop) < 500 || len(stop) > 510 || err != nil {
		t.Errorf("got a stop reason of %d bytes, %v; want about 500", len(stop), err)
	}
	for _, p := range script.Prompts() {
		for _, m := range p.Messages {
			if len(m.Text) > 10<<10 {
				t.Errorf("got a prompt message of %d bytes", len(m.Text))
			}
			if strings.Contains(m.Text, "go facts") || strings.Contains(m.Text, "plan go") {
				t.Errorf("got a task or plan that was taken for a template: %s", m.Text)
			}
		}
	}
}

func TestOrchestratorWhoseModelFollowsNoSchemaIsAskedInWords(t *testing.T) {
	script := agentstest.NewScript(map[string][]agentstest.Reply{"desk": {
		{Text: "facts"}, {Text: "plan"}, ledgerReply(agentstest.ReplyFile{Ledger: []any{true, true, false, "", "", "done"}, Fence: true}), {Text: "final"},
	}})
	chat, err := team.NewMagentic(team.MagenticConfig{
		Config: team.Config{Name: "desk", Participants: named("a", "b")}, Model: script, ModelLacks: agents.Lacks{StructuredOutput: true},
	})
	if err != nil {
		t.Fatal(err)
	}

	_, stop, err := play(t, chat, task("go"))

	if stop != "done" || err != nil {
		t.Errorf("got the stop reason %q, %v; want what the ledger says", stop, err)
	}
	for _, p := range script.Prompts() {
		if p.Schema != nil {
			t.Errorf("got a question with the schema %s", p.Schema)
		}
	}
}

// TestLedgerThatNamesWhoIsGoneIsAskedForAgain stores a plan and a ledger of an
// older configuration, and what a person said meanwhile.
func TestLedgerThatNamesWhoIsGoneIsAskedForAgain(t *testing.T) {
	script := agentstest.NewScript(map[string][]agentstest.Reply{"desk": {
		ledgerReply(agentstest.ReplyFile{Ledger: []any{true, true, false, "", "", "done"}}), {Text: "final"},
	}})
	chat, err := team.NewMagentic(team.MagenticConfig{Config: team.Config{Name: "desk", Participants: named("a", "b")}, Model: script})
	if err != nil {
		t.Fatal(err)
	}
	tr := task("go")
	old := ledgerReply(agentstest.ReplyFile{Ledger: []any{false, true, false, "gone", "do it", "r"}}).Text
	for _, e := range []agents.Event{
		{Source: "desk", Body: agents.PlanUpdated{Facts: "facts"}},
		{Source: "desk", Body: agents.PlanUpdated{Plan: "plan", Facts: "facts"}},
		{Source: "desk", Body: agents.Message{Role: agents.RoleAssistant, Text: "the plan"}},
		{Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: "Be quick."}},
		{Source: "desk", Body: agents.PlanUpdated{Ledger: old}},
	} {
		agentstest.Commit(tr, e)
	}

	_, stop, err := play(t, chat, tr)

	if stop != "done" || err != nil {
		t.Errorf("got %q, %v; want a new ledger that is done", stop, err)
	}
	said := script.Prompts()[0].Messages
	if len(said) != 3 || said[1].Text != "Be quick." {
		t.Errorf("got the prompt %+v, want the plan, what the person said, and the question", said)
	}
}

func TestOrchestratorOffersASchema(t *testing.T) {
	script := agentstest.NewScript(map[string][]agentstest.Reply{"desk": {
		{Text: "facts"}, {Text: "plan"}, ledgerReply(agentstest.ReplyFile{Ledger: []any{true, true, false, "", "", "r"}}), {Text: "final"},
	}})
	chat, err := team.NewMagentic(team.MagenticConfig{
		Config: team.Config{Name: "desk", Participants: named("a", `b"`)}, Model: script,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := play(t, chat, task("go")); err != nil {
		t.Fatal(err)
	}

	var schema struct {
		Required   []string
		Properties map[string]struct {
			Properties struct{ Answer struct{ Enum []string } }
		}
	}
	prompts := script.Prompts()
	if err := json.Unmarshal(prompts[2].Schema, &schema); err != nil {
		t.Fatal(err)
	}
	names := schema.Properties["next_speaker"].Properties.Answer.Enum
	if len(schema.Required) != 5 || len(names) != 2 || names[1] != `b"` || prompts[0].Schema != nil {
		t.Errorf("got %s", prompts[2].Schema)
	}
}

// TestOneTeamLeadsManySessions runs one orchestrated team, with a graph below it,
// in many sessions at the same time.
func TestOneTeamLeadsManySessions(t *testing.T) {
	flow, err := team.NewGraph(team.GraphConfig{
		Config: team.Config{Name: "flow", Participants: named("a", "b", "c", "d")}, Edges: edges("a>b a>c b>d c>d"),
	})
	if err != nil {
		t.Fatal(err)
	}
	chat, err := team.NewMagentic(team.MagenticConfig{
		Config: team.Config{Name: "desk", Participants: append(named("x"), team.Member{Agent: flow}), MaxTurns: 4},
		Model:  leader{}, MaxStalls: 1, MaxReplans: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			tr := agents.NewTranscript()
			for run := range 2 {
				about := fmt.Sprintf("session %d-%d", i, run)
				agentstest.Start(tr, fmt.Sprintf("run%d", run), "desk", about, agents.Limits{})
				events, err := agentstest.Run(agentstest.Context(t.Context()), t, chat, tr)
				end, ok := events[len(events)-1].Body.(agents.RunFinished)
				if err != nil || !ok || end.Output != about || end.StopReason != agents.StopMaxTurns {
					t.Errorf("%s: got %+v, %v", about, end, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMagenticTurn(b *testing.B) {
	const turns = 200
	a, err := agents.NewAssistant(agents.AssistantConfig{Name: "flow", Model: agentstest.Terse{}})
	if err != nil {
		b.Fatal(err)
	}
	chat, err := team.NewMagentic(team.MagenticConfig{
		Config: team.Config{Name: "desk", Participants: append(named("x"), team.Member{Agent: a}), MaxTurns: turns}, Model: leader{},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx := agentstest.Context(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		playTeam(b, ctx, chat, agents.NewTranscript(), turns)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*turns), "ns/turn")
}

// leader is an orchestrator's model that lets flow work, and quotes the task at the end.
type leader struct{}

func (leader) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		text := "a plan"
		asked := p.Messages[len(p.Messages)-1].Text
		switch {
		case p.Schema != nil:
			text = ledgerReply(agentstest.ReplyFile{Ledger: []any{false, true, false, "flow", "work", "r"}}).Text
		case strings.Contains(asked, "is over"):
			lines := strings.Split(asked, "\n")
			text = lines[2]
		}
		if yield(agents.Chunk{Text: text}, nil) {
			yield(agents.Chunk{Done: &agents.Reply{}}, nil)
		}
	}
}
