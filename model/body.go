package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sashabaranov/go-openai"
)

// appendBody writes the requests that are nearly all: a conversation of texts,
// calls and results, with or without tools. It writes what the library would,
// by hand, because reflection costs more there than everything else that is done
// to ask. Anything unusual gives false and goes to the library.
func appendBody(b []byte, r *openai.ChatCompletionRequest) ([]byte, bool) {
	if r.ResponseFormat != nil || r.ReasoningEffort != "" || r.MaxCompletionTokens != 0 {
		return nil, false
	}
	b = appendText(append(b, `{"model":`...), r.Model)
	b = append(b, `,"messages":[`...)
	for i := range r.Messages {
		m := &r.Messages[i]
		if m.MultiContent != nil || m.Refusal != "" || m.ReasoningContent != "" || m.FunctionCall != nil {
			return nil, false
		}
		b = appendMessage(comma(b, i), m)
	}
	b = append(b, ']')
	if r.MaxTokens != 0 { //nolint:staticcheck // see sample
		b = appendValue(append(b, `,"max_tokens":`...), r.MaxTokens) //nolint:staticcheck // see sample
	}
	if r.Temperature != 0 {
		b = appendValue(append(b, `,"temperature":`...), r.Temperature)
	}
	b = append(b, `,"stream":true`...)
	b, ok := appendTools(b, r.Tools)
	if choice, _ := r.ToolChoice.(string); choice != "" {
		b = appendText(append(b, `,"tool_choice":`...), choice)
	}
	return append(b, `,"stream_options":{"include_usage":true}}`...), ok
}

func appendMessage(b []byte, m *openai.ChatCompletionMessage) []byte {
	b = appendText(append(b, `{"role":`...), m.Role)
	b = appendField(b, `,"content":`, m.Content)
	b = appendField(b, `,"name":`, m.Name)
	for i, c := range m.ToolCalls {
		if i == 0 {
			b = append(b, `,"tool_calls":[`...)
		}
		b = appendText(append(comma(b, i), `{"id":`...), c.ID)
		b = appendText(append(b, `,"type":`...), string(c.Type))
		b = appendText(append(b, `,"function":{"name":`...), c.Function.Name)
		b = append(appendText(append(b, `,"arguments":`...), c.Function.Arguments), "}}"...)
	}
	if len(m.ToolCalls) > 0 {
		b = append(b, ']')
	}
	return append(appendField(b, `,"tool_call_id":`, m.ToolCallID), '}')
}

// appendTools says false for a schema that is not JSON.
func appendTools(b []byte, tools []openai.Tool) ([]byte, bool) {
	if len(tools) == 0 {
		return b, true
	}
	b = append(b, `,"tools":[`...)
	for i, t := range tools {
		schema, ok := t.Function.Parameters.(json.RawMessage)
		if !ok || t.Function.Strict {
			return b, false
		}
		b = appendText(append(comma(b, i), `{"function":{"name":`...), t.Function.Name)
		b = appendField(b, `,"description":`, t.Function.Description)
		compact := bytes.NewBuffer(append(b, `,"parameters":`...))
		if json.Compact(compact, schema) != nil {
			return b, false
		}
		b = append(compact.Bytes(), `},"type":"function"}`...)
	}
	return append(b, ']'), true
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

// appendField leaves out what is empty.
func appendField(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return appendText(append(b, name...), v)
}

// appendText writes a JSON string. One that needs escapes is left to
// encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return appendValue(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendValue writes a string or a number.
func appendValue(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("model: a string or a finite number cannot be encoded: " + err.Error())
	}
	return append(b, text...)
}

// errKept says that the exchange keeps the response, and that the library must
// make no reader for it.
var errKept = errors.New("the response is read elsewhere")

// post sends a body that appendBody wrote, as the library sends its own.
func (x *exchange) post(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-cache")
	return x.ask(req)
}

// passes reports whether the library has nothing against the model's name: some
// it refuses, some only with certain fields. It sends nothing.
func passes(cfg openai.ClientConfig, model string) bool {
	if reasons(model) {
		return false
	}
	cfg.HTTPClient = keeps{}
	_, err := openai.NewClientWithConfig(cfg).CreateChatCompletionStream(context.Background(), openai.ChatCompletionRequest{
		Model: model, Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: empty}},
	})
	return errors.Is(err, errKept)
}

type keeps struct{}

func (keeps) Do(*http.Request) (*http.Response, error) { return nil, errKept }
