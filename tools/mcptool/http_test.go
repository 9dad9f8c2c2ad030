package mcptool_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// legacy makes a server that does not know the newest protocol, like most.
func legacy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") == "server/discover" {
			http.Error(w, "no such method", http.StatusBadRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestToolsOfAServerAreCalledThroughTheGate(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{"newest": func(h http.Handler) http.Handler { return h }, "legacy": legacy} {
		for kind, o := range map[string]*mcp.StreamableHTTPOptions{"sessions": nil, "stateless": {Stateless: true}, "json": {JSONResponse: true}} {
			t.Run(name+" "+kind, func(t *testing.T) {
				b := newBackend()
				w := newWorld(t, serve(t, wrap(b.handler(o)))).open("say_hello")

				if got := w.bob("say_hello", `{"name":"eve"}`); got != `{"content":[{"type":"text","text":"hello eve"}]}` {
					t.Errorf("got %s", got)
				}
				if got := w.bob("get_order", `{"name":"x","id":9007199254740993}`); got != `{"id":9007199254740993,"name":"x"}` && got != `{"name":"x","id":9007199254740993}` {
					t.Errorf("got %s, want the structured content with its number as it was", got)
				}
			})
		}
	}
}

func TestSchemasAreKeptAndClosed(t *testing.T) {
	b := newBackend()
	schema := `{"type":"object","properties":{"n":{"type":"integer","maximum":9007199254740993},"p":{"type":"string","pattern":"^(?=a)"}},"required":["n"]}`
	b.raw("exact", "Exact.", schema, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text("ok"), nil })
	w := newWorld(t, serve(t, b.handler(nil))).open("exact")

	got := w.tool("exact")
	if string(got.Schema) != schema {
		t.Errorf("got the schema %s, want the server's", got.Schema)
	}
	want(t, string(w.tool("get_order").Result), `"id"`)
	r, err := tools.NewRegistry(w.all()...)
	if err != nil {
		t.Fatal(err)
	}
	want(t, strings.Join(r.Notes(), "\n"), "exact: schema /properties/p: pattern is not RE2")
	if reason, _ := w.fails("exact", `{"n":1,"more":2}`); reason != fault.ArgumentInvalid {
		t.Errorf("got %s for a field that the schema does not name", reason)
	}
	if reason, _ := w.fails("exact", `{"n":9007199254740994}`); reason != fault.ArgumentInvalid {
		t.Errorf("got %s for a number above the maximum", reason)
	}
}

func TestAFailedToolIsAFailedResult(t *testing.T) {
	b := newBackend()
	b.raw("broken", "Fails.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		r := text("no such\u202e order\x1b[31m")
		r.IsError = true
		return r, nil
	})
	b.raw("refuses", "Fails too.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New("database at 10.0.0.1 is down")
	})
	w := newWorld(t, serve(t, b.handler(nil))).open("broken")

	_, got := w.fails("broken", `{}`)
	want(t, got, "no such order[31m")
	_, got = w.fails("refuses", `{}`)
	want(t, got, "the tool's server refused the call")
}

func TestWhatIsNotTextIsDescribed(t *testing.T) {
	b := newBackend()
	b.raw("media", "All kinds.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{
			&mcp.ImageContent{Data: []byte("12345"), MIMEType: "image/png"},
			&mcp.ResourceLink{URI: "file:///a", Name: "a"},
			&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "file:///b", MIMEType: "text/plain", Text: strings.Repeat("x", 20_000)}},
			&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "file:///c", Blob: []byte("1234567")}},
		}}, nil
	})
	w := newWorld(t, serve(t, b.handler(nil))).open("media")

	got := w.bob("media", `{}`)

	want(t, got, `{"type":"image","mime_type":"image/png","bytes":5}`)
	want(t, got, `{"type":"resource_link","uri":"file:///a","name":"a"}`)
	want(t, got, `"mime_type":"text/plain","bytes":20000,"truncated":true}`)
	want(t, got, `{"type":"resource","uri":"file:///c","bytes":7}`)
	if len(got) > 10_000 {
		t.Errorf("got %d bytes, want the resource cut", len(got))
	}
}

func TestProgressIsTold(t *testing.T) {
	b := newBackend()
	b.raw("slow", "Slow.", `{"type":"object"}`, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 1000 {
			if err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i), Total: 1000, Message: "step\x1b"}); err != nil {
				return nil, err
			}
		}
		return text("done"), nil
	})
	w := newWorld(t, serve(t, b.handler(nil))).open("slow")

	got := w.progress("slow", `{}`)

	if len(got) == 0 || len(got) > 100 || got[0].Total != 1000 || got[0].Message != "step" {
		t.Errorf("got %d notifications, the first %v: want some of them, cleaned", len(got), got[:min(len(got), 1)])
	}
}

func TestACancelledCallIsCancelledThere(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{"newest": func(h http.Handler) http.Handler { return h }, "legacy": legacy} {
		t.Run(name, func(t *testing.T) {
			b, began, ended := newBackend(), make(chan struct{}), make(chan struct{})
			b.raw("hang", "Hangs.", `{"type":"object"}`, func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				close(began)
				<-ctx.Done()
				close(ended)
				return nil, ctx.Err()
			})
			c := serve(t, wrap(b.handler(&mcp.StreamableHTTPOptions{PropagateRequestCancellation: true})))
			c.Tools = map[string]mcptool.Known{"hang": {Effect: tools.Read}}
			w := newWorld(t, c).open("say_hello")
			w.build()
			ctx, cancel := context.WithCancel(as(t.Context(), "bob"))
			go func() { <-began; cancel() }()

			for _, err := range w.gate.Call(ctx, toolCall("hang", `{}`)) {
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want that it was cancelled", err)
				}
			}

			<-ended
			w.bob("say_hello", `{"name":"bob"}`) // the session is as good as before
		})
	}
}

