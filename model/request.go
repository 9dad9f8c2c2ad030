package model

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/sashabaranov/go-openai"
	"google.golang.org/grpc/codes"
)

// empty stands for a text without characters: the library leaves out an empty
// content, and servers refuse a message without one.
const empty = "(empty)"

func (m *OpenAI) request(p *agents.Prompt) (openai.ChatCompletionRequest, error) {
	msgs, err := messages(p)
	if err != nil {
		return openai.ChatCompletionRequest{}, err
	}
	req := openai.ChatCompletionRequest{
		Model:         m.cfg.Model,
		Messages:      msgs,
		StreamOptions: &openai.StreamOptions{IncludeUsage: true},
	}
	offer(&req, p)
	if len(p.Schema) > 0 {
		req.ResponseFormat = &openai.ChatCompletionResponseFormat{
			Type:       openai.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{Name: "answer", Schema: p.Schema},
		}
	}
	m.sample(&req, p)
	return req, nil
}

// offer adds the tools. Strict stays off: it demands schemas of a form that
// gRPC methods and MCP servers do not have, and the gate checks arguments anyway.
func offer(req *openai.ChatCompletionRequest, p *agents.Prompt) {
	for _, s := range p.Tools {
		schema := s.Schema
		if len(schema) == 0 {
			schema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		f := &openai.FunctionDefinition{Name: s.Name, Description: s.Description, Parameters: schema}
		req.Tools = append(req.Tools, openai.Tool{Type: openai.ToolTypeFunction, Function: f})
	}
	if len(req.Tools) > 0 && p.ToolChoice != agents.ToolAuto {
		req.ToolChoice = string(p.ToolChoice)
	}
}

// sample sets temperature and length. The library refuses, by the name alone
// and also for a local server, what reasoning models do not take: a temperature
// and max_tokens.
func (m *OpenAI) sample(req *openai.ChatCompletionRequest, p *agents.Prompt) {
	tokens, temperature := or(p.MaxTokens, m.cfg.MaxTokens), or(p.Temperature, m.cfg.Temperature)
	if reasons(req.Model) {
		req.MaxCompletionTokens = tokens
		if len(req.Tools) > 0 && (req.Model == openai.GPT6Sol || req.Model == openai.GPT6Luna) {
			req.ReasoningEffort = openai.ReasoningEffortNone // or they take no tools here
		}
		return
	}
	req.MaxTokens = tokens //nolint:staticcheck // compatible servers do not know max_completion_tokens
	if temperature != nil {
		// A zero is left out of the JSON, which means 1.
		req.Temperature = max(float32(*temperature), math.SmallestNonzeroFloat32)
	}
}

func reasons(model string) bool {
	for _, family := range [...]string{"o1", "o3", "o4", "gpt-5", "gpt-6"} {
		if strings.HasPrefix(model, family) {
			return true
		}
	}
	return false
}

func messages(p *agents.Prompt) ([]openai.ChatCompletionMessage, error) {
	out := make([]openai.ChatCompletionMessage, 0, len(p.Messages)+1)
	if p.System != "" {
		out = append(out, openai.ChatCompletionMessage{Role: openai.ChatMessageRoleSystem, Content: p.System})
	}
	for i := range p.Messages {
		m, err := message(&p.Messages[i])
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func message(m *agents.PromptMessage) (openai.ChatCompletionMessage, error) {
	out := openai.ChatCompletionMessage{Role: string(m.Role), Content: m.Text}
	switch m.Role {
	case agents.RoleUser:
		out.Name = sanitize(m.Name)
		if err := addParts(&out, m.Parts); err != nil {
			return out, err
		}
	case agents.RoleAssistant:
		out.ToolCalls = toolCalls(m.Calls)
	case agents.RoleTool:
		out.ToolCallID = m.CallID
	case agents.RoleSystem: // such as what a memory gave; servers take it anywhere
	default:
		return out, fmt.Errorf("model: no such role: %q", m.Role)
	}
	if out.Content == "" && out.MultiContent == nil && out.ToolCalls == nil {
		out.Content = empty
	}
	return out, nil
}

// toolCalls repeats what a reply asked for. Arguments that were empty become an
// empty object, because the library would leave them out.
func toolCalls(calls []agents.CallRequest) []openai.ToolCall {
	var out []openai.ToolCall
	for _, c := range calls {
		f := openai.FunctionCall{Name: c.Tool, Arguments: or(c.Arguments, "{}")}
		out = append(out, openai.ToolCall{ID: c.ID, Type: openai.ToolTypeFunction, Function: f})
	}
	return out
}

// addParts adds the pieces of a multi-part input after its text.
func addParts(out *openai.ChatCompletionMessage, parts []agents.Part) error {
	var list []openai.ChatMessagePart
	if out.Content != "" {
		list = append(list, textPart(out.Content))
	}
	for _, p := range parts {
		switch {
		case p.URI != "":
			if !fetchable(p.URI) {
				return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "a part's URI must be an https or http URL, or a data URI of an image")
			}
			img := &openai.ChatMessageImageURL{URL: p.URI}
			list = append(list, openai.ChatMessagePart{Type: openai.ChatMessagePartTypeImageURL, ImageURL: img})
		case p.Text != "" || p.JSON != "":
			list = append(list, textPart(or(p.Text, p.JSON)))
		}
	}
	if len(parts) > 0 && len(list) > 0 {
		out.Content, out.MultiContent = "", list
	}
	return nil
}

func textPart(s string) openai.ChatMessagePart {
	return openai.ChatMessagePart{Type: openai.ChatMessagePartTypeText, Text: s}
}

// fetchable keeps file: and the like from a server that runs beside us: it
// would read them with its own rights.
func fetchable(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "https", "http":
		return u.Host != "" && u.User == nil
	case "data":
		return strings.HasPrefix(u.Opaque, "image/")
	}
	return false
}

// sanitize keeps what the protocol allows in a name.
func sanitize(name string) string {
	ok := func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}
	name = strings.Map(ok, name)
	return name[:min(len(name), 64)]
}
