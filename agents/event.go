package agents

import (
	"cmp"
	"math"
	"time"
)

// Event is one thing that happened in a run. An agent fills Source, Chain,
// Thread, MessageID, CallID (of events about a call) and Body; the consumer
// stamps the rest when it commits.
type Event struct {
	Sequence  uint64 // gapless per session from 1; 0 on live events
	Time      time.Time
	RunID     string
	SessionID string
	Source    string   // the agent, "user" for input, empty for the run itself
	Chain     []string // agents from the outermost to Source
	Thread    string   // empty at the top; the call or turn of a nested run
	CallID    string   // run id, slash, sequence of the ToolCallRequested
	MessageID string
	Body      Body
}

// Body is what happened: one of the types of this file.
type Body interface{ body() }

// Live reports whether the event is for watchers only and never stored.
func (e *Event) Live() bool {
	switch e.Body.(type) {
	case TextDelta, ThoughtDelta, ToolCallProgress:
		return true
	}
	return false
}

// Barrier reports whether the event must be durable, with all before it, before
// the agent goes on: before a tool's effect, a pause or the end.
func (e *Event) Barrier() bool {
	if d, ok := e.Body.(ToolCallDecided); ok {
		return d.Decision == Allowed
	}
	_, end := e.Body.(RunFinished)
	return end || e.Pause()
}

// Pause reports whether the run waits for somebody from here on.
func (e *Event) Pause() bool {
	switch e.Body.(type) {
	case ApprovalRequested, InputRequested, CredentialRequired:
		return true
	}
	return false
}

// Decision is the guard's answer to a tool call.
type Decision string

// Decisions of DESIGN 8.
const (
	Allowed Decision = "allow"
	Denied  Decision = "deny"
	Waiting Decision = "wait"
)

// Stop reasons of a RunFinished.
const (
	StopCompleted = "completed"
	StopMaxTurns  = "max_turns"
	StopMaxTokens = "max_tokens"
	StopTimeout   = "timeout"
	StopCancelled = "cancelled"
	StopFailed    = "failed"
)

// MessageKind is what a message is for the conversation.
type MessageKind string

// Kinds; the zero value is plain text, alone or with parts.
const (
	KindText        MessageKind = ""
	KindToolCalls   MessageKind = "tool_calls"   // asks for tool calls; peers do not see it
	KindToolSummary MessageKind = "tool_summary" // the results of the last calls in words
	KindStructured  MessageKind = "structured"
	KindHandoff     MessageKind = "handoff"
	KindStop        MessageKind = "stop" // asks the group chat to stop
)

// Speaker is the public face of a verified person in a transcript.
type Speaker struct{ Tenant, Subject, Name string }

// Part is a piece of a multi-part input: exactly one field is set.
type Part struct {
	Text string
	JSON string // exact JSON text
	URI  string // of an image or file that the model may fetch
}

