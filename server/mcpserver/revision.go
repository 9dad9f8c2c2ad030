package mcpserver

import "github.com/modelcontextprotocol/go-sdk/mcp"

// stateless is the first revision of the protocol whose clients refuse a result that
// does not say whether it is the last one.
const stateless = "2026-07-28"

// private: what a list has is what one person may see, and they may see something else
// soon. What says nothing may be given to anybody by what is on the way.
var private = mcp.Cacheable{CacheScope: "private"}

// complete is a result that the library did not make and therefore does not mark.
type complete struct{ *mcp.CallToolResult }

// MarshalJSON is the result's own with the mark in front: it has at least its content.
func (c complete) MarshalJSON() ([]byte, error) {
	out, err := c.CallToolResult.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return append([]byte(`{"resultType":"complete",`), out[1:]...), nil
}

// marked is the result as the client's revision has it.
func marked(r *mcp.CallToolResult, who mcp.Session) mcp.Result {
	s, ok := who.(*mcp.ServerSession)
	if !ok || s.InitializeParams() == nil || s.InitializeParams().ProtocolVersion < stateless {
		return r
	}
	return complete{r}
}
