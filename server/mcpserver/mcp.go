package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Config is what the face says of itself.
type Config struct {
	Resource string          // its URL, e.g. https://behalf.example/mcp
	Issuers  func() []string // whose tokens are accepted now
	Version  string
}

const (
	maxBody   = 1 << 20
	agentTool = "agent-" // no tool's name has a -
	approved  = "call-approved"
	maxWait   = 10 * time.Minute
	maxAsk    = 5 * time.Second // for who it is; longer is busy
)

// New is the governed tools, and the agents as tools, for MCP clients (streamable
// HTTP, stateless). Each request is a call of our own RPCs, over conn, with the caller's token:
// identity, policy, limits and record are theirs, and none of them is here.
func New(conn grpc.ClientConnInterface, c Config) http.Handler {
	f := &face{
		tools: behalfv1.NewToolServiceClient(conn), agents: behalfv1.NewAgentServiceClient(conn),
		admin: behalfv1.NewAdminServiceClient(conn), metadata: strings.TrimSuffix(c.Resource, "/mcp") + wellKnown + "/mcp",
	}
	m := mcp.NewServer(&mcp.Implementation{Name: "behalf", Version: c.Version}, &mcp.ServerOptions{
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	m.AddReceivingMiddleware(f.serve)
	answering := func(object bool) http.Handler {
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return m }, &mcp.StreamableHTTPOptions{
			Stateless: true, JSONResponse: object, MaxRequestBodyBytes: maxBody,
		})
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", http.NewCrossOriginProtection().Handler(f.known(single(answering(true), answering(false)))))
	about := protectedResource(c)
	mux.HandleFunc("GET "+wellKnown, about)
	mux.HandleFunc("GET "+wellKnown+"/mcp", about)
	return mux
}

// wellKnown is RFC 9728.
const wellKnown = "/.well-known/oauth-protected-resource"

func protectedResource(c Config) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"resource": c.Resource, "authorization_servers": c.Issuers(), "bearer_methods_supported": []string{"header"}, "resource_name": "behalf",
		})
	}
}

type face struct {
	tools    behalfv1.ToolServiceClient
	agents   behalfv1.AgentServiceClient
	admin    behalfv1.AdminServiceClient
	metadata string
}

// known lets nobody in whose token is not good, and tells where to get one.
func (f *face) known(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), maxWait)
		defer cancel()
		soon, enough := context.WithTimeout(ctx, maxAsk)
		_, err := f.admin.WhoAmI(carry(soon, r.Header), &behalfv1.WhoAmIRequest{})
		enough()
		switch st := status.Convert(err); st.Code() {
		case codes.OK:
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxWait)) // an agent takes longer than a page
			h.ServeHTTP(w, r.WithContext(context.WithValue(ctx, requestKey{}, ctx)))
		case codes.Unauthenticated, codes.InvalidArgument:
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+f.metadata+`"`)
			http.Error(w, st.Message(), http.StatusUnauthorized)
		case codes.PermissionDenied:
			http.Error(w, st.Message(), http.StatusForbidden)
		case codes.ResourceExhausted:
			http.Error(w, st.Message(), http.StatusTooManyRequests)
		default:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	})
}

// requestKey is under what the library's contexts, which outlive the request, have the
// request's own.
type requestKey struct{}

// within ends a context with its request: who goes away takes what they asked for along.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	request, ok := ctx.Value(requestKey{}).(context.Context)
	ctx, cancel := context.WithCancel(ctx)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(request, cancel)
	return ctx, func() { stop(); cancel() }
}

// carry puts the token of a request, and nothing else of it, on an RPC.
func carry(ctx context.Context, h http.Header) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.MD{"authorization": h.Values("Authorization")})
}

// serve answers what is about tools; the library does the rest.
func (f *face) serve(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		extra := req.GetExtra()
		if extra == nil {
			return next(ctx, method, req)
		}
		ctx, leave := within(ctx)
		defer leave()
		switch p := req.GetParams().(type) {
		case *mcp.ListToolsParams:
			return f.list(carry(ctx, extra.Header), p)
		case *mcp.CallToolParamsRaw:
			return marked(f.call(carry(ctx, extra.Header), p, req.GetSession()), req.GetSession()), nil
		}
		return next(ctx, method, req)
	}
}

// list is one page: first the tools, then the agents. A list that ends within one
// page is one page, because many clients ask for no other.
func (f *face) list(ctx context.Context, p *mcp.ListToolsParams) (mcp.Result, error) {
	out := &mcp.ListToolsResult{Tools: []*mcp.Tool{}, Cacheable: private}
	if token, agents := strings.CutPrefix(cursor(p), agentTool); agents {
		return f.listAgents(ctx, token, out)
	}
	page, err := f.tools.ListTools(ctx, &behalfv1.ListToolsRequest{PageToken: cursor(p), PageSize: 1000})
	if err != nil {
		return nil, plain(err)
	}
	for _, t := range page.GetTools() {
		out.Tools = append(out.Tools, toolOf(t))
	}
	if out.NextCursor = page.GetNextPageToken(); out.NextCursor != "" {
		return out, nil
	}
	if len(out.Tools) > 0 {
		out.Tools = append(out.Tools, &mcp.Tool{Name: approved, Description: "Makes a call that needed an approval, once somebody has approved it.", InputSchema: json.RawMessage(approvedSchema)})
	}
	return f.listAgents(ctx, "", out)
}

