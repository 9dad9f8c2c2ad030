package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/protobuf/proto"
)

// TestListToolsShowsWhatThisCallerMayCall: scopes and policy filter the list, but for
// what depends on arguments that nobody has written yet.
func TestListToolsShowsWhatThisCallerMayCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: map[string]string{"hide.cedar": `
@id("no-looking-up-for-support") forbid (principal in Role::"support", action == Action::"call_tool", resource == Tool::"get_customer");`}})
	names := func(c *client) (names []string) {
		r, err := c.tools().ListTools(c.ctx(t), &behalfv1.ListToolsRequest{PageSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range r.GetTools() {
			names = append(names, tool.GetName())
		}
		return names
	}

	a, b := names(w.as(alice)), names(w.as(bob))

	if slices.Contains(a, "get_customer") || !slices.Contains(a, "refund_order") {
		t.Errorf("got %v for alice, want refund_order, of which some are allowed, and no get_customer", a)
	}
	if !slices.Contains(b, "get_customer") {
		t.Errorf("got %v for bob, want get_customer", b)
	}
}

// TestToolsWithLongSchemasAreListedOnMorePages: together they are more than a client
// takes in one message, of gRPC or of MCP.
func TestToolsWithLongSchemasAreListedOnMorePages(t *testing.T) {
	t.Parallel()
	const many = 20
	var spies []tools.Tool
	for i := range many {
		spies = append(spies, tools.Tool{
			Descriptor: tools.Descriptor{
				Name: fmt.Sprint("spy_", i), Toolset: "spy", Description: "Spies.", Effect: tools.Read,
				Schema: json.RawMessage(`{"type":"object","properties":{"a":{"type":"string","description":"` + strings.Repeat("x", 240<<10) + `"}}}`),
			},
			Call: func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil },
		})
	}
	w := newWorld(t, setup{edit: withMCP, spies: spies})

	a, byRPC := w.as(alice), map[string]int{}
	for token, pages := "", 0; pages == 0 || token != ""; pages++ {
		r, err := a.tools().ListTools(a.ctx(t), &behalfv1.ListToolsRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(r); size > 3<<19 {
			t.Errorf("got a page of %d bytes", size)
		}
		for _, tool := range r.GetTools() {
			byRPC[tool.GetName()]++
		}
		token = r.GetNextPageToken()
	}
	byMCP := map[string]int{}
	for tool, err := range w.ide(alice).Tools(t.Context(), &mcp.ListToolsParams{}) {
		if err != nil {
			t.Fatal(err)
		}
		byMCP[tool.Name]++
	}

	for i := range many {
		if name := fmt.Sprint("spy_", i); byRPC[name] != 1 || byMCP[name] != 1 {
			t.Errorf("%s: got it %d and %d times, want once each", name, byRPC[name], byMCP[name])
		}
	}
}
