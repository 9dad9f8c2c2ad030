package agents

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// CallSummary is one call as the summary of an assistant's calls tells it.
type CallSummary struct {
	Tool      string
	Arguments string // exact text
	Result    string // plain text, or JSON text of what is not text
	Failed    bool
}

// summarizer makes the function that puts a call into words.
func (c *AssistantConfig) summarizer() (func(CallSummary) string, error) {
	if c.Summarize != nil {
		return c.Summarize, nil
	}
	if c.SummaryFormat == "" {
		return func(s CallSummary) string { return s.Result }, nil
	}
	t, err := parseTemplate(c.SummaryFormat)
	if err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	for _, p := range t {
		if _, ok := (&CallSummary{}).field(p.field); !ok {
			return nil, errors.New("summary: the format has no field " + p.field + "; there are tool_name, arguments, result and is_error")
		}
	}
	return func(s CallSummary) string {
		return t.fill(func(name string) string { v, _ := s.field(name); return v })
	}, nil
}

// field is a field of the format. Truth values are written as the users of these
// formats know them.
func (s *CallSummary) field(name string) (string, bool) {
	switch name {
	case "", "tool_name":
		return s.Tool, true
	case "arguments":
		return s.Arguments, true
	case "result":
		return s.Result, true
	case "is_error":
		if s.Failed {
			return "True", true
		}
		return "False", true
	}
	return "", false
}

// summarize says what the calls of this part came to, instead of asking the model.
func (r *run) summarize(s *state) bool {
	var lines []string
	for _, b := range s.part.made {
		for _, c := range b.all(func(c *call) bool { return !c.handOff || c.answer().Failed }) {
			result := c.answer()
			lines = append(lines, r.a.summary(CallSummary{
				Tool: c.Tool, Arguments: c.Arguments, Result: plain(&result), Failed: result.Failed,
			}))
		}
	}
	return r.emit(Event{
		MessageID: r.a.cfg.MessageID(r.t.RunID(), s.asked),
		Body:      Message{Role: RoleAssistant, Kind: KindToolSummary, Text: strings.Join(lines, "\n")},
	})
}

// plain is a result for people: text without its quotes, a failure's own words.
func plain(f *ToolCallFinished) string {
	var text string
	if json.Unmarshal([]byte(f.Result), &text) == nil {
		return text
	}
	var failure struct{ Error json.RawMessage }
	if !f.Failed || json.Unmarshal([]byte(f.Result), &failure) != nil {
		return f.Result
	}
	var detail struct{ Message *string } // as package tools says it
	if json.Unmarshal(failure.Error, &detail) == nil && detail.Message != nil {
		return *detail.Message
	}
	if json.Unmarshal(failure.Error, &text) == nil {
		return text
	}
	return f.Result
}
