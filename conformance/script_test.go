package conformance_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/model/modeltest"
	"go.yaml.in/yaml/v4"
)

// modelPrefix and a key is the name of a model.
const modelPrefix = "script-"

// reply is one scripted answer of a model.
type reply struct {
	Text    string
	Usage   []int64
	Thought string
	JSON    map[string]any
	Call    []callSpec
	Ledger  []any // satisfied, progress, loop, next, instruction, reason
	Omit    string
	Fence   bool
	Hang    bool
}

func (r *reply) UnmarshalYAML(n *yaml.Node) error {
	type plain reply
	return scalarOr(n, &r.Text, (*plain)(r))
}

// callSpec is name, or [name, arguments]: an object, or a text as it is.
type callSpec struct{ name, arguments string }

func (c *callSpec) UnmarshalYAML(n *yaml.Node) error {
	c.name, c.arguments = n.Value, "{}"
	if n.Kind == yaml.ScalarNode {
		return nil
	}
	if len(n.Content) != 2 {
		return errors.New("a call is a name or [name, arguments]")
	}
	c.name, c.arguments = n.Content[0].Value, n.Content[1].Value
	if n.Content[1].Kind == yaml.ScalarNode {
		return nil
	}
	var object map[string]any
	if err := n.Content[1].Decode(&object); err != nil {
		return err
	}
	text, err := json.Marshal(object)
	c.arguments = string(text)
	return err
}

// scripted is the model server of one case.
type scripted struct {
	*modeltest.Server
	transport *http.Transport

	mu   sync.Mutex
	hung chan struct{} // closed when a model was asked that does not answer
}

func newScripted(t *testing.T, c *testCase) *scripted {
	t.Helper()
	s := &scripted{Server: modeltest.NewServer(t), transport: &http.Transport{DisableCompression: true}, hung: make(chan struct{})}
	t.Cleanup(s.transport.CloseIdleConnections)
	for _, key := range c.keys() {
		replies := c.Script[key]
		s.Handle(modelPrefix+key, func(modeltest.Request) modeltest.Reply {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(replies) == 0 {
				return modeltest.Reply{Status: http.StatusInternalServerError}
			}
			next := replies[0]
			replies = replies[1:]
			if next.Hang {
				close(s.hung)
			}
			return next.render()
		})
	}
	return s
}

// keys are all models that a case may ask.
func (c *testCase) keys() []string {
	keys := []string{"selector", "orchestrator", c.Agent}
	for name := range c.Agents {
		keys = append(keys, name)
		for _, h := range c.Agents[name].Handoffs {
			keys = append(keys, h.Target)
		}
	}
	for name := range c.Script {
		keys = append(keys, name)
	}
	for _, t := range c.Teams {
		keys = append(keys, t.Participants...)
	}
	if c.Team != nil {
		keys = append(keys, c.Team.Participants...)
	}
	return keys
}

// model is the real adapter in front of a key's script.
func (s *scripted) model(key string) (agents.Model, error) {
	return model.NewOpenAI(model.OpenAIConfig{
		BaseURL: s.URL, Model: modelPrefix + key, Retries: -1, NoCoalesce: true, Transport: s.transport,
	})
}

func (r *reply) render() modeltest.Reply {
	out := modeltest.Reply{Text: r.Text, Thought: r.Thought}
	for i, c := range r.Call {
		out.Calls = append(out.Calls, agents.CallRequest{ID: "c" + strconv.Itoa(i+1), Tool: c.name, Arguments: c.arguments})
	}
	switch {
	case len(r.Call) > 0:
		out.Text, out.Thought = r.Thought, ""
	case r.JSON != nil:
		out.Text = marshal(r.JSON)
	case r.Ledger != nil:
		out.Text = r.ledger()
	case r.Hang:
		out.Fault = modeltest.Hang
	}
	if len(r.Usage) == 2 {
		out.Usage = agents.Usage{PromptTokens: r.Usage[0], CompletionTokens: r.Usage[1]}
	}
	return out
}

func (r *reply) ledger() string {
	keys := []string{"is_request_satisfied", "is_progress_being_made", "is_in_loop", "next_speaker", "instruction_or_question"}
	ledger := map[string]any{}
	for i, key := range keys {
		entry := map[string]any{"answer": "", "reason": "r"}
		if i < len(r.Ledger) {
			entry["answer"] = r.Ledger[i]
		}
		ledger[key] = entry
	}
	if len(r.Ledger) > len(keys) {
		ledger[keys[0]].(map[string]any)["reason"] = r.Ledger[len(keys)]
	}
	delete(ledger, r.Omit)
	if r.Fence {
		return "```json\n" + marshal(ledger) + "\n```"
	}
	return marshal(ledger)
}

func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// asked is one request to a model, as the cases describe it.
type asked struct{ messages, tools []string }

// asked are the requests to a key's model.
func (s *scripted) asked(key string) ([]asked, error) {
	var all []asked
	for _, r := range s.Requests() {
		if r.Model != modelPrefix+key {
			continue
		}
		a, err := readRequest(r.Body)
		if err != nil {
			return nil, fmt.Errorf("request to %s: %w", key, err)
		}
		all = append(all, a)
	}
	return all, nil
}

type chatRequest struct {
	Messages []struct {
		Role, Name, Content string
		ToolCallID          string `json:"tool_call_id"`
		ToolCalls           []struct {
			ID       string
			Function struct{ Name string }
		} `json:"tool_calls"`
	}
	Tools []struct{ Function struct{ Name string } }
}

func readRequest(body []byte) (asked, error) {
	var r chatRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return asked{}, err
	}
	a := asked{tools: []string{}}
	for _, t := range r.Tools {
		a.tools = append(a.tools, t.Function.Name)
	}
	names := map[string]string{} // of the newest calls
	for i, m := range r.Messages {
		switch {
		case m.Role == "tool":
			result := names[m.ToolCallID] + "=" + words(m.Content)
			if r.Messages[i-1].Role == "tool" {
				a.messages[len(a.messages)-1] += ", " + result
			} else {
				a.messages = append(a.messages, "tool: "+result)
			}
		case len(m.ToolCalls) > 0:
			var calls []string
			for _, c := range m.ToolCalls {
				names[c.ID] = c.Function.Name
				calls = append(calls, c.Function.Name)
			}
			a.messages = append(a.messages, "assistant calls: "+strings.Join(calls, ", "))
		case m.Role == "user":
			a.messages = append(a.messages, fmt.Sprintf("user[%s]: %s", m.Name, m.Content))
		default:
			a.messages = append(a.messages, m.Role+": "+m.Content)
		}
	}
	return a, nil
}

// words is a result as AutoGen would say it: a text without quotes, a failure's
// own words, else JSON.
func words(result string) string {
	var text string
	if json.Unmarshal([]byte(result), &text) == nil {
		return text
	}
	var failure struct{ Error json.RawMessage }
	if json.Unmarshal([]byte(result), &failure) != nil || failure.Error == nil {
		return result
	}
	var detail struct{ Message string }
	if json.Unmarshal(failure.Error, &detail) == nil && detail.Message != "" {
		return detail.Message
	}
	return words(string(failure.Error))
}
