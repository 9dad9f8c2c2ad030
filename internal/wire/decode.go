package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ErrUnknown is what Decode answers to an event that this version cannot read.
var ErrUnknown = errors.New("the event is of a kind that this version does not know")

// Decode reads an event. An event without a body that this version knows, or
// with a value outside its closed list, is refused with ErrUnknown.
func Decode(in *behalfv1.Event) (agents.Event, error) {
	e := agents.Event{
		Sequence: uint64(in.GetSequence()), Time: decodeTime(in.GetTime()),
		RunID: in.GetRunId(), SessionID: in.GetSessionId(), Source: in.GetSource(), Chain: in.GetDelegationChain(),
		Thread: in.GetThread(), CallID: in.GetCallId(), MessageID: in.GetMessageId(),
	}
	if in.GetSequence() < 0 {
		return agents.Event{}, fmt.Errorf("decode event: sequence %d is negative", in.GetSequence())
	}
	body, err := decodeBody(in)
	if err != nil {
		return agents.Event{}, fmt.Errorf("decode event %d: %w", in.GetSequence(), err)
	}
	e.Body = body
	return e, nil
}

func decodeBody(in *behalfv1.Event) (agents.Body, error) {
	switch b := in.GetBody().(type) {
	case *behalfv1.Event_RunStarted:
		return decodeRunStarted(b.RunStarted)
	case *behalfv1.Event_TurnStarted:
		return agents.TurnStarted{Turn: int(b.TurnStarted.GetTurn())}, nil
	case *behalfv1.Event_TextDelta:
		return agents.TextDelta{Text: b.TextDelta.GetText()}, nil
	case *behalfv1.Event_ThoughtDelta:
		return agents.ThoughtDelta{Text: b.ThoughtDelta.GetText()}, nil
	case *behalfv1.Event_Message:
		return decodeMessage(b.Message)
	case *behalfv1.Event_RunFinished:
		return decodeRunFinished(b.RunFinished), nil
	case *behalfv1.Event_HandedOff:
		return decodeHandedOff(b.HandedOff), nil
	case *behalfv1.Event_SpeakerSelected:
		return agents.SpeakerSelected{Speakers: b.SpeakerSelected.GetSpeakers(), Reason: b.SpeakerSelected.GetReason(), Usage: decodeUsage(b.SpeakerSelected.GetUsage())}, nil
	case *behalfv1.Event_PlanUpdated:
		p := b.PlanUpdated
		return agents.PlanUpdated{Plan: p.GetText(), Facts: p.GetFacts(), Ledger: p.GetLedgerJson(), Stalls: int(p.GetStalls()), Usage: decodeUsage(p.GetUsage())}, nil
	case *behalfv1.Event_MemoryRecalled:
		return agents.MemoryRecalled{Items: b.MemoryRecalled.GetItems()}, nil
	}
	return decodeCallOrPause(in)
}

func decodeCallOrPause(in *behalfv1.Event) (agents.Body, error) {
	switch b := in.GetBody().(type) {
	case *behalfv1.Event_ToolCallRequested:
		r := b.ToolCallRequested
		return agents.ToolCallRequested{Tool: r.GetTool(), Arguments: r.GetArgumentsJson(), ModelCallID: r.GetModelCallId(), MessageID: in.GetMessageId()}, nil
	case *behalfv1.Event_ToolCallDecided:
		return decodeDecided(b.ToolCallDecided)
	case *behalfv1.Event_ToolCallProgress:
		p := b.ToolCallProgress
		return agents.ToolCallProgress{Done: p.GetProgress(), Total: p.GetTotal(), Message: p.GetMessage()}, nil
	case *behalfv1.Event_ToolCallFinished:
		f := b.ToolCallFinished
		return agents.ToolCallFinished{Failed: f.GetFailed(), Result: f.GetResultJson(), Reason: decodeReason(f.GetReason()), Duration: decodeDuration(f.GetDuration())}, nil
	case *behalfv1.Event_ApprovalRequested:
		return decodeApprovalRequested(b.ApprovalRequested), nil
	case *behalfv1.Event_ApprovalDecided:
		d := b.ApprovalDecided
		approved := d.GetDecision() == behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE && !d.GetExpired()
		return agents.ApprovalDecided{ApprovalID: d.GetApprovalId(), Approved: approved, Expired: d.GetExpired(), Approver: decodeSpeaker(d.GetApprover()), Comment: d.GetComment()}, nil
	case *behalfv1.Event_InputRequested:
		r := b.InputRequested
		return agents.InputRequested{InputRequestID: r.GetInputRequestId(), Prompt: r.GetPrompt(), From: r.GetFrom()}, nil
	case *behalfv1.Event_InputReceived:
		return decodeInputReceived(b.InputReceived)
	case *behalfv1.Event_CredentialRequired:
		return agents.CredentialRequired{}, nil
	}
	return nil, ErrUnknown
}

