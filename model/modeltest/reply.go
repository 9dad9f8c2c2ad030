package modeltest

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

// Fault is how a reply goes wrong.
type Fault string

// Faults. They strike after FaultAfter deltas, before the finish reason.
const (
	NoFault   Fault = ""
	Cut       Fault = "cut"       // the body ends as if it were whole
	HalfLine  Fault = "half line" // the body ends inside a frame
	Abort     Fault = "abort"     // the connection breaks
	Hang      Fault = "hang"      // nothing more comes until the client leaves
	MidError  Fault = "error"     // an error object instead of a frame
	Garbage   Fault = "garbage"   // bytes that are no event stream
	NoDone    Fault = "no done"   // all is said, but the body ends without [DONE]
	Heartbeat Fault = "heartbeat" // 1,000 comment lines, and then it goes on well
)

// Reply is one scripted answer. The zero value is an empty text.
type Reply struct {
	Text    string
	Thought string               // before the text
	Calls   []agents.CallRequest // after it, their arguments split in pieces
	Finish  string               // empty: stop, or tool_calls with Calls
	Usage   agents.Usage         // zero: words are counted

	Chunks int           // deltas of Text; 0: one per word
	Delay  time.Duration // before each delta; 0: all is written at once

	Fault      Fault
	FaultAfter int

	Status     int    // other than 0 and 200: refused
	RetryAfter string // header
	Body       string // of a refusal, or instead of all of the above when Raw
	Raw        bool

	frames [][]byte
}

// Rendered gives a copy whose bytes are ready, for a reply that is given many
// times. Server.Always does this by itself.
func (r Reply) Rendered() Reply {
	r.frames = r.render()
	return r
}

// render makes the frames: deltas, then the rest in one piece.
func (r *Reply) render() [][]byte {
	if r.Raw {
		return [][]byte{[]byte(r.Body)}
	}
	var out [][]byte
	out = append(out, frame(obj{"role": "assistant", "content": ""}, nil))
	for _, s := range words(r.Thought) {
		out = append(out, frame(obj{"reasoning_content": s}, nil))
	}
	for _, s := range r.pieces() {
		out = append(out, frame(obj{"content": s}, nil))
	}
	for i, c := range r.Calls {
		out = append(out, callFrames(i, c)...)
	}
	if i := 1 + r.FaultAfter; r.Fault != NoFault && r.Fault != NoDone {
		return r.spoil(out, min(i, len(out)))
	}
	return append(out, r.end())
}

func (r *Reply) pieces() []string {
	if r.Chunks == 0 {
		return words(r.Text)
	}
	var out []string
	runes := []rune(r.Text)
	for i := range r.Chunks {
		out = append(out, string(runes[i*len(runes)/r.Chunks:(i+1)*len(runes)/r.Chunks]))
	}
	return out
}

// callFrames opens a call in one frame and spreads its arguments over more.
func callFrames(i int, c agents.CallRequest) [][]byte {
	delta := func(call obj) []byte {
		call["index"] = i
		return frame(obj{"tool_calls": []obj{call}}, nil)
	}
	head := obj{"type": "function", "function": obj{"name": c.Tool, "arguments": ""}}
	if c.ID != "" {
		head["id"] = c.ID
	}
	out := [][]byte{delta(head)}
	for args := c.Arguments; args != ""; {
		n := min(len(args), 7)
		out = append(out, delta(obj{"function": obj{"arguments": args[:n]}}))
		args = args[n:]
	}
	return out
}

// spoil replaces what comes from frame i on by the fault.
func (r *Reply) spoil(frames [][]byte, i int) [][]byte {
	rest := append(bytes.Join(frames[i:], nil), r.end()...)
	frames = append([][]byte{}, frames[:i]...)
	switch r.Fault {
	case HalfLine:
		return append(frames, []byte(`data: {"id":"x","choices":[{"index":0,"del`))
	case MidError:
		return append(frames, []byte("data: { \"error\": {\"message\": \"secret-detail\", \"code\": \"server_error\"}}\n\n"))
	case Garbage:
		return append(frames, []byte("<html>\x00\xff secret-detail</html>\n\n"))
	case Heartbeat:
		return append(frames, bytes.Repeat([]byte(": PROCESSING\n\n"), 1000), rest)
	case Cut, Abort, Hang, NoFault, NoDone:
	}
	return frames
}

// end is the finish reason, the usage and the end marker.
func (r *Reply) end() []byte {
	finish, u := r.Finish, r.Usage
	if finish == "" {
		finish = "stop"
		if len(r.Calls) > 0 {
			finish = "tool_calls"
		}
	}
	if u.Total() == 0 {
		u.PromptTokens, u.CompletionTokens = 1, int64(len(words(r.Text)))
	}
	out := append(frame(obj{}, &finish), usage(u)...)
	if r.Fault != NoDone {
		out = append(out, "data: [DONE]\n\n"...)
	}
	return out
}

type obj map[string]any

// frame is one event in the form that OpenAI sends it.
func frame(delta obj, finish *string) []byte {
	return event(struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int    `json:"created"`
		Model   string `json:"model"`
		Print   string `json:"system_fingerprint"`
		Choices []any  `json:"choices"`
		Usage   *int   `json:"usage"`
	}{"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "chat.completion.chunk", 1741569952, "scripted", "fp_44709d6fcb", []any{
		struct {
			Index    int     `json:"index"`
			Delta    obj     `json:"delta"`
			Logprobs *int    `json:"logprobs"`
			Finish   *string `json:"finish_reason"`
		}{0, delta, nil, finish},
	}, nil})
}

func usage(u agents.Usage) []byte {
	return event(obj{"id": "chatcmpl-x", "choices": []any{}, "usage": obj{
		"prompt_tokens": u.PromptTokens, "completion_tokens": u.CompletionTokens, "total_tokens": u.Total(),
	}})
}

func event(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("modeltest: " + err.Error())
	}
	return append(append([]byte("data: "), b...), "\n\n"...)
}

// words cuts a text after its spaces.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.SplitAfter(s, " ")
}
