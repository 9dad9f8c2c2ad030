package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/google/go-cmp/cmp"
	"github.com/sashabaranov/go-openai"
)

// TestPromptsBecomeRequests compares what the server gets with
// testdata/request/NAME.json.
func TestPromptsBecomeRequests(t *testing.T) {
	zero := 0.0
	long := `{"type":"object","properties":{"customer_id":{"type":"string"}},"required":["customer_id"]}`
	prompts := map[string]*agents.Prompt{
		"conversation": {
			System: "You are support.",
			Messages: []agents.PromptMessage{
				{Role: agents.RoleUser, Name: "Zoë O'Neil <script>", Text: "Refund O-1 for C-1."},
				{Role: agents.RoleAssistant, Calls: []agents.CallRequest{{ID: "c1", Tool: "get_customer", Arguments: `{"customer_id":"C-1"}`}, {ID: "c2", Tool: "ping"}}},
				{Role: agents.RoleTool, CallID: "c1", Tool: "get_customer", Text: `{"name":"Ada"}`},
				{Role: agents.RoleTool, CallID: "c2", Tool: "ping"},
				{Role: agents.RoleAssistant},
				{Role: agents.RoleUser},
			},
			Tools:      []agents.Spec{{Name: "get_customer", Description: "Looks up.", Schema: json.RawMessage(long)}, {Name: "ping"}},
			ToolChoice: agents.ToolRequired,
		},
		"memory": {System: "You are support.", Messages: []agents.PromptMessage{
			{Role: agents.RoleUser, Name: "ana", Text: "hi"}, {Role: agents.RoleSystem, Text: "1. likes pizza"},
		}},
		"sampling": {Messages: ask("hi").Messages, Temperature: &zero, MaxTokens: 100, ToolChoice: agents.ToolNone},
		"schema":   {Messages: ask("hi").Messages, Schema: json.RawMessage(`{"type":"object"}`)},
		"parts": {Messages: []agents.PromptMessage{{Role: agents.RoleUser, Text: "What is this?", Parts: []agents.Part{
			{URI: "https://example.com/a.png"}, {Text: "and"}, {JSON: `{"x":1}`}, {URI: "data:image/png;base64,AAAA"},
		}}}},
	}
	for name, p := range prompts {
		t.Run(name, func(t *testing.T) { golden(t, filepath.Join("testdata/request", name+".json"), sent(t, "gpt", p)) })
	}
}

func sent(t *testing.T, model string, p *agents.Prompt) []byte {
	t.Helper()
	s := modeltest.NewServer(t)
	s.Always(model, modeltest.Reply{Text: "yes"})
	if _, _, err := collect(t, named(t, s, model).Generate(t.Context(), p)); err != nil {
		t.Fatal(err)
	}
	return s.Requests()[0].Body
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("got (+), want (-):\n%s", diff)
	}
}

func TestPromptComesBeforeTheModelsOwnSampling(t *testing.T) {
	warm, cold := 0.9, 0.5
	m := newModel(t, "http://h", func(c *OpenAIConfig) { c.Temperature, c.MaxTokens = &warm, 70 })
	own := ask("hi")
	own.Temperature, own.MaxTokens = &cold, 5

	byModel, err := m.request(ask("hi"))
	if err != nil {
		t.Fatal(err)
	}
	byPrompt, err := m.request(own)
	if err != nil {
		t.Fatal(err)
	}

	if byModel.Temperature != 0.9 || byModel.MaxTokens != 70 || byPrompt.Temperature != 0.5 || byPrompt.MaxTokens != 5 {
		t.Errorf("got %v %d and %v %d", byModel.Temperature, byModel.MaxTokens, byPrompt.Temperature, byPrompt.MaxTokens)
	}
}

// The library refuses these by the name alone, before anything is sent.
func TestNamesOfReasoningModelsPassTheLibrarysChecks(t *testing.T) {
	warm := 0.3
	for _, name := range []string{"o1-local", "o3", "o4-mini", "gpt-5", "gpt-5-local", openai.GPT6Luna, openai.GPT6Sol} {
		p := ask("hi")
		p.Temperature, p.MaxTokens = &warm, 50
		p.Tools = []agents.Spec{{Name: "ping"}}

		var req map[string]any
		if err := json.Unmarshal(sent(t, name, p), &req); err != nil {
			t.Fatal(err)
		}

		if req["max_completion_tokens"] != 50.0 || req["temperature"] != nil || req["max_tokens"] != nil {
			t.Errorf("%s: got %v", name, req)
		}
	}
}