func TestAChangedListIsRead(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{"newest": func(h http.Handler) http.Handler { return h }, "legacy": legacy} {
		t.Run(name, func(t *testing.T) {
			b := newBackend()
			w := newWorld(t, serve(t, wrap(b.handler(nil)))).open("say_hello")

			b.raw("later", "Came later.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text("ok"), nil })
			w.open("later")
			w.bob("later", `{}`)

			b.RemoveTools("later")
			w.until("later is gone", func() bool { return !w.has("later") })
			reason, got := w.fails("later", `{}`)
			if reason != fault.ToolUnavailable {
				t.Errorf("got %s", reason)
			}
			want(t, got, "does not have it any more")
		})
	}
}

func TestAllPagesAreRead(t *testing.T) {
	srv := mcp.NewServer(&mcp.Implementation{Name: "paged", Version: "1"}, &mcp.ServerOptions{PageSize: 3})
	b := &backend{Server: srv}
	for _, n := range strings.Split("a b c d e f g h", " ") {
		b.raw(n, n, `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text("ok"), nil })
	}
	w := newWorld(t, serve(t, b.handler(nil))).open("h")

	if got := len(w.all()); got != 8 {
		t.Errorf("got %d tools, want 8", got)
	}
}

func TestNamesAreCleanedAndOneToolHasEach(t *testing.T) {
	b := newBackend()
	ok := func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text("ok"), nil }
	b.raw("say-hello", "Clashes.", `{"type":"object"}`, ok)
	w := newWorld(t, serve(t, b.handler(nil))).open("say_hello")
	if got := w.source.Offers(); len(got) != 1 || got[0].Own != "sayHello" || got[0].Flaw == "" {
		t.Errorf("got %+v, want one of the two left out, always the same", got)
	}

	c := serve(t, b.handler(nil))
	c.Prefix, c.Tools = "x_", map[string]mcptool.Known{"say-hello": {Name: "other", Description: "Ours.", Risk: "high"}}
	w = newWorld(t, c)
	w.open("x_say_hello")
	if d := w.tool("other"); d.Description != "Ours." || d.Risk != "high" || d.Effect != tools.Effect("") || d.Toolset != "ext" {
		t.Errorf("got %+v", d.Descriptor)
	}
	w.bob("other", `{}`)
}

func TestAServerThatComesBackIsUsedAgain(t *testing.T) {
	b := newBackend()
	var down chanSwitch
	var tries atomic.Int64
	inner := b.handler(nil)
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.on() {
			tries.Add(1)
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	c.Tools = map[string]mcptool.Known{"sayHello": {}}
	down.set(true)
	w := newWorld(t, c)
	w.told("an MCP server is not there")
	if waiting, known := w.source.Waiting()["say_hello"]; w.has("say_hello") || !known || waiting != nil || w.source.Read() {
		t.Errorf("got %s, want a name of which nothing is known", waiting)
	}

	if err := w.source.Problem(); err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
		t.Errorf("got the problem %v", err)
	}
	w.until("it was tried again", func() bool { return tries.Load() > 6 })
	if n := strings.Count(w.logs.String(), "an MCP server is not there"); n != 1 || !strings.Contains(w.logs.String(), c.URL) {
		t.Errorf("one cause was told %d times: %s", n, w.logs)
	}

	down.set(false)
	w.open("get_order")
	w.told(`level=WARN msg="an MCP server is there again"`)
	if err := w.source.Problem(); err != nil {
		t.Errorf("got %v", err)
	}

	w.bob("say_hello", `{"name":"x"}`)
}

func TestOnePersonsSlowCallsLeaveRoomForAnothers(t *testing.T) {
	b := newBackend()
	release := make(chan struct{})
	b.raw("wait", "Waits.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		<-release
		return text("waited"), nil
	})
	srv := httptest.NewServer(b.handler(nil)) // HTTP/1.1
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	c := mcptool.Config{URL: srv.URL, TrustOnFirstUse: true, Limits: quick()}
	c.Limits.Connection, c.Limits.Connect = 6, 2*time.Second
	w := newWorld(t, c).open("wait")
	begun := len(w.logs.String())
	const calls = 8 // more than there are connections
	answers := make(chan agents.ToolCallFinished, calls)
	for range calls {
		go func() { answers <- w.call(as(t.Context(), "alice"), "wait", `{}`) }()
	}

	for range calls - 1 {
		got := <-answers
		want(t, got.Result, "busy with other calls")
		want(t, got.Reason, string(fault.ToolUnavailable))
	}
	want(t, w.bob("say_hello", `{"name":"bob"}`), "hello bob")
	close(release)
	want(t, (<-answers).Result, "waited")
	without(t, w.logs.String()[begun:], "not there")
}

func TestAKeyInTheURLIsForTheServerAlone(t *testing.T) {
	h := newBackend().handler(nil)
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "key=canary" {
			http.Error(w, "no key", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	c.URL += "?key=canary"
	newWorld(t, c).open("say_hello").bob("say_hello", `{"name":"bob"}`)

	c.URL = "https://127.0.0.1:1/mcp?key=canary"
	w := newWorld(t, c)
	w.told("not there")

	without(t, w.logs.String(), "canary")
}
