package agents

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/fault"
)

// notAsked are the reasons of a refusal that say nothing about what is allowed.
var notAsked = []fault.Reason{fault.OutcomeUnknown, fault.ArgumentInvalid, fault.ToolUnknown}

// What a coder says, to people and to its model.
const (
	coderInstructions = "You solve tasks by writing programs. Put each program into a fenced block that names its language: ```python for Python, ```sh for a shell script. " +
		"All blocks of a reply are run for you, in order, and you are shown the exit code and what they printed; so print what you want to know. " +
		"Handle what may go wrong. When a task needs no program, just answer."
	noCode      = "No code blocks found in the thread. Put at least one program into a fenced block that names its language, such as ```python or ```sh."
	notApproved = "Code execution was not approved. Reason: "
	notRun      = "Running the code failed: "
	notKnown    = "The code was run, but its executor did not say how it ended. What it said is:\n"
	exitedWrong = "The script ran, then exited with an error (POSIX exit code: %d)\nIts output was:\n%s"
	printedNone = "The script ran but produced no output. The POSIX exit code was: %d. If you expected output, let the script print it."
	judgeText   = "The code that was run last did not succeed; what came of it stands above. Should it be corrected and run again? Answer with nothing but a JSON object: " +
		`"reason" is a text that says what is wrong and how you would correct it, and "retry" is true or false.`
	correctText = "Correct the code as you proposed: "
	noVerdict   = "the model did not say whether to try again"
)

// fence finds blocks of code in these languages: the language, then the code.
func fence(languages []string) *regexp.Regexp {
	languages = slices.Clone(languages)
	for i, l := range languages {
		languages[i] = regexp.QuoteMeta(l)
	}
	return regexp.MustCompile("(?is)```[ \\t]*(" + strings.Join(languages, "|") + ")[ \\t\\r]*\\n(.*?)```")
}

// block is a piece of code in the arguments of an executor.
type block struct {
	Language string `json:"language"`
	Code     string `json:"code"`
}

// calls makes one call of all code in the texts, or none if there is no code.
func (c *Coder) calls(texts []string) []CallRequest {
	var arguments struct {
		Blocks []block `json:"blocks"`
	}
	for _, text := range texts {
		for _, m := range c.fence.FindAllStringSubmatch(text, -1) {
			arguments.Blocks = append(arguments.Blocks, block{strings.ToLower(m[1]), m[2]})
		}
	}
	if len(arguments.Blocks) == 0 {
		return nil
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // approvers read it
	if err := enc.Encode(arguments); err != nil {
		panic("agents: texts cannot be encoded: " + err.Error())
	}
	return []CallRequest{{ID: "code", Tool: c.cfg.Tool, Arguments: strings.TrimSpace(text.String())}}
}

// outcome is what came of a call, in words, and whether the code ran without an
// error.
func outcome(c *call) (text string, ran bool) {
	result := c.answer()
	said := plain(&result)
	switch {
	case c.denied && result.Reason == string(fault.ApprovalDenied):
		return notApproved + cmp.Or(c.comment, said), false
	case c.denied && !slices.Contains(notAsked, fault.Reason(result.Reason)):
		return notApproved + said, false
	case result.Failed:
		return notRun + said, false
	}
	var e struct {
		ExitCode *int   `json:"exit_code"`
		Output   string `json:"output"`
	}
	switch err := json.Unmarshal([]byte(said), &e); {
	case err != nil || e.ExitCode == nil:
		return notKnown + said, false
	case strings.TrimSpace(e.Output) == "":
		return fmt.Sprintf(printedNone, *e.ExitCode), *e.ExitCode == 0
	case *e.ExitCode != 0:
		return fmt.Sprintf(exitedWrong, *e.ExitCode, e.Output), false
	}
	return e.Output, true
}

// verdict is what a model thinks of code that failed.
type verdict struct {
	Reason string `json:"reason"`
	Retry  bool   `json:"retry"`
}

const verdictSchema = `{"type":"object","properties":{"reason":{"type":"string"},"retry":{"type":"boolean"}},"required":["reason","retry"],"additionalProperties":false}`

// readVerdict reads a verdict. What is none does not ask for more tries.
func readVerdict(answer string) *verdict {
	var v verdict
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		return &verdict{Reason: noVerdict}
	}
	return &v
}

// judge asks the model whether code that failed is worth another try. The answer
// is stored before anything comes of it.
func (c *Coder) judge(ctx context.Context, r *run, s *state) bool {
	p := &Prompt{Agent: c.cfg.Name, System: c.cfg.Instructions, Messages: append(c.a.view(s), c.tells(judgeText)), ToolChoice: ToolNone}
	if !c.cfg.ModelLacks.StructuredOutput {
		p.Schema = json.RawMessage(verdictSchema)
	}
	answer, err := Consult(ctx, c.cfg.Model, p, func(string) bool { return true })
	judged := PlanUpdated{Stalls: len(s.part.made), Usage: answer.Usage}
	if err != nil && !errors.Is(err, ErrTooLong) { // that is no verdict either
		return r.emit(Event{Body: judged}) && r.fail(ctx, err)
	}
	judged.Ledger = encoded(readVerdict(answer.Object()))
	return r.emit(Event{Body: judged})
}
