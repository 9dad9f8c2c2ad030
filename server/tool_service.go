package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/proto"
)

// Tools is the tool gate for direct calls.
type Tools interface {
	// Visible lists the tools that the grant in ctx has the scopes for, sorted by name.
	Visible(ctx context.Context) ([]tools.Listed, error)
	// Direct governs and performs one call.
	Direct(ctx context.Context, c agents.ToolCall) (tools.CallResult, error)
	// Again says whether the answer to an earlier direct call, which had these
	// duties, may be given again.
	Again(ctx context.Context, c agents.ToolCall, duties []string) error
	// Check governs one call that the caller makes; Report takes its outcome and
	// gives the result as it may be shown.
	Check(ctx context.Context, c agents.ToolCall) (tools.Checked, error)
	Report(ctx context.Context, callID string, failed bool, result json.RawMessage) (json.RawMessage, error)
	// Unreported gives nil for a checked call of the caller that can be reported.
	Unreported(ctx context.Context, callID string) error
	// NewCall names a call that belongs to no run: an id of the form of call ids.
	NewCall() string
}

type toolService struct {
	behalfv1.UnimplementedToolServiceServer
	tools  Tools
	grants Delegations
	// answers are those to calls with a request id.
	answers Answers
}

// ListTools shows what the caller's scopes reach and policy does not deny whatever the
// arguments are. Policy may still say no at the call.
func (s *toolService) ListTools(ctx context.Context, r *behalfv1.ListToolsRequest) (*behalfv1.ListToolsResponse, error) {
	all, err := s.tools.Visible(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(d tools.Listed) bool { return r.GetToolset() != "" && r.GetToolset() != d.Toolset })
	some, next, err := page(all, r.GetPageSize(), r.GetPageToken(), func(d tools.Listed) string { return d.Name })
	out, size := &behalfv1.ListToolsResponse{NextPageToken: next}, 0
	for i, d := range some {
		t := tool(d)
		if size += proto.Size(t); i > 0 && size > maxToolsPage {
			out.NextPageToken = token64(some[i-1].Name)
			break
		}
		out.Tools = append(out.Tools, t)
	}
	return out, err
}

// maxToolsPage bounds a page with more than one tool, in bytes: schemas may be long,
// and clients take no message above 4 MiB.
const maxToolsPage = 1 << 20

func tool(d tools.Listed) *behalfv1.Tool {
	return &behalfv1.Tool{
		Name: d.Name, Toolset: d.Toolset, Description: d.Description, InputSchemaJson: string(d.Schema), OutputSchemaJson: string(d.Result),
		RequiredScopes: scopes(d.Scopes), Idempotent: d.Idempotent, DescriptorHash: d.Version, Available: true,
		Effect: behalfv1.ToolEffect(enum(behalfv1.ToolEffect_value, "TOOL_EFFECT_", string(d.Effect))),
		Risk:   behalfv1.ToolRisk(enum(behalfv1.ToolRisk_value, "TOOL_RISK_", d.Risk)),
	}
}

// CallTool is a governed call without an agent. The gate decides it, records it
// and performs it; see interceptors for why the chain leaves that to the gate. The
// session, which it would be recorded in, is the caller's: see resolver.
func (s *toolService) CallTool(ctx context.Context, r *behalfv1.CallToolRequest) (*behalfv1.CallToolResponse, error) {
	return once(ctx, s, r, repeatable[*behalfv1.CallToolResponse]{method: "CallTool", do: s.callTool, again: s.tools.Again})
}

func (s *toolService) callTool(ctx context.Context, call agents.ToolCall) (*behalfv1.CallToolResponse, []string, error) {
	res, err := s.tools.Direct(ctx, call)
	if err != nil {
		return nil, nil, err
	}
	return &behalfv1.CallToolResponse{
		CallId: call.ID, Decision: behalfv1.Decision_DECISION_ALLOW, PolicyIds: res.PolicyIDs,
		Reason:     behalfv1.ErrorReason(enum(behalfv1.ErrorReason_value, "ERROR_REASON_", res.Reason)),
		ResultJson: string(res.Result), Failed: res.Failed,
	}, res.Duties, nil
}

// callRequest is what CallTool and CheckToolCall have in common.
type callRequest interface {
	proto.Message
	GetTool() string
	GetArgumentsJson() string
	GetSessionId() string
	GetApprovalId() string
	GetRequestId() string
}

// call is the call of a request, under a name of its own.
func (s *toolService) call(r callRequest) agents.ToolCall {
	call := agents.ToolCall{ID: s.tools.NewCall(), SessionID: r.GetSessionId(), Name: r.GetTool(), Arguments: r.GetArgumentsJson(), ApprovalID: r.GetApprovalId()}
	call.RunID, _, _ = strings.Cut(call.ID, "/")
	return call
}

// CheckToolCall decides a call that the caller makes.
func (s *toolService) CheckToolCall(ctx context.Context, r *behalfv1.CheckToolCallRequest) (*behalfv1.CheckToolCallResponse, error) {
	still := func(ctx context.Context, c agents.ToolCall, duties []string) error { // the answer is leave to go ahead
		if err := s.tools.Unreported(ctx, c.ID); err != nil {
			return err
		}
		return s.tools.Again(ctx, c, duties)
	}
	return once(ctx, s, r, repeatable[*behalfv1.CheckToolCallResponse]{method: "CheckToolCall", do: s.checkToolCall, again: still})
}

func (s *toolService) checkToolCall(ctx context.Context, call agents.ToolCall) (*behalfv1.CheckToolCallResponse, []string, error) {
	c, err := s.tools.Check(ctx, call)
	if err != nil {
		return nil, nil, err
	}
	return &behalfv1.CheckToolCallResponse{
		CallId: call.ID, Decision: behalfv1.Decision_DECISION_ALLOW, PolicyIds: c.PolicyIDs, Duties: c.Duties, SentArgumentsJson: string(c.Sent),
		CallToken: c.Token.Reveal(), SentPayload: c.Payload,
	}, c.Duties, nil
}

// ReportToolCall is the other half of a checked call: the gate has its decision,
// and whose it is, so nothing is decided here.
func (s *toolService) ReportToolCall(ctx context.Context, r *behalfv1.ReportToolCallRequest) (*behalfv1.ReportToolCallResponse, error) {
	shown, err := s.tools.Report(ctx, r.GetCallId(), r.GetFailed(), json.RawMessage(r.GetResultJson()))
	if err != nil {
		return nil, err
	}
	return &behalfv1.ReportToolCallResponse{ResultJson: string(shown)}, nil
}