func decodeRunStarted(in *behalfv1.RunStarted) (agents.Body, error) {
	group, err := kinds.value(in.GetTargetKind())
	if err != nil {
		return nil, err
	}
	tier, err := tiers.value(in.GetTier())
	if err != nil {
		return nil, err
	}
	return agents.RunStarted{
		Target: in.GetTarget(), GroupChat: group, GrantID: in.GetGrantId(),
		User: decodeSpeaker(in.GetUser()), Workload: in.GetWorkload(), Scopes: in.GetScopes().GetValues(), Tier: tier,
		RequestID: in.GetRequestId(), RequestDigest: in.GetRequestDigest(), Labels: in.GetLabels(),
		Limits: agents.Limits{MaxTurns: int(in.GetLimits().GetMaxTurns()), MaxTokens: in.GetLimits().GetMaxTokens(), Timeout: decodeDuration(in.GetLimits().GetTimeout())},
	}, nil
}

func decodeMessage(in *behalfv1.Message) (agents.Body, error) {
	role, err := roles.value(in.GetRole())
	if err != nil {
		return nil, err
	}
	kind, err := messageKinds.value(in.GetKind())
	if err != nil {
		return nil, err
	}
	out := agents.Message{
		Role: role, Kind: kind, Text: in.GetText(), Structured: in.GetStructuredJson(), Thought: in.GetThought(),
		Usage: decodeUsage(in.GetUsage()), Speaker: decodeSpeaker(in.GetSpeaker()), Incomplete: in.GetIncomplete(), HandoffTo: in.GetHandoffTo(),
	}
	for _, c := range in.GetToolCalls() {
		out.Calls = append(out.Calls, agents.CallRequest{ID: c.GetModelCallId(), Tool: c.GetTool(), Arguments: c.GetArgumentsJson()})
	}
	out.Parts, err = decodeParts(in.GetParts())
	return out, err
}

func decodeParts(in []*behalfv1.Part) ([]agents.Part, error) {
	var out []agents.Part
	for _, p := range in {
		switch c := p.GetContent().(type) {
		case *behalfv1.Part_Text:
			out = append(out, agents.Part{Text: c.Text})
		case *behalfv1.Part_Json:
			out = append(out, agents.Part{JSON: c.Json})
		case *behalfv1.Part_Uri:
			out = append(out, agents.Part{URI: c.Uri.GetUri()})
		default:
			return nil, fmt.Errorf("part of a message: %w", ErrUnknown)
		}
	}
	return out, nil
}

func decodeHandedOff(in *behalfv1.HandedOff) agents.Body {
	return agents.HandedOff{
		To: in.GetTo(), Scopes: decodeScopes(in.GetScopes()), ModelCallID: in.GetModelCallId(), From: in.GetFrom(), Message: in.GetMessage(),
	}
}

func decodeInputReceived(in *behalfv1.InputReceived) (agents.Body, error) {
	parts, err := decodeParts(in.GetParts())
	return agents.InputReceived{InputRequestID: in.GetInputRequestId(), Text: in.GetText(), Parts: parts, Speaker: decodeSpeaker(in.GetSpeaker())}, err
}

func decodeDecided(in *behalfv1.ToolCallDecided) (agents.Body, error) {
	decision, err := decisions.value(in.GetDecision())
	if err != nil {
		return nil, err
	}
	return agents.ToolCallDecided{Decision: decision, Reason: decodeReason(in.GetReason()), PolicyIDs: in.GetPolicyIds(), Duties: in.GetDuties()}, nil
}

func decodeApprovalRequested(in *behalfv1.ApprovalRequested) agents.Body {
	return agents.ApprovalRequested{
		ApprovalID: in.GetApprovalId(), Tool: in.GetTool(), Digest: in.GetArgumentsDigest(), Approvers: in.GetApproverRoles(), Expires: decodeTime(in.GetExpiresAt()),
	}
}

func decodeRunFinished(in *behalfv1.RunFinished) agents.Body {
	return agents.RunFinished{
		StopReason: in.GetStopReason(), Output: in.GetOutput(), Structured: in.GetStructuredOutputJson(),
		Usage: decodeUsage(in.GetUsage()), Reason: decodeReason(in.GetErrorReason()), ErrorMessage: in.GetErrorMessage(),
	}
}

func decodeUsage(u *behalfv1.Usage) agents.Usage {
	return agents.Usage{PromptTokens: u.GetPromptTokens(), CompletionTokens: u.GetCompletionTokens(), ModelCalls: int64(u.GetModelCalls())}
}

func decodeSpeaker(u *behalfv1.User) agents.Speaker {
	return agents.Speaker{Tenant: u.GetTenant(), Subject: u.GetSubject(), Name: u.GetName()}
}

// decodeScopes keeps the difference between no narrowing and nothing at all.
func decodeScopes(s *behalfv1.Scopes) *[]string {
	if s == nil {
		return nil
	}
	values := s.GetValues()
	if values == nil {
		values = []string{}
	}
	return &values
}

func decodeDuration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.AsDuration()
}

func decodeTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
