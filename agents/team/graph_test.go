package team_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/fault"
	"github.com/google/go-cmp/cmp"
)

// edges reads "a>b a>c:text c>d/group?" as edges: text is If, ? is JoinAny.
func edges(text string) []team.Edge {
	var all []team.Edge
	for word := range strings.FieldsSeq(text) {
		word, any := strings.CutSuffix(word, "?")
		word, group, _ := strings.Cut(word, "/")
		word, condition, _ := strings.Cut(word, ":")
		from, to, _ := strings.Cut(word, ">")
		e := team.Edge{From: from, To: to, If: condition, Group: group}
		if any {
			e.Join = team.JoinAny
		}
		all = append(all, e)
	}
	return all
}

// graphOf makes a graph of participants that say their name.
func graphOf(nodes, list string, entry ...string) (*team.Team, error) {
	return team.NewGraph(team.GraphConfig{
		Config: team.Config{Name: "desk", Participants: named(strings.Fields(nodes)...)},
		Edges:  edges(list), Entry: entry,
	})
}

func TestGraphsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []struct{ problem, nodes, edges, entry string }{
		{"at least one start node", "a b", "a>b b>a", ""},
		{"at least one leaf node", "a b c", "a>b b>c c>b", ""},
		{`"a" has a mix`, "a b c", "a>b:x a>c", ""},
		{"cycle without an exit condition: a -> b -> c -> a", "a b c d e", "a>b b>c c>a d>e", "d"},
		{"cycle without an exit condition: b -> b", "a b c", "a>b b>b b>c", ""},
		{"condition or max turns is required for a cyclic graph: a -> a", "a b", "a>b:x a>a:y", "a"},
		{`conflicting joins for "d" in the group "d"`, "a b c d", "a>b a>c b>d c>d?", ""},
		{`"a" to "zed": who speaks next is not`, "a b", "a>zed", ""},
		{`"zed" to "a": who speaks first is not`, "a b", "zed>a", "a"},
		{`the entry "zed" is not`, "a b", "a>b", "zed"},
		{`the entry "a" is named twice`, "a b", "a>b", "a a"},
		{"edge 2 from \"a\" to \"b\" is there twice", "a b", "a>b a>b", ""},
	} {
		if _, err := graphOf(c.nodes, c.edges, strings.Fields(c.entry)...); err == nil || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: got %v, want %q", c.edges, err, c.problem)
		}
	}
	both := team.Edge{From: "a", To: "b", If: "x", When: func(agents.Event) bool { return true }}
	odd := team.Edge{From: "a", To: "b", Join: "most"}
	for problem, e := range map[string]team.Edge{"has two conditions": both, `the join "most"`: odd} {
		_, err := team.NewGraph(team.GraphConfig{Config: team.Config{Name: "desk", Participants: named("a", "b")}, Edges: []team.Edge{e}})
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("got %v, want %q", err, problem)
		}
	}
}

func TestGraphReportsAllProblemsAtOnce(t *testing.T) {
	_, err := graphOf("a b c d e", "e>a a>b:x a>c b>d c>d? d>a/again")

	for _, problem := range []string{"leaf node", "mix", "conflicting", "cycle"} {
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("got %v, want %q too", err, problem)
		}
	}
}

func TestGraphIsThereAsData(t *testing.T) {
	chat, err := graphOf("a b c d", "a>b:y a>c:x/g? b>d")
	if err != nil {
		t.Fatal(err)
	}

	got, ok := chat.Graph()

	want := team.Graph{
		Nodes: []string{"a", "b", "c", "d"}, Entry: []string{"a"},
		Edges: []team.Edge{
			{From: "a", To: "b", If: "y", Group: "b", Join: team.JoinAll},
			{From: "a", To: "c", If: "x", Group: "g", Join: team.JoinAny},
			{From: "b", To: "d", Group: "d", Join: team.JoinAll},
		},
	}
	if diff := cmp.Diff(got, want); diff != "" || !ok {
		t.Errorf("got, want (%t)\n%s", ok, diff)
	}
	got.Nodes[0], got.Edges[0].To, got.Entry[0] = "x", "x", "x"
	if again, _ := chat.Graph(); !cmp.Equal(again, want) {
		t.Errorf("got %+v after a change of a copy", again)
	}
	other, err := team.NewRoundRobin(team.Config{Name: "desk", Participants: named("a")})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := other.Graph(); ok {
		t.Error("got the graph of a round robin")
	}
}