func TestWhatTheLibraryRefusesIsTyped(t *testing.T) {
	s := modeltest.NewServer(t)
	p := ask("hi")
	p.Tools = []agents.Spec{{Name: "ping"}}
	broken := ask("hi")
	broken.Schema = json.RawMessage(`{"canary`)

	_, _, err := collect(t, named(t, s, openai.GPT6Astra).Generate(t.Context(), p))
	_, _, marshal := collect(t, named(t, s, "gpt").Generate(t.Context(), broken))

	wantUnavailable(t, err, nil)
	wantUnavailable(t, marshal, nil)
	if !strings.Contains(err.Error(), "Responses API") || strings.Contains(marshal.Error(), "canary") || s.Count() != 0 {
		t.Errorf("got %v, %v", err, marshal)
	}
}

func TestPartsThatAServerWouldReadForUsAreRefused(t *testing.T) {
	for _, uri := range []string{"file:///etc/passwd", "ftp://h/x", "https://u:p@h/x", "https:///x", "data:text/html,x", "x.png", "%zz"} {
		p := ask("hi")
		p.Messages[0].Parts = []agents.Part{{URI: uri}}

		_, _, err := collect(t, newModel(t, "http://127.0.0.1:1").Generate(t.Context(), p))

		if !errors.Is(err, fault.ArgumentInvalid) || strings.Contains(err.Error(), uri) {
			t.Errorf("%s: got %v, want ARGUMENT_INVALID", uri, err)
		}
	}
}

func TestUnknownRoleIsRefused(t *testing.T) {
	p := &agents.Prompt{Messages: []agents.PromptMessage{{Role: "developer", Text: "x"}}}

	_, _, err := collect(t, newModel(t, "http://127.0.0.1:1").Generate(t.Context(), p))

	if err == nil || errors.Is(err, fault.ModelUnavailable) {
		t.Errorf("got %v, want a plain error", err)
	}
}

// What is written by hand is what the library writes.
func TestBodiesByHandAreTheLibrarys(t *testing.T) {
	warm := 0.7
	m := newModel(t, "http://h")
	for name, p := range map[string]*agents.Prompt{
		"plain": ask("hi"),
		"hostile": {
			System:   "a \"quote\" and \\ and \x00 and \u2028 and <b> and ü and \xff",
			Messages: []agents.PromptMessage{{Role: agents.RoleUser, Name: "Zoë", Text: "\r\n\t"}, {Role: agents.RoleAssistant}},
		},
		"everything": {
			System: "You are support.", Temperature: &warm, MaxTokens: 70, ToolChoice: agents.ToolRequired,
			Messages: []agents.PromptMessage{
				{Role: agents.RoleUser, Text: "x"},
				{Role: agents.RoleAssistant, Text: "I look", Calls: []agents.CallRequest{{ID: "c1", Tool: "get", Arguments: `{"a":"b"}`}, {ID: "c2", Tool: "ping"}}},
				{Role: agents.RoleTool, CallID: "c1", Text: `{"name":"Ada"}`},
				{Role: agents.RoleTool, CallID: "c2"},
			},
			Tools: []agents.Spec{{Name: "get", Description: "Looks “up”.", Schema: json.RawMessage(" { \"type\" : \"object\" } ")}, {Name: "ping"}},
		},
	} {
		req, err := m.request(p)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := appendBody(nil, &req)
		req.Stream = true
		text, err := json.Marshal(req)
		if err != nil || !ok {
			t.Fatalf("%s: got %v, %v", name, ok, err)
		}
		var want, have any
		if err := errors.Join(json.Unmarshal(text, &want), json.Unmarshal(got, &have)); err != nil {
			t.Fatalf("%s: %v: %s", name, err, got)
		}
		if diff := cmp.Diff(have, want); diff != "" {
			t.Errorf("%s: got, want:\n%s", name, diff)
		}
	}
}

func TestUnusualBodiesAreLeftToTheLibrary(t *testing.T) {
	m := newModel(t, "http://h")
	schema, parts, broken := ask("hi"), ask("hi"), ask("hi")
	schema.Schema = json.RawMessage(`{}`)
	parts.Messages[0].Parts = []agents.Part{{URI: "https://example.com/a.png"}}
	broken.Tools = []agents.Spec{{Name: "ping", Schema: json.RawMessage(`{"x`)}}
	for name, p := range map[string]*agents.Prompt{"schema": schema, "parts": parts, "broken schema": broken} {
		req, err := m.request(p)
		if err != nil {
			t.Fatal(err)
		}
		if body, ok := appendBody(nil, &req); ok {
			t.Errorf("%s: got %s", name, body)
		}
	}
}