func cursor(p *mcp.ListToolsParams) string {
	if p == nil {
		return ""
	}
	return p.Cursor
}

// toolOf says nothing of destruction: a client then assumes the worst of what writes,
// and a risk that is not high is no promise. Nor does it promise the shape of results,
// to which clients hold them: policies take things out, and a list has no place there.
func toolOf(t *behalfv1.Tool) *mcp.Tool {
	return &mcp.Tool{
		Name: t.GetName(), Description: t.GetDescription(), InputSchema: json.RawMessage(t.GetInputSchemaJson()),
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: t.GetEffect() == behalfv1.ToolEffect_TOOL_EFFECT_READ, IdempotentHint: t.GetIdempotent()},
	}
}

// askSchema is the arguments of an agent as a tool.
const askSchema = `{"type":"object","properties":{"input":{"type":"string","description":"What to do, in words."},` +
	`"session_id":{"type":"string","description":"Of an earlier answer, to go on with it."}},"required":["input"],"additionalProperties":false}`

// approvedSchema is the arguments of an approved call. A model can choose these and
// nothing else of a request in any client, so the approval's id is one of them.
const approvedSchema = `{"type":"object","properties":{"approval_id":{"type":"string","description":"Of the refusal."},` +
	`"tool":{"type":"string","description":"The tool that was refused."},"arguments":{"type":"object","description":"Exactly those of the refused call."}},` +
	`"required":["approval_id","tool","arguments"],"additionalProperties":false}`

func (f *face) listAgents(ctx context.Context, token string, out *mcp.ListToolsResult) (mcp.Result, error) {
	page, err := f.agents.ListAgents(ctx, &behalfv1.ListAgentsRequest{PageToken: token, PageSize: 1000})
	if err != nil {
		return nil, plain(err)
	}
	for _, a := range page.GetAgents() {
		out.Tools = append(out.Tools, &mcp.Tool{Name: agentTool + a.GetName(), Description: a.GetDescription(), InputSchema: json.RawMessage(askSchema)})
	}
	if next := page.GetNextPageToken(); next != "" {
		out.NextCursor = agentTool + next
	}
	return out, nil
}

func (f *face) call(ctx context.Context, p *mcp.CallToolParamsRaw, who mcp.Session) *mcp.CallToolResult {
	args := string(p.Arguments)
	if args == "" {
		args = "{}"
	}
	if agent, ok := strings.CutPrefix(p.Name, agentTool); ok {
		return f.ask(ctx, agent, args, telling(ctx, p, who))
	}
	call := &behalfv1.CallToolRequest{Tool: p.Name, ArgumentsJson: args}
	if p.Name == approved {
		var in approvedCall
		if !strictly(args, &in) {
			return answered("the arguments are approval_id and tool, both text, and arguments, an object", nil, true)
		}
		call = &behalfv1.CallToolRequest{Tool: in.Tool, ArgumentsJson: string(in.Arguments), ApprovalId: in.ApprovalID}
	}
	r, err := f.tools.CallTool(ctx, call)
	if err != nil {
		return refused(err)
	}
	return answered(r.GetResultJson(), json.RawMessage(r.GetResultJson()), r.GetFailed())
}

type approvedCall struct {
	ApprovalID string          `json:"approval_id"`
	Tool       string          `json:"tool"`
	Arguments  json.RawMessage `json:"arguments"`
}

// strictly reads arguments that are these and no others.
func strictly(args string, into any) bool {
	d := json.NewDecoder(strings.NewReader(args))
	d.DisallowUnknownFields()
	return d.Decode(into) == nil
}

func answered(text string, structured json.RawMessage, failed bool) *mcp.CallToolResult {
	out := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}, IsError: failed}
	if len(structured) > 0 && structured[0] == '{' {
		out.StructuredContent = structured
	}
	return out
}

// refused is what a model can read of a refusal: what happened, what is wrong with
// which argument, its reason, and how to go on.
func refused(err error) *mcp.CallToolResult {
	st := status.Convert(err)
	text, reason := st.Message(), ""
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				text += "; " + strings.TrimPrefix(v.GetField()+": ", ": ") + v.GetDescription()
			}
		case *errdetails.ErrorInfo:
			reason = " (" + said(d) + ")" + next(d)
		}
	}
	return answered(text+reason, nil, true)
}

func said(d *errdetails.ErrorInfo) string {
	text := d.GetReason()
	for _, key := range []string{"approval_id", "run_id", "session_id"} {
		if id := d.GetMetadata()[key]; id != "" {
			text += ", " + key + " " + id
		}
	}
	return text
}

// next is how to go on when somebody must agree first.
func next(d *errdetails.ErrorInfo) string {
	switch {
	case d.GetReason() != string(fault.ApprovalRequired):
		return ""
	case d.GetMetadata()["run_id"] != "":
		return "; the run goes on by itself then: ask again with this session_id to hear what came of it"
	}
	return "; then use the tool " + approved + " with this approval_id, the same tool and the same arguments"
}

// plain is an error for the protocol: its message is for callers already.
func plain(err error) error { return errors.New(status.Convert(err).Message()) }