func TestEdgeFunctionSeesTheLastMessageOfItsSource(t *testing.T) {
	var seen []string
	when := func(e agents.Event) bool {
		m := e.Body.(agents.Message)
		seen = append(seen, e.Source+": "+m.Text)
		return m.Kind == agents.KindStop
	}
	members := append(named("b", "c"), team.Member{Agent: says{"a", func(int) (agents.Message, error) {
		return agents.Message{Kind: agents.KindStop, Text: "no more"}, nil
	}}})
	chat, err := team.NewGraph(team.GraphConfig{
		Config: team.Config{Name: "desk", Participants: members},
		Edges:  []team.Edge{{From: "a", To: "b", When: when, Label: "stop"}, {From: "a", To: "c", If: "more please"}},
	})
	if err != nil {
		t.Fatal(err)
	}

	speakers, stop, err := play(t, chat, task("go"))

	if !slices.Equal(speakers, []string{"a", "b"}) || stop != agents.StopCompleted || err != nil {
		t.Errorf("got %v, %q, %v; want a, b", speakers, stop, err)
	}
	if !slices.Equal(seen, []string{"a: no more"}) {
		t.Errorf("got %v, want one call with what a said", seen)
	}
}

func TestNodeThatSaysNothingOpensNoConditionalEdge(t *testing.T) {
	silent := func(name string) team.Member { return team.Member{Agent: quiet{name}} }
	for list, want := range map[string][]string{"a>b": {"b"}, "a>b:b": nil} {
		chat, err := team.NewGraph(team.GraphConfig{
			Config: team.Config{Name: "desk", Participants: append(named("b"), silent("a"))}, Edges: edges(list),
		})
		if err != nil {
			t.Fatal(err)
		}

		speakers, stop, err := play(t, chat, task("go"))

		if !slices.Equal(speakers, want) || stop != agents.StopCompleted || err != nil {
			t.Errorf("%s: got %v, %q, %v; want %v", list, speakers, stop, err, want)
		}
	}
}

func TestFailedNodeSpeaksAgainInTheNextRun(t *testing.T) {
	flaky := errors.New("I am flaky")
	members := append(named("a", "c"), team.Member{Agent: says{"f", func(turn int) (agents.Message, error) {
		if turn == 1 {
			return agents.Message{}, flaky
		}
		return agents.Message{Text: "f"}, nil
	}}})
	chat, err := team.NewGraph(team.GraphConfig{Config: team.Config{Name: "desk", Participants: members}, Edges: edges("a>f f>c")})
	if err != nil {
		t.Fatal(err)
	}
	tr := task("go")

	first, _, failure := play(t, chat, tr)
	agentstest.Commit(tr, agents.Event{Body: agents.RunFinished{StopReason: agents.StopFailed}})
	agentstest.Commit(tr, agents.Event{RunID: "run2", Body: agents.RunStarted{Target: "desk"}})
	second, stop, err := play(t, chat, tr)

	if !slices.Equal(first, []string{"a"}) || !errors.Is(failure, flaky) {
		t.Errorf("got %v, %v; want a and the error", first, failure)
	}
	if !slices.Equal(second, []string{"f", "c"}) || stop != agents.StopCompleted || err != nil {
		t.Errorf("got %v, %q, %v; want f, c", second, stop, err)
	}
}

