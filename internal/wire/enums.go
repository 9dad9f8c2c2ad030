package wire

import (
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

// table pairs the values of a closed list with their codes. A value that is not
// in it becomes the unspecified code; a code that is not in it is refused.
type table[V comparable, C ~int32] []pair[V, C]

type pair[V comparable, C ~int32] struct {
	value V
	code  C
}

var (
	kinds = table[bool, behalfv1.TargetKind]{
		{false, behalfv1.TargetKind_TARGET_KIND_AGENT},
		{true, behalfv1.TargetKind_TARGET_KIND_GROUP_CHAT},
	}
	tiers = table[string, behalfv1.Tier]{
		{"", behalfv1.Tier_TIER_UNSPECIFIED},
		{"interactive", behalfv1.Tier_TIER_INTERACTIVE},
		{"background", behalfv1.Tier_TIER_BACKGROUND},
		{"api", behalfv1.Tier_TIER_API},
		{"subagent", behalfv1.Tier_TIER_SUBAGENT},
	}
	roles = table[agents.PromptRole, behalfv1.Role]{
		{agents.RoleUser, behalfv1.Role_ROLE_USER},
		{agents.RoleAssistant, behalfv1.Role_ROLE_ASSISTANT},
	}
	messageKinds = table[agents.MessageKind, behalfv1.MessageKind]{
		{agents.KindText, behalfv1.MessageKind_MESSAGE_KIND_TEXT},
		{agents.KindToolCalls, behalfv1.MessageKind_MESSAGE_KIND_TOOL_CALLS},
		{agents.KindToolSummary, behalfv1.MessageKind_MESSAGE_KIND_TOOL_SUMMARY},
		{agents.KindStructured, behalfv1.MessageKind_MESSAGE_KIND_STRUCTURED},
		{agents.KindHandoff, behalfv1.MessageKind_MESSAGE_KIND_HANDOFF},
		{agents.KindStop, behalfv1.MessageKind_MESSAGE_KIND_STOP},
	}
	decisions = table[agents.Decision, behalfv1.Decision]{
		{agents.Allowed, behalfv1.Decision_DECISION_ALLOW},
		{agents.Denied, behalfv1.Decision_DECISION_DENY},
		{agents.Waiting, behalfv1.Decision_DECISION_WAIT},
	}
	approvals = table[bool, behalfv1.ApprovalDecision]{
		{true, behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE},
		{false, behalfv1.ApprovalDecision_APPROVAL_DECISION_DENY},
	}
)

func (t table[V, C]) code(v V) C {
	for _, p := range t {
		if p.value == v {
			return p.code
		}
	}
	return 0
}

func (t table[V, C]) value(c C) (V, error) {
	for _, p := range t {
		if p.code == c {
			return p.value, nil
		}
	}
	var none V
	return none, fmt.Errorf("value %d of %T: %w", c, c, ErrUnknown)
}

const reasonPrefix = "ERROR_REASON_"

// encodeReason never makes a refusal look like a success: what is no reason is INTERNAL.
func encodeReason(name string) behalfv1.ErrorReason {
	if name == "" {
		return behalfv1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
	if code, ok := behalfv1.ErrorReason_value[reasonPrefix+name]; ok && code != 0 {
		return behalfv1.ErrorReason(code)
	}
	return behalfv1.ErrorReason_ERROR_REASON_INTERNAL
}

// decodeReason reads a reason. A number of a later version is a failure all the
// same, so that the event stays readable and stays a failure.
func decodeReason(code behalfv1.ErrorReason) string {
	if code == behalfv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return ""
	}
	name, ok := behalfv1.ErrorReason_name[int32(code)]
	if !ok {
		return string(fault.Internal)
	}
	return strings.TrimPrefix(name, reasonPrefix)
}
