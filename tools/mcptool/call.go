package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/grpc/codes"
)

// called is a tool of the server, as it was when it was shown to models.
type called struct {
	source *Source
	own    string // the server's name of it
	name   string
	hash   string // of the definition that was accepted
	writes bool
	typed  bool                                        // it has an output schema
	check  func() (func(json.RawMessage) error, error) // of its results
}

// call makes one call. What it returns is hostile: the gate bounds it.
func (c called) call(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	if err := c.source.usable(c.own, c.hash, c.name); err != nil {
		return nil, err
	}
	x, raw, err := c.exchange(ctx, args)
	if err != nil && x.held && x.status.Load() == http.StatusNotFound { // the server forgot the session, and did nothing
		x, raw, err = c.exchange(ctx, args)
	}
	if err != nil {
		return nil, c.failure(ctx, x, err)
	}
	out, err := result(raw, c.typed, c.check)
	if errors.Is(err, errUnreadable) {
		return nil, c.lostAnswer(err)
	}
	return out, err
}

// exchange sends the call and waits for what comes back.
func (c called) exchange(ctx context.Context, args json.RawMessage) (*exchange, json.RawMessage, error) {
	x := &exchange{call: true}
	s, release, err := c.source.server.acquire(ctx)
	if err != nil {
		return x, nil, err
	}
	if err := c.source.usable(c.own, c.hash, c.name); err != nil { // it may have been listed for this session
		release(false)
		return x, nil, err
	}
	p := &mcp.CallToolParams{Name: c.own, Arguments: args}
	done, held := s.watch(ctx, p), s.client.ID() != ""
	_, err = s.client.CallTool(x.in(onBehalf(ctx)), p)
	done()
	raw := x.answer(s.tap)
	x.held = held
	release(broken(err, x))
	if err == nil && raw == nil {
		err = errUnreadable
	}
	return x, raw, err
}

// broken reports whether a session must not be used again. One in which the
// server answered is sound, and so is one that the caller left.
func broken(err error, x *exchange) bool {
	if err == nil || x.refused() || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return true
}

var (
	errUnreadable   = errors.New("the answer of the tool's server cannot be read")
	errUnstructured = fmt.Errorf("%w: the tool has an output schema, and there is no structured content", errUnreadable)
)

// failure is why a call failed. Where the server itself said so it is the server's
// text, which the gate cleans. Where it did not, a write may have happened.
func (c called) failure(ctx context.Context, x *exchange, err error) error {
	if _, known := errors.AsType[*fault.Error](err); known {
		return err
	}
	if wire, ok := errors.AsType[*jsonrpc.Error](err); ok && x.refused() {
		return errors.New("the tool's server refused the call: " + tools.Clean(wire.Message, 4<<10))
	}
	status := x.status.Load()
	switch {
	case x.unaccepted():
		return c.source.c.refused(x, err)
	case !x.sent.Load() && ctx.Err() == nil:
		return unavailable("the tool's server cannot be reached now").Because(err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fault.New(codes.FailedPrecondition, fault.ToolUnavailable, "the tool's server does not accept us or the person; nothing was done, and an operator must look").Because(err)
	case status >= 300 && status < 500:
		return unavailable("the tool's server refused the call").Because(err)
	case ctx.Err() != nil && (!c.writes || !x.sent.Load()):
		return fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded, "the tool did not answer in time").Because(err)
	}
	return c.lostAnswer(err)
}

// unaccepted reports a server that is there, and did not accept what the exchange
// carried.
func (x *exchange) unaccepted() bool {
	return x.signed.Load() && x.status.Load() == http.StatusUnauthorized
}

func (c *Config) refused(x *exchange, err error) error {
	sent := tools.Carried{Target: c.target(), Tokens: c.Tokens, Backend: c.Backend, Bound: x.bound.Load()}
	return sent.Refused(fmt.Errorf("it answered %d: %s", x.status.Load(), tools.Clean(err.Error(), 512)))
}

// lostAnswer is a call that was made, and whose outcome nobody knows.
func (c called) lostAnswer(err error) error {
	how := "was lost"
	if errors.Is(err, errUnreadable) {
		how = "cannot be read"
	}
	if errors.Is(err, errUnstructured) {
		how = "lacks the structured content that the tool's output schema describes; an operator must look"
	}
	if c.writes {
		return fault.New(codes.Aborted, fault.OutcomeUnknown, "the call was made, and its answer "+how).Because(err)
	}
	return unavailable("the tool's server was asked, and its answer " + how).Because(err)
}
