package wire

import (
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Encode gives the protobuf form of an event. It panics on a body that it does
// not know: that is a new type in agents without its line here.
func Encode(e *agents.Event) *behalfv1.Event {
	switch b := e.Body.(type) {
	case agents.TextDelta:
		cell := &textCell{delta: behalfv1.TextDelta{Text: b.Text}}
		cell.body.TextDelta = &cell.delta
		cell.event.Body = &cell.body
		return envelope(&cell.event, &cell.time, e)
	case agents.ThoughtDelta:
		cell := &thoughtCell{delta: behalfv1.ThoughtDelta{Text: b.Text}}
		cell.body.ThoughtDelta = &cell.delta
		cell.event.Body = &cell.body
		return envelope(&cell.event, &cell.time, e)
	}
	cell := &storedCell{}
	encodeBody(&cell.event, e)
	return envelope(&cell.event, &cell.time, e)
}

// The cells put an event and all that hangs on it into one allocation.
type (
	textCell struct {
		event behalfv1.Event
		time  timestamppb.Timestamp
		body  behalfv1.Event_TextDelta
		delta behalfv1.TextDelta
	}
	thoughtCell struct {
		event behalfv1.Event
		time  timestamppb.Timestamp
		body  behalfv1.Event_ThoughtDelta
		delta behalfv1.ThoughtDelta
	}
	storedCell struct {
		event behalfv1.Event
		time  timestamppb.Timestamp
	}
)

func envelope(out *behalfv1.Event, ts *timestamppb.Timestamp, e *agents.Event) *behalfv1.Event {
	out.Sequence = int64(e.Sequence)
	if !e.Time.IsZero() {
		ts.Seconds, ts.Nanos = e.Time.Unix(), int32(e.Time.Nanosecond())
		out.Time = ts
	}
	out.RunId, out.SessionId = e.RunID, e.SessionID
	out.Source, out.DelegationChain = e.Source, e.Chain
	out.Thread, out.CallId = e.Thread, e.CallID
	if e.MessageID != "" {
		out.MessageId = e.MessageID
	}
	return out
}

func encodeBody(out *behalfv1.Event, e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		out.Body = &behalfv1.Event_RunStarted{RunStarted: encodeRunStarted(b)}
	case agents.TurnStarted:
		out.Body = &behalfv1.Event_TurnStarted{TurnStarted: &behalfv1.TurnStarted{Agent: e.Source, Turn: int32(b.Turn)}}
	case agents.Message:
		out.Body = &behalfv1.Event_Message{Message: encodeMessage(b)}
	case agents.RunFinished:
		out.Body = &behalfv1.Event_RunFinished{RunFinished: encodeRunFinished(b)}
	case agents.HandedOff:
		out.Body = &behalfv1.Event_HandedOff{HandedOff: &behalfv1.HandedOff{
			To: b.To, From: b.From, Scopes: encodeScopes(b.Scopes), ModelCallId: b.ModelCallID, Message: b.Message,
		}}
	case agents.SpeakerSelected:
		out.Body = &behalfv1.Event_SpeakerSelected{SpeakerSelected: &behalfv1.SpeakerSelected{Speakers: b.Speakers, Reason: b.Reason, Usage: encodeUsage(b.Usage)}}
	case agents.PlanUpdated:
		out.Body = &behalfv1.Event_PlanUpdated{PlanUpdated: &behalfv1.PlanUpdated{
			Text: b.Plan, Facts: b.Facts, LedgerJson: b.Ledger, Stalls: int32(b.Stalls), Usage: encodeUsage(b.Usage),
		}}
	case agents.MemoryRecalled:
		out.Body = &behalfv1.Event_MemoryRecalled{MemoryRecalled: &behalfv1.MemoryRecalled{Items: b.Items}}
	default:
		encodeCallOrPause(out, e)
	}
}

func encodeCallOrPause(out *behalfv1.Event, e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.ToolCallRequested:
		out.MessageId = b.MessageID
		out.Body = &behalfv1.Event_ToolCallRequested{ToolCallRequested: &behalfv1.ToolCallRequested{Tool: b.Tool, ArgumentsJson: b.Arguments, ModelCallId: b.ModelCallID}}
	case agents.ToolCallDecided:
		out.Body = &behalfv1.Event_ToolCallDecided{ToolCallDecided: &behalfv1.ToolCallDecided{Decision: decisions.code(b.Decision), Reason: encodeReason(b.Reason), PolicyIds: b.PolicyIDs, Duties: b.Duties}}
	case agents.ToolCallProgress:
		out.Body = &behalfv1.Event_ToolCallProgress{ToolCallProgress: &behalfv1.ToolCallProgress{Progress: b.Done, Total: b.Total, Message: b.Message}}
	case agents.ToolCallFinished:
		out.Body = &behalfv1.Event_ToolCallFinished{ToolCallFinished: &behalfv1.ToolCallFinished{Failed: b.Failed, ResultJson: b.Result, Reason: encodeReason(b.Reason), Duration: encodeDuration(b.Duration)}}
	case agents.ApprovalRequested:
		out.Body = &behalfv1.Event_ApprovalRequested{ApprovalRequested: &behalfv1.ApprovalRequested{ApprovalId: b.ApprovalID, Tool: b.Tool, ArgumentsDigest: b.Digest, ApproverRoles: b.Approvers, ExpiresAt: encodeTime(b.Expires)}}
	case agents.ApprovalDecided:
		out.Body = &behalfv1.Event_ApprovalDecided{ApprovalDecided: encodeApprovalDecided(b)}
	case agents.InputRequested:
		out.Body = &behalfv1.Event_InputRequested{InputRequested: &behalfv1.InputRequested{InputRequestId: b.InputRequestID, Prompt: b.Prompt, From: b.From}}
	case agents.InputReceived:
		out.Body = &behalfv1.Event_InputReceived{InputReceived: &behalfv1.InputReceived{InputRequestId: b.InputRequestID, Text: b.Text, Parts: encodeParts(b.Parts), Speaker: encodeSpeaker(b.Speaker)}}
	case agents.CredentialRequired:
		out.Body = &behalfv1.Event_CredentialRequired{CredentialRequired: &behalfv1.CredentialRequired{}}
	default:
		panic(fmt.Sprintf("wire: no protobuf form for the event body %T", e.Body))
	}
}

