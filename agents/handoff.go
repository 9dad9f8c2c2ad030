package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// MaxDepth is how many agents a chain may hold (SECURITY 9).
const MaxDepth = 8

// transferPrefix begins the name of every tool that is a hand-off.
const transferPrefix = "transfer_to_"

// Handoff lets an assistant hand the conversation to another agent of its desk.
type Handoff struct {
	To          string
	Tool        string    // its name for the model; empty: transfer_to_ and To in lower case
	Description string    // for the model; empty: a plain sentence
	Message     string    // what everybody is told of it; empty: a plain sentence
	Scopes      *[]string // what To may use at most from then on; nil: not narrowed
}

// tool is the name under which the model finds the hand-off.
func (h *Handoff) tool() string { return cmp.Or(h.Tool, transferPrefix+strings.ToLower(h.To)) }

// handsOff says that a tool's name means a hand-off: one of the assistant's own,
// or one that it does not have.
func (a *Assistant) handsOff(tool string) bool {
	_, own := a.routes[tool]
	return own || transfers(tool)
}

func (h *Handoff) spec() Spec {
	about := h.Description
	if about == "" {
		about = "Hand the conversation over to " + h.To + "."
	}
	return Spec{
		Name:        h.tool(),
		Description: about,
		Schema:      json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`),
	}
}

// message is what everybody reads of the hand-off.
func (h *Handoff) message() string {
	if h.Message != "" {
		return h.Message
	}
	return transferred(h.To)
}

// transferred is what everybody reads of a hand-off that says nothing itself.
func transferred(to string) string {
	return fmt.Sprintf("Transferred to %s, adopting the role of %s immediately.", to, to)
}

// transfer answers the hand-offs of a reply, in its order, when all other calls
// have results. Then it makes the one that was accepted.
func (r *run) transfer(ctx context.Context, b *batch) bool {
	winner := b.winner()
	c := b.first((*call).open)
	if c == nil {
		return r.handOff(winner)
	}
	if winner != nil {
		return r.emit(Event{CallID: c.request.CallID, Body: ToolCallFinished{Result: notFirst}})
	}
	h, ok := r.a.routes[c.Tool]
	if !ok {
		return r.refuse(ctx, c, fault.New(codes.NotFound, fault.ToolUnknown, "there is no agent with that name to hand over to"))
	}
	if err := mayHandOff(ctx, h.To); err != nil {
		return r.refuse(ctx, c, fault.From(err))
	}
	result, err := json.Marshal(h.message())
	if err != nil {
		return r.fail(ctx, err)
	}
	return r.emit(Event{CallID: c.request.CallID, Body: ToolCallFinished{Result: string(result)}})
}

// notFirst is the result of a hand-off after the first. It is no failure: what was
// asked for, to hand over, has happened.
const notFirst = `"Not done: another hand-off of the same reply came first."`

// mayHandOff asks the grant whether its chain may grow.
func mayHandOff(ctx context.Context, to string) error {
	_, err := identity.Child(ctx, to, nil, MaxDepth)
	return err
}

// handOff ends this agent's part.
func (r *run) handOff(c *call) bool {
	h := r.a.routes[c.Tool]
	r.emit(Event{CallID: c.request.CallID, Body: HandedOff{
		To: h.To, Scopes: h.Scopes, ModelCallID: c.ID, From: r.a.cfg.Name, Message: h.message(),
	}})
	return false
}
