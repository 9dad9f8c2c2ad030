package autogen_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/config/autogen"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestImportedSamples(t *testing.T) {
	for _, c := range []struct {
		golden, file string
		opt          autogen.Options
	}{
		{"team", "team.json", autogen.Options{}},
		{"team-bound", "team.json", autogen.Options{Name: "sums", Tools: []string{"calculator"}, Taken: []string{"sum_agent", "gpt-4_1-nano"}}},
		{"travel", "travel.json", autogen.Options{}},
		{"gallery-helper", "gallery.json", autogen.Options{Pick: "helper"}},
		{"gallery-refunds", "gallery.json", autogen.Options{Pick: "Refunds"}},
		{"gallery-research", "gallery.json", autogen.Options{Pick: "Research Team"}},
		{"gallery-review", "gallery.json", autogen.Options{Pick: "Review"}},
		{"gallery-plan", "gallery.json", autogen.Options{Pick: "Plan", Name: "plan"}},
	} {
		t.Run(c.golden, func(t *testing.T) {
			r, err := autogen.Import(c.file, read(t, c.file), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			fmt.Fprintf(&got, "# target: %s\n%s", r.Target, r.YAML)
			for _, n := range r.Notes {
				fmt.Fprintf(&got, "# %s\n", n)
			}
			if strings.Contains(got.String(), "canary") {
				t.Errorf("got\n%s\nwant neither a key nor code in it", got.String())
			}
			golden(t, c.golden+".golden", got.String())
			again(t, r)
		})
	}
}

