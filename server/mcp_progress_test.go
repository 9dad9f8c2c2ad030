package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// ideThatIsTold is an MCP client of alice's that hears of progress.
func (w *world) ideThatIsTold() (*mcp.ClientSession, chan *mcp.ProgressNotificationParams) {
	w.t.Helper()
	told := make(chan *mcp.ProgressNotificationParams, 100)
	c := mcp.NewClient(&mcp.Implementation{Name: "ide", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { told <- r.Params },
	})
	s, err := c.Connect(w.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: "http://" + w.http + "/mcp", HTTPClient: &http.Client{Transport: tokenOf("Bearer " + w.token(w.idp, alice, nil))}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s, told
}

func askToDig(tool string) *mcp.CallToolParams {
	p := &mcp.CallToolParams{Name: tool, Arguments: map[string]any{"input": "dig"}}
	if tool == "dig" {
		p.Arguments = map[string]any{}
	}
	p.SetProgressToken("mine")
	return p
}

// toldOf reads what a client is told up to a word, and holds it to the protocol.
func toldOf(t *testing.T, told <-chan *mcp.ProgressNotificationParams, word string) (n *mcp.ProgressNotificationParams) {
	t.Helper()
	for last := 0.0; ; last = n.Progress {
		n = <-told
		if n.ProgressToken != "mine" || n.Progress <= last || n.Total != 0 {
			t.Errorf("got %+v after %g, want a larger number, for the token that was sent", n, last)
		}
		if strings.Contains(n.Message, word) {
			return n
		}
	}
}

type toldResult struct {
	*mcp.CallToolResult
	err error
}

// asking has a call under way.
func asking(ctx context.Context, s *mcp.ClientSession, p *mcp.CallToolParams) <-chan toldResult {
	done := make(chan toldResult, 1)
	go func() {
		r, err := s.CallTool(ctx, p)
		done <- toldResult{r, err}
	}()
	return done
}

func TestAnMCPClientHearsHowFarAnAgentIs(t *testing.T) {
	t.Parallel()
	words := make(chan string)
	w, m := digs(t, words, nil, withMCP)
	toDig(m)
	ide, told := w.ideThatIsTold()
	done := asking(t.Context(), ide, askToDig("agent-support"))

	words <- "first"
	if n := toldOf(t, told, "first"); n.Message != "dig: 1 of 3, first" {
		t.Errorf("got %q", n.Message)
	}
	words <- "second"
	toldOf(t, told, "second")
	close(words)

	if r := <-done; r.err != nil || r.IsError || r.Content[0].(*mcp.TextContent).Text != "Dug." || !strings.HasPrefix(r.StructuredContent.(map[string]any)["session_id"].(string), "ses_") {
		t.Errorf("got %+v, want the answer after the progress", r)
	}
	if r := <-asking(t.Context(), ide, askToDig("dig")); r.err != nil || r.IsError || !strings.Contains(r.Content[0].(*mcp.TextContent).Text, "nobody asks") {
		t.Errorf("got %+v, want that nobody asks a tool of its own for progress", r)
	}
}

// TestAnMCPClientHearsOfProgressWhatEventsShow and nothing of what policy takes out.
func TestAnMCPClientHearsOfProgressWhatEventsShow(t *testing.T) {
	t.Parallel()
	words := make(chan string)
	w, m := digs(t, words, map[string]string{"cards.cedar": cardsOfSpeech}, withMCP)
	toDig(m)
	ide, told := w.ideThatIsTold()
	done := asking(t.Context(), ide, askToDig("agent-support"))

	words <- "card 4111 1111"
	n := toldOf(t, told, "dig:")
	close(words)

	if n.Message != "dig: 33 of 100" {
		t.Errorf("got %q, want the hundredths alone", n.Message)
	}
	if r := <-done; r.err != nil || r.IsError {
		t.Errorf("got %+v", r)
	}
}
