package main

import (
	"context"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// mcpWiki is a program with an MCP server that describes its tool as a file says.
func mcpWiki() {
	words, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "wiki", Version: "1"}, nil)
	type page struct {
		Page string `json:"page"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "getPage", Description: string(words)}, func(context.Context, *mcp.CallToolRequest, page) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{}, nil, nil
	})
	_ = s.Run(context.Background(), &mcp.StdioTransport{})
}