// again holds what was imported against its own export.
func again(t *testing.T, r *autogen.Result) {
	t.Helper()
	data, _, err := autogen.Export(r.Config, r.Target, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := autogen.Import("again.json", data, autogen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(r.YAML), string(second.YAML)); diff != "" {
		t.Errorf("export and import change it (-first +second):\n%s", diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile("testdata/"+name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, name)), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGalleryListsWhatIsInItWhenNothingIsChosen(t *testing.T) {
	_, err := autogen.Import("gallery.json", read(t, "gallery.json"), autogen.Options{})

	for _, want := range []string{"5 of the 5", `Swarm "Refunds"`, `"Research", called "Research Team"`, "--label"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s in it", err, want)
		}
	}
}

// agent is an assistant with more keys, and a team around it.
func agent(more string) string {
	return `{"provider":"autogen_agentchat.agents.AssistantAgent","config":{"name":"a","description":"d","system_message":"s","model_client":` + client("") + more + `}}`
}

func client(more string) string {
	return `{"provider":"autogen_ext.models.openai.OpenAIChatCompletionClient","config":{"model":"m"` + more + `}}`
}

func team(participants, more string) string {
	return `{"provider":"autogen_agentchat.teams.RoundRobinGroupChat","config":{"name":"t","participants":[` + participants + `]` + more + `}}`
}

func until(class, values string) string {
	return team(agent(""), `,"termination_condition":{"provider":"x.conditions.`+class+`","config":{`+values+`}}`)
}

func mustImport(t *testing.T, file string) *autogen.Result {
	t.Helper()
	r, err := autogen.Import("f.json", []byte(file), autogen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestImportRefusesWhatItCannotTrust(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	chain := agent("")
	for range 10 {
		chain = team(chain, "")
	}
	for name, c := range map[string]struct{ file, want string }{
		"nothing":          {"", "plain JSON"},
		"not json":         {"{", "plain JSON"},
		"two values":       {agent("") + agent(""), "more than one value"},
		"a scalar":         {"7", "not an object"},
		"duplicate keys":   {`{"provider":"a","provider":"b"}`, "duplicate"},
		"bad utf-8":        {"\"\xff\"", "UTF-8"},
		"too deep":         {deep, "levels deep"},
		"too large":        {strings.Repeat(" ", autogen.MaxBytes+1), "more than"},
		"long chain":       {chain, "at most 8"},
		"no provider":      {`{"name":"x","team_type":"RoundRobinGroupChat"}`, "no provider"},
		"a model":          {client(""), "not known here as an agent or a team"},
		"a code agent":     {team(`{"provider":"autogen_agentchat.agents.CodeExecutorAgent","config":{"name":"x"}}`, ""), "CodeExecutorAgent is not known"},
		"twins":            {team(agent("")+","+agent(`,"metadata":{"a":"b"}`), ""), "another participant"},
		"nobody":           {team("", ""), "participants"},
		"wrong type":       {team(agent(""), `,"max_turns":"3"`), "max_turns: is not a whole number"},
		"zero turns":       {team(agent(""), `,"max_turns":0`), "less than 1"},
		"huge turns":       {team(agent(""), `,"max_turns":1e99`), "not a whole number"},
		"too many turns":   {team(agent(""), `,"max_turns":99999`), "out of range"},
		"unknown stop":     {until("MoodTermination", ""), "MoodTermination"},
		"long timeout":     {until("TimeoutTermination", `"timeout_seconds":1e300`), "length of time"},
		"summary":          {agent(`,"tool_call_summary_format":"{secret}"`), "stands for nothing"},
		"edge to nowhere":  {`{"provider":"GraphFlow","config":{"participants":[` + agent("") + `],"graph":{"nodes":{"a":{"edges":[{"target":"z"}]}}}}}`, `"z" is no participant`},
		"node from nobody": {`{"provider":"GraphFlow","config":{"participants":[` + agent("") + `]}}`, "has no graph"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := autogen.Import("f.json", []byte(c.file), autogen.Options{})
			if _, ok := errors.AsType[*config.Problems](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v and %v, want problems with %q", r, err, c.want)
			}
		})
	}
}

func TestNothingInAFileIsAReference(t *testing.T) {
	const steal = `${file:/etc/passwd} $${env:HOME} ${env:X`
	r := mustImport(t, team(
		agent(`,"memory":[{"provider":"ListMemory","config":{"memory_contents":[{"content":"`+steal+`"}]}}],"structured_message_factory":{"provider":"StructuredMessageFactory","config":{"json_schema":{"title":"`+steal+`","\ud83d\ude00":"\u0085"}}}`),
		`,"description":"`+steal+`","termination_condition":{"provider":"TextMentionTermination","config":{"text":"`+steal+`"}}`))

	a, g := r.Config.Agents["a"], r.Config.GroupChats["t"]
	for _, got := range []string{a.Memory[0], g.Description, g.Termination.Mention.Text} {
		if got != steal {
			t.Errorf("got %q, want %q", got, steal)
		}
	}
	if !strings.Contains(string(a.Output.Schema), steal) {
		t.Errorf("got %s, want %q in it", a.Output.Schema, steal)
	}
}

// TestNoOtherServerGetsTheKeyOfAService: a file names the server and, by labels,
// the model. Neither may choose which of the operator's variables is sent there.
func TestNothingInAFileHidesInTheResult(t *testing.T) {
	text := `"x \u001b[31m \u009b \u202e \u2066 \u200b \u00ad \u061c \ufeff \u2028 \udb40\udc41 y\n#"`
	for _, file := range []string{
		strings.Replace(agent(""), `"description":"d"`, `"description":`+text, 1),
		strings.Replace(agent(""), `"system_message":"s"`, `"system_message":`+text, 1),
		agent(`,"structured_message_factory":{"provider":"autogen_agentchat.messages.StructuredMessageFactory","config":{"input_model":"M",
			"json_schema":{"type":"object","title":` + text + `,"properties":{` + text + `:{"type":"string","description":` + text + `}}}}}`),
	} {
		r, err := autogen.Import("a.json", []byte(file), autogen.Options{})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if strings.ContainsFunc(string(r.YAML), func(c rune) bool {
			return c != '\n' && unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp)
		}) {
			t.Errorf("got %+q, want everything to be seen", r.YAML)
		}
		a := r.Config.Agents[r.Target]
		said := a.Description + a.Instructions
		if a.Output != nil {
			said += string(a.Output.Schema)
		}
		if !strings.Contains(said, "\u202e") && !strings.Contains(said, `\u202e`) {
			t.Errorf("got %+q, want the text as it was", said)
		}
	}
}

func TestWhatIsSaidAboutAFileIsBounded(t *testing.T) {
	var unknown, same strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&unknown, `, "k%d": 1`, i)
	}
	for i := range 3000 {
		fmt.Fprintf(&same, `%s, `, strings.Replace(agent(""), `"d"`, fmt.Sprintf(`"d%d"`, i), 1))
	}

	r, err := autogen.Import("a.json", []byte(agent(unknown.String())), autogen.Options{})
	if err != nil || len(r.Notes) != 1001 || !strings.Contains(r.Notes[1000].Text, "more notes") {
		t.Errorf("got %d notes (%v), want a thousand and one for the rest", len(r.Notes), err)
	}
	_, err = autogen.Import("a.json", []byte(team(strings.TrimSuffix(same.String(), ", "), "")), autogen.Options{})
	all, ok := errors.AsType[*config.Problems](err)
	if !ok || len(all.List) != 101 || !strings.Contains(all.List[100].Message, "more problems") {
		t.Errorf("got %d bytes, want a hundred problems and one for the rest", len(fmt.Sprint(err)))
	}
}

