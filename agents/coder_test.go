package agents_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/google/go-cmp/cmp"
)

func TestCoderRefusesWhatCannotBe(t *testing.T) {
	model, box := agentstest.NewScript(nil), agentstest.NewToolbox(agents.NewTranscript())
	for want, cfg := range map[string]agents.CoderConfig{
		"the name":                             {Tool: "run_code", Toolbox: box},
		`the name is missing or "user"`:        {Name: "user", Tool: "run_code", Toolbox: box},
		"the executor's tool is missing":       {Name: "x", Toolbox: box},
		"the executor's tool is missing or":    {Name: "x", Tool: "transfer_to_b", Toolbox: box},
		"the toolbox is missing":               {Name: "x", Tool: "run_code"},
		"retries must be 0 to":                 {Name: "x", Tool: "run_code", Toolbox: box, Model: model, Retries: 1000},
		"retries need a model":                 {Name: "x", Tool: "run_code", Toolbox: box, Retries: 1},
		"sources have no effect with a model":  {Name: "x", Tool: "run_code", Toolbox: box, Model: model, Sources: []string{"a"}},
		"a language has a bad name: a b":       {Name: "x", Tool: "run_code", Toolbox: box, Languages: []string{"a b"}},
		"a buffered window needs at least one": {Name: "x", Tool: "run_code", Toolbox: box, Model: model, Window: agents.Buffered{}},
	} {
		if _, err := agents.NewCoder(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// told lets a coder run that is told one text, and gives the arguments of its call
// and what it says.
func told(t *testing.T, text string, cfg agents.CoderConfig) (arguments, output string) {
	t.Helper()
	tr := agents.NewTranscript()
	agentstest.Start(tr, "run1", "x", text, agents.Limits{MaxTurns: 1})
	cfg.Name, cfg.Tool = "x", "run_code"
	if cfg.Toolbox == nil {
		cfg.Toolbox = agentstest.NewToolbox(tr, agentstest.Tool{Name: "run_code", Result: `{"exit_code":0,"output":"ok"}`})
	}
	x, err := agents.NewCoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	desk := agentstest.Alone(t, x)
	events, err := agentstest.Run(agentstest.Context(t.Context()), t, desk, tr)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if b, ok := e.Body.(agents.ToolCallRequested); ok {
			arguments = b.Arguments
		}
	}
	return arguments, events[len(events)-1].Body.(agents.RunFinished).Output
}

func TestCoderFindsFencedBlocksOfItsLanguages(t *testing.T) {
	for text, want := range map[string]string{
		"```python\na\n```":                          `{"blocks":[{"language":"python","code":"a\n"}]}`,
		"```sh \r\na\r\n```":                         `{"blocks":[{"language":"sh","code":"a\r\n"}]}`,
		"```Python\na``` x ``` SH\n<b>\n```":         `{"blocks":[{"language":"python","code":"a"},{"language":"sh","code":"<b>\n"}]}`,
		"```markdown\n```python\na\n```\n```":        `{"blocks":[{"language":"python","code":"a\n"}]}`,
		"```python\n```":                             `{"blocks":[{"language":"python","code":""}]}`,
		"```python\na":                               "",
		"```\na\n```":                                "",
		"```pythonic\na\n```":                        "",
		"```python -i\na\n```":                       "",
		"```ruby\na\n```":                            "",
		"``` python\na\n``":                          "",
		"python\na":                                  "",
		"```sh\n" + strings.Repeat("`` ", 3) + "```": `{"blocks":[{"language":"sh","code":"` + strings.Repeat("`` ", 3) + `"}]}`,
	} {
		if got, _ := told(t, text, agents.CoderConfig{}); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got, _ := told(t, "```c++\na\n```", agents.CoderConfig{Languages: []string{"ruby", "c++"}}); !strings.Contains(got, `"c++"`) {
		t.Errorf("got %q, want a block of the configured language", got)
	}
}

func TestCodeThatIsTooLongIsNotRun(t *testing.T) {
	_, output := told(t, "```sh\n"+strings.Repeat("ä", 1<<20)+"\n```", agents.CoderConfig{})

	if !strings.HasPrefix(output, "Running the code failed: the arguments are longer than") {
		t.Errorf("got %q, want a refusal", output)
	}
}

// TestVerdictThatFailsCounts asks a model that is gone when it shall judge: what it
// used is stored.
func TestVerdictThatFailsCounts(t *testing.T) {
	gone := errors.New("gone")
	tr := agents.NewTranscript()
	agentstest.Start(tr, "run1", "x", "go", agents.Limits{})
	x, err := agents.NewCoder(agents.CoderConfig{
		Name: "x", Tool: "run_code", Retries: 1,
		Toolbox: agentstest.NewToolbox(tr, agentstest.Tool{Name: "run_code", Result: `{"exit_code":1,"output":"no"}`}),
		Model:   agentstest.NewScript(map[string][]agentstest.Reply{"x": {{Text: "```sh\na\n```"}, {Err: gone}}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	desk := agentstest.Alone(t, x)

	events, err := agentstest.Run(agentstest.Context(t.Context()), t, desk, tr)

	last, _ := events[len(events)-1].Body.(agents.PlanUpdated)
	if want := (agents.PlanUpdated{Stalls: 1, Usage: agents.Usage{ModelCalls: 1}}); !errors.Is(err, gone) || last != want {
		t.Errorf("got %+v, %v; want %+v and that it is gone", last, err, want)
	}
}

func TestBlindModelReadsMarksForImages(t *testing.T) {
	script := agentstest.Replies(agentstest.Reply{Text: "ok"}, agentstest.Reply{Text: "ok"})
	plain := agents.PromptMessage{Role: agents.RoleUser, Text: "a", Parts: []agents.Part{{Text: "b"}}}
	seen := agents.PromptMessage{
		Role: agents.RoleUser, Name: "user", Text: "What is",
		Parts: []agents.Part{{URI: "https://example.com/a.png"}, {Text: "and"}, {JSON: `{"a":1}`}, {URI: "data:image/png;base64,AA"}},
	}
	prompt := &agents.Prompt{Agent: "support", Messages: []agents.PromptMessage{plain, seen}}

	for _, err := range agents.Blind(script).Generate(context.Background(), prompt) {
		if err != nil {
			t.Fatal(err)
		}
	}

	want := []agents.PromptMessage{plain, {Role: agents.RoleUser, Name: "user", Text: "What is\n<image>\nand\n{\"a\":1}\n<image>"}}
	if diff := cmp.Diff(script.Prompts()[0].Messages, want); diff != "" {
		t.Errorf("got, want\n%s", diff)
	}
	if len(prompt.Messages[1].Parts) != 4 {
		t.Error("the prompt was changed")
	}
}

// answers is a toolbox whose calls all go the same way.
type answers []agents.Body

func (answers) Shown(_ context.Context, c agents.CallRequest) string { return c.Arguments }

func (a answers) Specs(context.Context) iter.Seq2[agents.Spec, error] {
	return func(func(agents.Spec, error) bool) {}
}

func (a answers) Call(context.Context, agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		for _, b := range a {
			if !yield(agents.Event{Body: b}, nil) {
				return
			}
		}
	}
}

// TestWhatIsNotKnownIsNotSaidToBeDenied holds apart code that was not run and code
// of which that is not known.
func TestWhatIsNotKnownIsNotSaidToBeDenied(t *testing.T) {
	denied := func(reason string) answers {
		return answers{
			agents.ToolCallDecided{Decision: agents.Denied, Reason: reason},
			agents.ToolCallFinished{Failed: true, Reason: reason, Result: `{"error":{"reason":"R","message":"because"}}`},
		}
	}
	for _, row := range []struct {
		box  answers
		want string
	}{
		{denied("POLICY_DENIED"), "Code execution was not approved. Reason: because"},
		{denied("OUTCOME_UNKNOWN"), "Running the code failed: because"},
		{answers{agents.ToolCallFinished{Failed: true, Result: `{"error":"gone"}`}}, "Running the code failed: gone"},
		{answers{agents.ToolCallFinished{Result: `"7"`}}, "its executor did not say how it ended. What it said is:\n7"},
		{answers{agents.ToolCallFinished{Result: `{"exit_code":null,"output":"7"}`}}, "its executor did not say how it ended"},
		{answers{agents.ToolCallFinished{Result: `{"exit_code":-9,"output":"killed"}`}}, "(POSIX exit code: -9)\nIts output was:\nkilled"},
	} {
		_, got := told(t, "```sh\na\n```", agents.CoderConfig{Toolbox: row.box})

		if !strings.Contains(got, row.want) {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}