type (
	// RunStarted opens a run. It carries public facts only; the grant's record
	// is kept elsewhere under GrantID.
	RunStarted struct {
		Target        string // agent or group chat
		GroupChat     bool
		GrantID       string
		User          Speaker // empty for a workload that calls alone
		Workload      string
		Scopes        []string // effective at the start
		Tier          string
		RequestID     string
		RequestDigest string
		Labels        map[string]string
		Limits        Limits
	}
	// TurnStarted opens one turn of Source. Turn counts from 1 in each run.
	TurnStarted struct{ Turn int }
	// TextDelta is live text of the message with the event's MessageID.
	TextDelta struct{ Text string }
	// ThoughtDelta is live reasoning of the message with the event's MessageID.
	ThoughtDelta struct{ Text string }
	// Message is something said: input (Role user) or an agent's reply.
	Message struct {
		Role       PromptRole // RoleUser or RoleAssistant
		Kind       MessageKind
		Text       string
		Parts      []Part
		Structured string // JSON text of a structured reply
		Thought    string
		Calls      []CallRequest // what the reply asks for
		Usage      Usage
		Speaker    Speaker // of input
		// Incomplete says that the reply was cut off by a cancellation or an error,
		// or, for KindStructured, that it did not fit its schema: Parts holds why.
		Incomplete bool
		// HandoffTo is who shall speak next, for KindHandoff. Such a message may
		// bring along what its author did first: Calls, for each call a part with
		// its result (JSON: it succeeded, Text: it failed), and Thought. Without Calls
		// a JSON part may be an earlier message of the conversation: {"name", "text"}.
		HandoffTo string
	}
	// ToolCallRequested gives a call its id: the event's CallID.
	ToolCallRequested struct {
		Tool        string
		Arguments   string // as the model wrote them
		ModelCallID string
		MessageID   string // of the reply that asked
	}
	// ToolCallDecided is the guard's answer; on allow it is durable before the effect.
	ToolCallDecided struct {
		Decision  Decision
		Reason    string // ErrorReason name, empty on allow
		PolicyIDs []string
		Duties    []string
	}
	// ToolCallProgress is live: how far a call has come, as its backend says. No
	// model reads it.
	ToolCallProgress struct {
		Done, Total float64 // finite and not negative; Total 0: it is not known
		Message     string  // the backend's text: one clean line, bounded, and hostile
	}
	// ToolCallFinished is a call's result, redacted, as the model reads it.
	ToolCallFinished struct {
		Failed   bool
		Result   string // JSON text
		Reason   string // ErrorReason name of a refusal
		Duration time.Duration
	}
	// HandedOff makes To the active agent, narrowed to Scopes (nil: no further narrowing).
	HandedOff struct {
		To          string
		Scopes      *[]string
		ModelCallID string
		From        string
		Message     string // what To is told
	}
	// SpeakerSelected names who speaks next in a group chat.
	SpeakerSelected struct {
		Speakers []string
		Reason   string // order, only_candidate, model, handoff, rule, edge, ledger or fallback
		Usage    Usage  // of the model calls of the choice
	}
	// PlanUpdated is one step of an orchestrator's thinking: facts, or the plan
	// with them, or a ledger; with none of them, what calls used that led to
	// nothing. A plan begins a new generation of participants. A Coder's verdict on
	// code that failed is a ledger too.
	PlanUpdated struct {
		Plan   string
		Facts  string
		Ledger string // exact JSON text
		Stalls int    // turns without progress, less those with; of a Coder: tries that failed
		Usage  Usage  // of the model calls for it
	}
	// MemoryRecalled is what a memory added to the context.
	MemoryRecalled struct{ Items []string }
	// ApprovalRequested pauses until a person decides.
	ApprovalRequested struct {
		ApprovalID string
		Tool       string
		Digest     string
		Approvers  []string // Cedar entities, e.g. Role::"manager": all of them
		Expires    time.Time
	}
	// ApprovalDecided ends that wait.
	ApprovalDecided struct {
		ApprovalID string
		Approved   bool
		Expired    bool // nobody decided in time
		Approver   Speaker
		Comment    string
	}
	// InputRequested pauses until a person answers.
	InputRequested struct {
		InputRequestID string
		Prompt         string
		From           string
	}
	// InputReceived ends that wait.
	InputReceived struct {
		InputRequestID string
		Text           string
		Parts          []Part
		Speaker        Speaker
	}
	// CredentialRequired pauses until the run's person presents a fresh credential.
	CredentialRequired struct{}
	// RunFinished ends a run, or in a thread a nested one.
	RunFinished struct {
		StopReason string
		Output     string
		Structured string
		Usage      Usage
		Reason     string // ErrorReason name when StopReason is failed
		// ErrorMessage is what a person may read about the failure.
		ErrorMessage string
	}
)

// Text is what everybody reads of the hand-off.
func (h *HandedOff) Text() string { return cmp.Or(h.Message, transferred(h.To)) }

// HandsOff says by the tool's name that the call is a hand-off, whoever offers it.
func (r *ToolCallRequested) HandsOff() bool { return transfers(r.Tool) }

func (RunStarted) body()         {}
func (TurnStarted) body()        {}
func (TextDelta) body()          {}
func (ThoughtDelta) body()       {}
func (Message) body()            {}
func (ToolCallRequested) body()  {}
func (ToolCallDecided) body()    {}
func (ToolCallProgress) body()   {}
func (ToolCallFinished) body()   {}
func (HandedOff) body()          {}
func (SpeakerSelected) body()    {}
func (PlanUpdated) body()        {}
func (MemoryRecalled) body()     {}
func (ApprovalRequested) body()  {}
func (ApprovalDecided) body()    {}
func (InputRequested) body()     {}
func (InputReceived) body()      {}
func (CredentialRequired) body() {}
func (RunFinished) body()        {}

// Veiled is what of the progress may be shown where something is taken out of what the
// backend says: how many hundredths are done, or nothing. Its words, and its numbers,
// may say what is hidden, in pieces that no detector finds.
func (p ToolCallProgress) Veiled() ToolCallProgress {
	if p.Done < 0 || p.Total <= 0 || p.Done > p.Total {
		return ToolCallProgress{}
	}
	return ToolCallProgress{Done: math.Floor(p.Done / p.Total * 100), Total: 100}
}