func TestNoOtherServerGetsTheKeyOfAService(t *testing.T) {
	for more, want := range map[string]string{
		``: "${env:OPENAI_API_KEY}",
		`,"base_url":"https://api.openai.com/v1/"`:                   "${env:OPENAI_API_KEY}",
		`,"base_url":"https://evil.example/v1","api_key":"sk-1"`:     "${env:AUTOGEN_OPEN_AI_API_KEY}",
		`,"base_url":"https://api.openai.com@evil.example/v1"`:       "",
		`,"base_url":"http://evil.example/v1"`:                       "",
		`,"base_url":"https://api.openai.com.evil.example/v1"`:       "${env:AUTOGEN_OPEN_AI_API_KEY}",
		`,"base_url":"http://127.0.0.1:1/v1"`:                        "",
		`,"base_url":"http://127.0.0.1:1/v1","api_key":"**********"`: "${env:AUTOGEN_OPEN_AI_API_KEY}",
	} {
		model := strings.Replace(client(more), `"config"`, `"label":"OpenAI","config"`, 1)
		r := mustImport(t, strings.Replace(agent(""), client(""), model, 1))
		_, got, _ := strings.Cut(string(r.YAML), "api_key: ")
		got, _, _ = strings.Cut(got, "\n")
		if got = strings.Trim(got, `"`); want == "" && strings.Contains(string(r.YAML), "api_key") || want != "" && got != want {
			t.Errorf("%s: got %s, want %s", more, got, want)
		}
	}
}

func TestNamesAreCleanedAndKeptApart(t *testing.T) {
	named := func(name string) string { return strings.Replace(agent(""), `"name":"a"`, `"name":"`+name+`"`, 1) }
	long := strings.Repeat("x", 90)
	r := mustImport(t, team(strings.Join([]string{named("WebSurfer"), named("web_surfer"), named("_9Lives"), named("研究"), named("GPT4o"), named(long)}, ","), ""))

	g := r.Config.GroupChats["t"]
	want := []string{"web_surfer", "web_surfer_2", "lives", "agent", "gpt4o", long[:52]}
	if diff := cmp.Diff(want, g.Names()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := kinds(r.Notes)[autogen.Renamed]; n != 6 {
		t.Errorf("got %d renamed, want 6: %v", n, r.Notes)
	}
}

func kinds(notes []autogen.Note) map[autogen.Kind]int {
	n := map[autogen.Kind]int{}
	for _, one := range notes {
		n[one.Kind]++
	}
	return n
}

func TestDefaultsAreThoseOfAutoGen(t *testing.T) {
	a := mustImport(t, agent("")).Config.Agents["a"]
	if a.MaxToolRounds != 1 || a.Reflect {
		t.Errorf("got %d rounds, reflect %t, want one and none", a.MaxToolRounds, a.Reflect)
	}
	two := agent("") + "," + strings.Replace(agent(""), `"name":"a"`, `"name":"b"`, 1)
	chat := func(class string) config.GroupChat {
		return mustImport(t, strings.Replace(team(two, `,"model_client":`+client("")), "RoundRobinGroupChat", class, 1)).Config.GroupChats["t"]
	}
	if g := chat("SelectorGroupChat"); g.MaxAttempts != 3 || g.AllowRepeatedSpeaker {
		t.Errorf("got %+v, want 3 attempts and nobody twice", g)
	}
	if g := chat("MagenticOneGroupChat"); g.MaxStalls != 3 {
		t.Errorf("got %+v, want 3 stalls", g)
	}
}

// TestTheSameAgentTwiceIsOneWithTwoPlaces: what says the same is made once; a
// filter belongs to the place.
func TestTheSameAgentTwiceIsOneWithTwoPlaces(t *testing.T) {
	filtered := `{"provider":"MessageFilterAgent","config":{"name":"quiet","wrapped_agent":` + agent("") + `,"filter":{"per_source":[{"source":"user"}]}}}`
	r := mustImport(t, team(filtered+","+strings.Replace(team(agent(""), ""), `"name":"t"`, `"name":"in"`, 1), ""))

	outer, inner := r.Config.GroupChats["t"].Participants, r.Config.GroupChats["in"].Participants
	if len(r.Config.Agents) != 1 || len(outer[0].Filter) != 1 || len(inner[0].Filter) != 0 {
		t.Errorf("got %v, %+v and %+v, want one agent and one filter", r.Config.Agents, outer, inner)
	}
}
