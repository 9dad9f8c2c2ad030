package mcptool_test

import (
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestWhatToTypeIsWhatTheProgramSays(t *testing.T) {
	b := newBackend()
	b.raw("it", "Was.", `{"type":"object"}`, ok)
	c := serve(t, b.handler(nil))
	c.File, c.Review = "my/desk/behalf.yaml", "go run . tools review --dir my"
	w := newWorld(t, c).open("it")

	b.AddTool(&mcp.Tool{Name: "it", Description: "Is.", InputSchema: map[string]any{"type": "object"}}, ok)
	w.told("is not in use")

	w.told(`type="go run . tools review --dir my ext"`)
	_, got := w.fails("it", `{}`)
	want(t, got, "`go run . tools review --dir my ext/it`")
}
