package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/behalf-dev/behalf/fault"
)

// Agent is a function from a transcript to a stream of events. Teams are agents.
//
// The stream is lazy: nothing starts before it is ranged over. It ends with a
// RunFinished, an error, or because only answers of others are missing (the
// transcript holds their pauses); a member of a team also ends with its own
// HandedOff. Nothing follows. The consumer's loop body is the commit: when yield returns true the
// event has been stamped and appended to the transcript, and durably so if its
// body is a barrier (see Event.Barrier). When the consumer breaks, Run cancels
// and waits for what it started, then returns.
//
// Run may be called for any prefix of a transcript and continues it. One
// transcript is run by one Run at a time; one Agent may run many transcripts.
type Agent interface {
	Name() string
	Run(ctx context.Context, t *Transcript) iter.Seq2[Event, error]
}

// Model is a language model. Generate streams chunks; the last one, and only
// the last, carries Done. A stream that ends without it was cut off and is an
// error. Generate may be called by many goroutines.
type Model interface {
	Generate(ctx context.Context, p *Prompt) iter.Seq2[Chunk, error]
}

// Toolbox is what an agent may reach. Specs lists the tools that the grant in
// ctx may see. Shown gives the arguments of a request as they may be shown to the
// client, the log and models before it is decided on: mostly as they are. Call governs and performs one call; its events end with a
// ToolCallFinished or a pause; a resumed call that still waits may yield nothing.
// A tool that fails is a result (Failed), an error ends the run. The caller fills
// Source, Chain, Thread and CallID of events that name no other thread. All may be called by many goroutines.
type Toolbox interface {
	Specs(ctx context.Context) iter.Seq2[Spec, error]
	Shown(ctx context.Context, c CallRequest) string
	Call(ctx context.Context, c ToolCall) iter.Seq2[Event, error]
}

// Spec is a tool as a model sees it.
type Spec struct {
	Name        string
	Description string
	Schema      json.RawMessage // JSON Schema of the arguments, an object
}

// ToolCall is one call that a model asked for. ID is the server's call id (run
// id, slash, sequence of the request), the same after a resume.
type ToolCall struct {
	ID        string
	SessionID string
	RunID     string
	Thread    string
	Name      string
	Arguments string // exact JSON text as the model wrote it: hostile
	// Resumed says that an earlier process may have begun this call: the
	// transcript holds a decision for it and no result.
	Resumed bool
	// Transcript reads the calling agent's thread. A nested run opens its own
	// with Sub and yields its events, each with its thread.
	Transcript *Transcript
	// Refused says that the call makes no sense: it is not made. The toolbox puts
	// that on record and answers with a failed result.
	Refused *fault.Error
	// ApprovalID is the approval that the caller of a direct call brings along.
	ApprovalID string
	// Ordinal counts the earlier calls of the same tool in the same reply.
	Ordinal int
}

// Prompt is one question to a model. It is read-only for the model.
type Prompt struct {
	Agent       string // who asks
	System      string
	Messages    []PromptMessage
	Tools       []Spec
	ToolChoice  ToolChoice
	Schema      json.RawMessage // of the answer, nil for free text
	Temperature *float64
	MaxTokens   int // of the answer, 0: the model's own limit
}

// ToolChoice says whether the model may, must or must not call tools.
type ToolChoice string

// Choices; the zero value is auto.
const (
	ToolAuto     ToolChoice = ""
	ToolNone     ToolChoice = "none"
	ToolRequired ToolChoice = "required"
)

// PromptMessage is one message as a model sees it.
type PromptMessage struct {
	Role   PromptRole
	Name   string // who said it, for user messages
	Text   string
	Parts  []Part
	Calls  []CallRequest // assistant messages
	CallID string        // tool messages: the model's own id of the call
	Tool   string        // tool messages: the tool's name
	Failed bool          // tool messages
}

// PromptRole is who speaks in a prompt.
type PromptRole string

// Roles of the chat completion format. A message never has the role system; a
// prompt has it for what is told besides the instructions.
const (
	RoleSystem    PromptRole = "system"
	RoleUser      PromptRole = "user"
	RoleAssistant PromptRole = "assistant"
	RoleTool      PromptRole = "tool"
)

// CallRequest is one tool call inside a model's reply.
type CallRequest struct {
	ID        string // the model's own id, unique in one reply
	Tool      string
	Arguments string // exact text, or what may be shown of it
	// Written is what the model wrote where something was taken out of Arguments. It
	// is for the toolbox alone and lives in memory: who resumes the run has what is
	// shown, which is also what would be sent.
	Written string
}

// exact are the arguments as the model wrote them, as far as they are known.
func (c *CallRequest) exact() string { return cmp.Or(c.Written, c.Arguments) }

// Chunk is a piece of a model's reply. Text and Thought are deltas, in order.
type Chunk struct {
	Text    string
	Thought string
	Done    *Reply // only on the last chunk
}

// Reply closes a model's answer. The text is what the chunks said.
type Reply struct {
	Calls  []CallRequest
	Usage  Usage
	Finish string // the provider's finish reason: stop, tool_calls, length, …
}

// Usage counts tokens and calls.
type Usage struct {
	PromptTokens     int64
	CompletionTokens int64
	ModelCalls       int64
}

// Add sums two usages.
func (u Usage) Add(o Usage) Usage {
	return Usage{u.PromptTokens + o.PromptTokens, u.CompletionTokens + o.CompletionTokens, u.ModelCalls + o.ModelCalls}
}

// Total is prompt plus completion tokens.
func (u Usage) Total() int64 { return u.PromptTokens + u.CompletionTokens }

// Limits bound one run. Zero values mean the agent's own limits.
type Limits struct {
	MaxTurns  int
	MaxTokens int64
	Timeout   time.Duration
}