func TestOfATurnCutOffWhileItIsHeardOnlyTheRestSpeaksAgain(t *testing.T) {
	chat, err := graphOf("b c d", "b>d c>d")
	if err != nil {
		t.Fatal(err)
	}
	tr := task("go")
	for _, e := range []agents.Event{
		{Source: "desk", Body: agents.SpeakerSelected{Speakers: []string{"b", "c"}, Reason: "edge"}},
		{Source: "b", Chain: []string{"b"}, Body: agents.Message{Role: agents.RoleAssistant, Text: "b"}},
		{Body: agents.RunFinished{StopReason: agents.StopCancelled}},
		{RunID: "run2", Body: agents.RunStarted{Target: "desk"}},
	} {
		agentstest.Commit(tr, e)
	}

	speakers, stop, err := play(t, chat, tr)

	if !slices.Equal(speakers, []string{"c", "d"}) || stop != agents.StopCompleted || err != nil {
		t.Errorf("got %v, %q, %v; want c, then d", speakers, stop, err)
	}
}

func TestGraphWhoseReadyNodeIsGoneGoesOnWithoutIt(t *testing.T) {
	with, err := graphOf("a b c", "a>b a>c")
	if err != nil {
		t.Fatal(err)
	}
	without, err := graphOf("a c", "a>c")
	if err != nil {
		t.Fatal(err)
	}
	tr := agents.NewTranscript()
	agentstest.Start(tr, "run1", "desk", "go", agents.Limits{MaxTurns: 1})
	if _, _, err := play(t, with, tr); err != nil {
		t.Fatal(err)
	}
	agentstest.Commit(tr, agents.Event{RunID: "run2", Body: agents.RunStarted{Target: "desk"}})

	speakers, stop, err := play(t, without, tr)

	if !slices.Equal(speakers, []string{"c"}) || stop != agents.StopCompleted || err != nil {
		t.Errorf("got %v, %q, %v; want c", speakers, stop, err)
	}
}

func TestGraphRefusesASelectionThatNobodyCanFollow(t *testing.T) {
	chat, err := graphOf("a b", "a>b")
	if err != nil {
		t.Fatal(err)
	}
	tr := task("go")
	agentstest.Commit(tr, agents.Event{Source: "desk", Body: agents.SpeakerSelected{Speakers: []string{"gone"}, Reason: "edge"}})

	_, _, err = play(t, chat, tr)

	if !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want NOT_FOUND", err)
	}
}

func BenchmarkGraphTurn(b *testing.B) {
	const turns = 1000
	for _, width := range []int{1, 4} {
		b.Run(fmt.Sprintf("width=%d", width), func(b *testing.B) {
			chat := benchGraph(b, width)
			ctx := agentstest.Context(context.Background())
			b.ReportAllocs()
			for b.Loop() {
				playTeam(b, ctx, chat, agents.NewTranscript(), turns)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*turns*width), "ns/node")
		})
	}
}

// benchGraph is a graph in which width assistants speak at once, each after all of them.
func benchGraph(b *testing.B, width int) *team.Team {
	b.Helper()
	cfg := team.GraphConfig{Config: team.Config{Name: "desk", Participants: named("end"), MaxTurns: 1000}}
	for i := range width {
		a, err := agents.NewAssistant(agents.AssistantConfig{Name: fmt.Sprintf("n%d", i), Model: agentstest.Terse{}})
		if err != nil {
			b.Fatal(err)
		}
		cfg.Participants = append(cfg.Participants, team.Member{Agent: a})
		cfg.Entry = append(cfg.Entry, a.Name())
		for j := range width {
			cfg.Edges = append(cfg.Edges, team.Edge{From: a.Name(), To: fmt.Sprintf("n%d", j), If: "Yes"})
		}
		cfg.Edges = append(cfg.Edges, team.Edge{From: a.Name(), To: "end", If: "never"})
	}
	chat, err := team.NewGraph(cfg)
	if err != nil {
		b.Fatal(err)
	}
	return chat
}
