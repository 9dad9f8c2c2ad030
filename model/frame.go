package model

import (
	"bytes"
	"crypto/rand"
	"encoding/json"

	"github.com/behalf-dev/behalf/agents"
)

// maxCalls bounds the tool calls of one reply (SECURITY 9: tools per run).
const maxCalls = 128

// FinishRefusal is the finish reason of a reply in which the model declined.
const FinishRefusal = "refusal"

// frame is one event of a stream, as far as we read it.
type frame struct {
	Choices *[]choice       `json:"choices"`
	Usage   *usage          `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type choice struct {
	Index        int             `json:"index"`
	Delta        delta           `json:"delta"`
	FinishReason string          `json:"finish_reason"`
	Error        json.RawMessage `json:"error"`
}

type delta struct {
	Content          string      `json:"content"`
	Refusal          string      `json:"refusal"`
	ReasoningContent string      `json:"reasoning_content"` // DeepSeek, vLLM
	Reasoning        string      `json:"reasoning"`         // OpenRouter, Ollama
	ToolCalls        []callDelta `json:"tool_calls"`
}

type callDelta struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
}

// decode reads any frame. One that carries an error in any form, or is none
// that we know, is an error.
func decode(data []byte) (*frame, error) {
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, errMalformed // err would quote the data
	}
	if present(f.Error) || f.Choices == nil && f.Usage == nil {
		return nil, &midstream{kindOf(data)}
	}
	return &f, nil
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

// midstream is an error that the provider put into the stream.
type midstream struct{ kind string }

func (m *midstream) Error() string {
	if m.kind == "" {
		return "the provider broke off with an error"
	}
	return "the provider broke off with an error (" + m.kind + ")"
}

// assembly collects what only the end of a stream completes.
type assembly struct {
	calls   []agents.CallRequest
	open    int // the call that a delta without an index continues
	refused bool
	finish  string
	usage   agents.Usage
}

// add takes a frame and gives its text and thought.
func (a *assembly) add(f *frame) (text, thought string, err error) {
	if u := f.Usage; u != nil {
		a.usage.PromptTokens = max(u.PromptTokens, a.usage.PromptTokens)
		a.usage.CompletionTokens = max(u.CompletionTokens, a.usage.CompletionTokens)
	}
	if f.Choices == nil {
		return "", "", nil
	}
	for i := range *f.Choices {
		c := &(*f.Choices)[i]
		if i > 0 || c.Index != 0 {
			return "", "", errMalformed // we never ask for a second choice
		}
		if present(c.Error) || c.FinishReason == "error" {
			return "", "", &midstream{kindOf(c.Error)}
		}
		if err := a.choose(c); err != nil {
			return "", "", err
		}
		text, thought = c.Delta.said()
	}
	return text, thought, nil
}

func (a *assembly) choose(c *choice) error {
	for i := range c.Delta.ToolCalls {
		if err := a.call(&c.Delta.ToolCalls[i]); err != nil {
			return err
		}
	}
	a.refused = a.refused || c.Delta.Refusal != ""
	if c.FinishReason != "" {
		a.finish = c.FinishReason
	}
	return nil
}

// said gives the delta's text, which may be a refusal, and thought. Some
// providers send the same thought under both names.
func (d *delta) said() (text, thought string) {
	return d.Content + d.Refusal, or(d.ReasoningContent, d.Reasoning)
}

// call adds a piece of a tool call to the one it belongs to.
func (a *assembly) call(d *callDelta) error {
	i := a.place(d)
	if i < 0 || i > len(a.calls) || i >= maxCalls {
		return errCalls
	}
	if i == len(a.calls) {
		a.calls = append(a.calls, agents.CallRequest{})
	}
	a.open = i
	c := &a.calls[i]
	c.ID = or(c.ID, d.ID)
	if c.Tool != d.Function.Name { // some repeat the whole name in each piece
		c.Tool += d.Function.Name
	}
	c.Arguments += d.Function.Arguments
	return nil
}

// place finds a delta's call. The index says it; without one, or with the same
// one for each call, a new id begins a new call, and without ids a new name does.
func (a *assembly) place(d *callDelta) int {
	i := a.open
	if d.Index != nil {
		i = *d.Index
	}
	if i < 0 || i >= len(a.calls) {
		return i
	}
	if d.ID != "" && a.calls[i].ID != "" && d.ID != a.calls[i].ID {
		return a.known(d.ID)
	}
	if d.Index == nil && d.ID == "" && d.Function.Name != "" && a.calls[i].Arguments != "" {
		return len(a.calls)
	}
	return i
}

// known is the place of the call with that id, or of a new one.
func (a *assembly) known(id string) int {
	for i := range a.calls {
		if a.calls[i].ID == id {
			return i
		}
	}
	return len(a.calls)
}

// done closes the reply. Without a finish reason the stream was cut, whatever
// its last line was: half a tool call would look like a whole one.
func (a *assembly) done() (*agents.Reply, error) {
	if a.finish == "" {
		return nil, errCut
	}
	if a.refused {
		a.finish = FinishRefusal
	}
	if err := a.name(); err != nil {
		return nil, err
	}
	a.usage.ModelCalls = 1
	return &agents.Reply{Calls: a.calls, Usage: a.usage, Finish: a.finish}, nil
}

// name makes the calls' ids present and unique.
func (a *assembly) name() error {
	seen := make(map[string]bool, len(a.calls))
	for i := range a.calls {
		c := &a.calls[i]
		if c.Tool == "" {
			return errMalformed
		}
		if c.ID == "" || seen[c.ID] {
			c.ID = "call_" + rand.Text()
		}
		seen[c.ID] = true
	}
	return nil
}
