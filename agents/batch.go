package agents

import (
	"cmp"
	"strconv"
	"strings"
)

// batch is a reply that asks for tools, with what became of each call.
type batch struct {
	messageID string
	text      string
	calls     []call
}

// call is one call of a batch, as far as the transcript tells.
type call struct {
	CallRequest
	request    Event // the stored ToolCallRequested; the zero value before it
	handOff    bool  // by its tool's name
	ordinal    int   // counts the calls of the run from 1
	sameBefore int   // earlier calls of the same tool in the reply
	duplicate  bool  // an earlier call of the reply has the same id
	begun      bool  // there was a decision or a pause
	denied     bool  // by the newest decision
	waits      string
	comment    string // of who decided the approval that it waited for
	result     *ToolCallFinished
}

// newBatch makes the batch of a reply; handsOff knows its author's hand-offs. What
// a model thought is kept where it said nothing.
func newBatch(messageID string, m Message, handsOff func(tool string) bool) *batch {
	b := &batch{messageID: messageID, text: cmp.Or(m.Text, m.Thought), calls: make([]call, len(m.Calls))}
	seen, same := make(map[string]bool, len(m.Calls)), map[string]int{}
	for i, c := range m.Calls {
		b.calls[i] = call{
			CallRequest: c, handOff: handsOff(c.Tool),
			duplicate: c.ID != "" && seen[c.ID], sameBefore: same[c.Tool],
		}
		seen[c.ID] = true
		same[c.Tool]++
	}
	return b
}

// request pairs a stored request with the first call that has none. Requests
// are made in the reply's order, so the model's ids need not be unique.
func (b *batch) request(e *Event, ordinal int) *call {
	c := b.first(func(c *call) bool { return !c.requested() })
	if c != nil {
		c.request, c.ordinal = *e, ordinal
	}
	return c
}

// first is the first call that is so, or nil.
func (b *batch) first(so func(*call) bool) *call {
	for i := range b.calls {
		if so(&b.calls[i]) {
			return &b.calls[i]
		}
	}
	return nil
}

// all are the calls that are so, in the reply's order.
func (b *batch) all(so func(*call) bool) []*call {
	var found []*call
	for i := range b.calls {
		if so(&b.calls[i]) {
			found = append(found, &b.calls[i])
		}
	}
	return found
}

// complete says that every call has its result.
func (b *batch) complete() bool {
	return b.first(func(c *call) bool { return c.result == nil }) == nil
}

// winner is the hand-off that was accepted, or nil.
func (b *batch) winner() *call {
	return b.first(func(c *call) bool { return c.handOff && c.result != nil && !c.result.Failed })
}

func (c *call) requested() bool { return c.request.CallID != "" }

// open says that the call was requested and has no result.
func (c *call) open() bool { return c.requested() && c.result == nil }

// transfers says by its name that a tool is a hand-off, whoever offers it.
func transfers(tool string) bool { return strings.HasPrefix(tool, transferPrefix) }

// elsewhere says that a call of any agent was a hand-off. One that has a name of
// its own is known by this: it succeeded, and no guard was asked.
func (c *call) elsewhere() bool {
	return c.handOff || c.result != nil && !c.result.Failed && !c.begun
}

// apply notes what happened to the call.
func (c *call) apply(body Body) {
	switch b := body.(type) {
	case ToolCallDecided:
		c.begun, c.denied = true, b.Decision == Denied
	case CredentialRequired:
		c.begun = true
	case ApprovalRequested:
		c.begun, c.waits = true, b.ApprovalID
	case InputRequested:
		c.begun, c.waits = true, b.InputRequestID
	case ToolCallFinished:
		c.result = &b
	}
}

// notMade and outcomeUnknown stand for the results of calls that a run left
// behind, so that a prompt never holds a call without a result.
const (
	notMade        = `{"error":"the call was not made: the run ended before it"}`
	outcomeUnknown = `{"error":"the run ended during the call; its outcome is unknown"}`
)

// answer is the call's result for a prompt.
func (c *call) answer() ToolCallFinished {
	switch {
	case c.result != nil:
		return *c.result
	case c.begun:
		return ToolCallFinished{Failed: true, Result: outcomeUnknown}
	}
	return ToolCallFinished{Failed: true, Result: notMade}
}

// prompt renders a reply and the results of its calls as a model reads them:
// the reply first, then one tool message per call in the reply's order.
func prompt(text string, calls []*call, maxArguments int) []PromptMessage {
	if len(calls) == 0 {
		return spoken(PromptMessage{Role: RoleAssistant, Text: text})
	}
	messages := make([]PromptMessage, 1, 1+len(calls))
	requests := make([]CallRequest, len(calls))
	used := make(map[string]bool, len(calls))
	for i, c := range calls {
		requests[i] = presentable(c, used, maxArguments)
		result := c.answer()
		messages = append(messages, PromptMessage{
			Role: RoleTool, Text: result.Result, CallID: requests[i].ID, Tool: requests[i].Tool, Failed: result.Failed,
		})
	}
	messages[0] = PromptMessage{Role: RoleAssistant, Text: text, Calls: requests}
	return messages
}

// spoken drops a message that says nothing: providers refuse those.
func spoken(m PromptMessage) []PromptMessage {
	if m.Text == "" && len(m.Parts) == 0 {
		return nil
	}
	return []PromptMessage{m}
}

// presentable is a call that every provider takes back: with an id that is
// unique in the reply, a name, and arguments of bounded size.
func presentable(c *call, used map[string]bool, maxArguments int) CallRequest {
	r := c.CallRequest
	r.Written = ""
	for n := 1; r.ID == "" || used[r.ID]; n++ {
		r.ID = "call_" + strconv.Itoa(n)
	}
	used[r.ID] = true
	if r.Tool == "" || len(r.Tool) > maxToolName {
		r.Tool = "invalid"
	}
	if len(r.Arguments) > maxArguments {
		r.Arguments = "{}"
	}
	return r
}
