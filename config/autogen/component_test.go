package autogen_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/config/autogen"
)

// What AutoGen loses when it exports and imports a component (CP cases of
// ORCHESTRATION), and what becomes of it here.

// exported is a chat of two with a condition, as component JSON.
func exported(t *testing.T, g config.GroupChat) (string, []autogen.Note, error) {
	t.Helper()
	cfg := &config.Config{
		Models: map[string]config.Model{"m": {BaseURL: "https://api.openai.com/v1", Model: "m"}},
		Agents: map[string]config.Agent{
			"a": {Kind: config.KindAssistant, Model: "m", Instructions: "i", MaxToolRounds: 1},
			"b": {Kind: config.KindAssistant, Model: "m", Instructions: "i", MaxToolRounds: 1},
		},
	}
	g.Participants = []config.Participant{{Name: "a"}, {Name: "b"}}
	cfg.GroupChats = map[string]config.GroupChat{"t": g}
	data, notes, err := autogen.Export(cfg, "t", nil)
	return string(data), notes, err
}

func has(notes []autogen.Note, k autogen.Kind, text string) bool {
	return slices.ContainsFunc(notes, func(n autogen.Note) bool { return n.Kind == k && strings.Contains(n.String(), text) })
}

// CP-02: a condition that is a function is in no file, and leaves no trace of
// stopping.
func TestFunctionalTerminationIsLeftOutAndSaid(t *testing.T) {
	r := mustImport(t, until("FunctionalTermination", `"func":"lambda m: True"`))

	if r.Config.GroupChats["t"].Termination != nil || !has(r.Notes, autogen.Lost, "FunctionalTermination") {
		t.Errorf("got %+v and %v, want no condition and a note", r.Config.GroupChats["t"], r.Notes)
	}
}

// CP-04: AutoGen drops the sources of a mention.
func TestSourcesOfAMentionAreKeptHereAndMissedWhereTheyAreNot(t *testing.T) {
	r := mustImport(t, until("TextMentionTermination", `"text":"DONE"`))
	if !has(r.Notes, autogen.Check, "never exports its sources") {
		t.Errorf("got %v, want a note about the sources", r.Notes)
	}

	data, notes, err := exported(t, config.GroupChat{Kind: config.RoundRobin, Termination: &config.Termination{Mention: &config.Mention{Text: "DONE", Sources: []string{"b"}}}})
	if err != nil {
		t.Fatal(err)
	}
	back := mustImport(t, data).Config.GroupChats["t"].Termination.Mention
	if !slices.Equal(back.Sources, []string{"b"}) || !has(notes, autogen.Check, "everybody's mention counts") {
		t.Errorf("got %+v and %v, want the source back and a note", back, notes)
	}
}

// AutoGen's loader wants all three limits, and exports only those that are set.
func TestTokenUsageHasAllThreeLimits(t *testing.T) {
	data, _, err := exported(t, config.GroupChat{Kind: config.RoundRobin, Termination: &config.Termination{Tokens: &config.Tokens{Prompt: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Config struct {
			Termination struct{ Config map[string]*int } `json:"termination_condition"`
		}
	}
	if err := json.Unmarshal([]byte(data), &c); err != nil {
		t.Fatal(err)
	}
	got := c.Config.Termination.Config
	if len(got) != 3 || got["max_total_token"] != nil || got["max_prompt_token"] == nil || *got["max_prompt_token"] != 7 {
		t.Errorf("got %v, want three keys and one of them set", got)
	}

	r := mustImport(t, until("TokenUsageTermination", `"max_prompt_token":7`))
	if got := *r.Config.GroupChats["t"].Termination.Tokens; got != (config.Tokens{Prompt: 7}) {
		t.Errorf("got %+v, want the one limit", got)
	}
}

// A lambda on an edge vanishes in AutoGen, and the edge is open. Here such an
// edge is not exported.
func TestEdgeWhoseConditionWouldBeLostIsNotExported(t *testing.T) {
	g := config.GroupChat{Kind: config.Graph, Edges: []config.Edge{{From: "a", To: "b", When: `text.size() > 3`}}}
	if _, _, err := exported(t, g); err == nil || !strings.Contains(err.Error(), "edges[0].when") {
		t.Errorf("got %v, want a problem with the edge", err)
	}

	g.Edges[0].When = `text.contains("it's \"fine\"")`
	data, _, err := exported(t, g)
	if err != nil {
		t.Fatal(err)
	}
	r := mustImport(t, data)
	if got := r.Config.GroupChats["t"].Edges[0].If; got != `it's "fine"` {
		t.Errorf("got %q, want the text", got)
	}
}

func TestEdgesThatMayHaveHadAFunctionAreNamed(t *testing.T) {
	data, _, err := exported(t, config.GroupChat{Kind: config.Graph, Edges: []config.Edge{{From: "a", To: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := mustImport(t, data); !has(r.Notes, autogen.Check, "a to b") {
		t.Errorf("got %v, want the edge named", r.Notes)
	}
}

func TestExportSaysWhatAutoGenHasNoWordFor(t *testing.T) {
	scopes := []string{"crm.read"}
	_, notes, err := exported(t, config.GroupChat{Kind: config.RoundRobin, Scopes: &scopes, Authority: "owner"})
	if err != nil || !has(notes, autogen.Lost, "group_chats.t.scopes") || !has(notes, autogen.Lost, "group_chats.t.authority") {
		t.Errorf("got %v, %v, want notes about scopes and authority", notes, err)
	}
}

func TestExportKnowsItsTarget(t *testing.T) {
	if _, _, err := autogen.Export(&config.Config{}, "nobody", nil); err == nil {
		t.Error("got no error for a target that is not there")
	}
}

// FuzzImport: no input panics; what comes out loads, is exported and imported
// again.
func FuzzImport(f *testing.F) {
	f.Add([]byte(team(agent(`,"handoffs":["user"]`), "")))
	f.Add([]byte(until("TimeoutTermination", `"timeout_seconds":0.2`)))
	f.Add([]byte(agent(`,"model_context":{"provider":"TokenLimitedChatCompletionContext","config":{}}`)))
	for _, file := range []string{"team.json", "travel.json"} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := autogen.Import("f", data, autogen.Options{})
		if err != nil {
			return
		}
		again, _, err := autogen.Export(r.Config, r.Target, nil)
		if err != nil {
			t.Fatalf("export: %v\n%s", err, r.YAML)
		}
		if _, err := autogen.Import("f", again, autogen.Options{}); err != nil {
			t.Fatalf("import again: %v\n%s", err, again)
		}
	})
}

// FuzzText: a text is the same in the fragment, whatever it looks like in YAML.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a: b # c", " x\n  y\n", "${env:HOME}", "\t", "- [", "true", "0x1", "~", "\u2028\u0085\ufeff", "a\r\nb", "|\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted, err := json.Marshal(s)
		if err != nil || !utf8.ValidString(s) {
			t.Skip("the file is JSON, which is UTF-8")
		}
		file := strings.NewReplacer(`"s"`, string(quoted), `"d"`, string(quoted)).Replace(agent(`,"memory":[{"provider":"ListMemory","config":{"memory_contents":[{"content":"s"}]}}]`))
		r, err := autogen.Import("f", []byte(file), autogen.Options{})
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		a := r.Config.Agents["a"]
		if a.Description != s || len(a.Memory) > 0 && a.Memory[0] != s || strings.TrimSpace(s) != "" && a.Instructions != s {
			t.Fatalf("got %q, %q and %q, want %q\n%s", a.Description, a.Memory, a.Instructions, s, r.YAML)
		}
	})
}
