package mcptool

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// exchange is one request of ours and what is known of it. The SDK decodes answers
// into values, in which large integers are rounded and a member that is there twice
// is there once; the answer is therefore kept as it came.
type exchange struct {
	call   bool         // of a tool; the rest is ours
	sent   atomic.Bool  // bytes of it may have reached the server
	status atomic.Int32 // of HTTP; 0: no answer
	signed atomic.Bool  // it carried a call's token
	bound  atomic.Bool  // which named the certificate of the connection
	result json.RawMessage
	failed bool // the server answered with an error
	held   bool // by a session that the server keeps
	id     jsonrpc.ID
}

type exchangeKey struct{}

func (x *exchange) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeFrom(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// answer is what came back, and ends the exchange; nil: nothing came.
func (x *exchange) answer(t *tap) json.RawMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pending, x.id)
	return x.result
}

// tap stands between the SDK's connection and its transport. It gives each
// exchange its answer, once: another one for the same request is the SDK's to drop.
type tap struct {
	mcp.Connection

	mu      sync.Mutex
	pending map[jsonrpc.ID]*exchange
	version string // of the protocol, once the server has said it
}

func newTap(c mcp.Connection) *tap { return &tap{Connection: c, pending: map[jsonrpc.ID]*exchange{}} }

// Write implements mcp.Connection.
func (t *tap) Write(ctx context.Context, m jsonrpc.Message) error {
	if r, ok := m.(*jsonrpc.Request); ok && r.IsCall() {
		if x := exchangeFrom(ctx); x != nil {
			t.mu.Lock()
			x.id = r.ID
			t.pending[r.ID] = x
			t.mu.Unlock()
		}
	}
	return t.Connection.Write(ctx, m)
}

// Read implements mcp.Connection.
func (t *tap) Read(ctx context.Context) (jsonrpc.Message, error) {
	m, err := t.Connection.Read(ctx)
	if r, ok := m.(*jsonrpc.Response); ok && err == nil {
		t.took(r)
	}
	return m, err
}

func (t *tap) took(r *jsonrpc.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version == "" {
		var said struct {
			ProtocolVersion string `json:"protocolVersion"`
		}
		if json.Unmarshal(r.Result, &said) == nil && len(said.ProtocolVersion) <= 32 {
			t.version = said.ProtocolVersion
		}
	}
	if x := t.pending[r.ID]; x != nil {
		delete(t.pending, r.ID)
		x.result, x.failed = r.Result, r.Error != nil
	}
}

// negotiated is the version for a server that wants it in a header.
func (t *tap) negotiated() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

// refused reports whether the server itself said no to an exchange that ended.
func (x *exchange) refused() bool { return x.failed }

// tapped is a transport whose connection has a tap. It is connected without the
// context's values: what the SDK does later on its own is in nobody's name.
type tapped struct {
	inner mcp.Transport
	tap   *tap
}

// Connect implements mcp.Transport.
func (t *tapped) Connect(context.Context) (mcp.Connection, error) {
	c, err := t.inner.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	t.tap.Connection = c
	return t.tap, nil
}