func encodeRunStarted(b agents.RunStarted) *behalfv1.RunStarted {
	return &behalfv1.RunStarted{
		Target: b.Target, TargetKind: kinds.code(b.GroupChat), GrantId: b.GrantID,
		User: encodeSpeaker(b.User), Workload: b.Workload,
		Scopes: &behalfv1.Scopes{Values: b.Scopes}, Tier: tiers.code(b.Tier),
		RequestId: b.RequestID, RequestDigest: b.RequestDigest, Labels: b.Labels, Limits: encodeLimits(b.Limits),
	}
}

func encodeMessage(b agents.Message) *behalfv1.Message {
	out := &behalfv1.Message{
		Role: roles.code(b.Role), Kind: messageKinds.code(b.Kind), Text: b.Text,
		StructuredJson: b.Structured, Thought: b.Thought, Usage: encodeUsage(b.Usage),
		Incomplete: b.Incomplete, Speaker: encodeSpeaker(b.Speaker), HandoffTo: b.HandoffTo,
	}
	for _, c := range b.Calls {
		out.ToolCalls = append(out.ToolCalls, &behalfv1.ToolCallPart{ModelCallId: c.ID, Tool: c.Tool, ArgumentsJson: c.Arguments})
	}
	out.Parts = encodeParts(b.Parts)
	return out
}

func encodeParts(parts []agents.Part) []*behalfv1.Part {
	var out []*behalfv1.Part
	for _, p := range parts {
		switch {
		case p.JSON != "":
			out = append(out, &behalfv1.Part{Content: &behalfv1.Part_Json{Json: p.JSON}})
		case p.URI != "":
			out = append(out, &behalfv1.Part{Content: &behalfv1.Part_Uri{Uri: &behalfv1.Uri{Uri: p.URI}}})
		default:
			out = append(out, &behalfv1.Part{Content: &behalfv1.Part_Text{Text: p.Text}})
		}
	}
	return out
}

func encodeRunFinished(b agents.RunFinished) *behalfv1.RunFinished {
	state := behalfv1.RunState_RUN_STATE_FINISHED
	switch b.StopReason {
	case agents.StopFailed:
		state = behalfv1.RunState_RUN_STATE_FAILED
	case agents.StopCancelled:
		state = behalfv1.RunState_RUN_STATE_CANCELLED
	}
	return &behalfv1.RunFinished{
		StopReason: b.StopReason, Output: b.Output, StructuredOutputJson: b.Structured,
		Usage: encodeUsage(b.Usage), ErrorReason: encodeReason(b.Reason), State: state, ErrorMessage: b.ErrorMessage,
	}
}

func encodeUsage(u agents.Usage) *behalfv1.Usage {
	if u == (agents.Usage{}) {
		return nil
	}
	return &behalfv1.Usage{PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.Total(), ModelCalls: int32(u.ModelCalls)}
}

func encodeSpeaker(s agents.Speaker) *behalfv1.User {
	if s == (agents.Speaker{}) {
		return nil
	}
	return &behalfv1.User{Tenant: s.Tenant, Subject: s.Subject, Name: s.Name}
}

func encodeScopes(s *[]string) *behalfv1.Scopes {
	if s == nil {
		return nil
	}
	return &behalfv1.Scopes{Values: *s}
}

func encodeLimits(l agents.Limits) *behalfv1.Limits {
	if l == (agents.Limits{}) {
		return nil
	}
	return &behalfv1.Limits{MaxTurns: int32(l.MaxTurns), MaxTokens: l.MaxTokens, Timeout: encodeDuration(l.Timeout)}
}

func encodeDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func encodeTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func encodeApprovalDecided(b agents.ApprovalDecided) *behalfv1.ApprovalDecided {
	out := &behalfv1.ApprovalDecided{ApprovalId: b.ApprovalID, Approver: encodeSpeaker(b.Approver), Comment: b.Comment, Expired: b.Expired}
	if !b.Expired {
		out.Decision = approvals.code(b.Approved)
	}
	return out
}
