package server

import (
	"crypto/sha256"
	"encoding/base64"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// runRequest is what all requests that start a run have in common.
type runRequest interface {
	proto.Message
	GetInput() string
	GetParts() []*behalfv1.Part
	GetSessionId() string
	GetLimits() *behalfv1.Limits
	GetRequestId() string
	GetLabels() map[string]string
}

// maxInput bounds all parts of an input together (the field rules bound each).
const maxInput = 512 << 10

// target is what a run is of.
type target struct {
	name      string
	groupChat bool
}

// aim reads which of the two a request names; neither is the zero target.
func aim(m any) target {
	if r, ok := m.(interface{ GetGroupChat() string }); ok && r.GetGroupChat() != "" {
		return target{r.GetGroupChat(), true}
	}
	if r, ok := m.(interface{ GetAgent() string }); ok {
		return target{name: r.GetAgent()}
	}
	return target{}
}

// put names the target in a request.
func (t target) put(r *behalfv1.CreateRunRequest) {
	r.Target = &behalfv1.CreateRunRequest_Agent{Agent: t.name}
	if t.groupChat {
		r.Target = &behalfv1.CreateRunRequest_GroupChat{GroupChat: t.name}
	}
}

// action is what policy calls a run of the target.
func (t target) action() string {
	if t.groupChat {
		return "run_group_chat"
	}
	return "run_agent"
}

// entity is what policy calls the target.
func (t target) entity() policy.Entity {
	if t.groupChat {
		return policy.Entity{Type: "GroupChat", ID: t.name}
	}
	return policy.Entity{Type: "Agent", ID: t.name}
}

// spec translates a request. Whose run it is, its scopes and its tier are the
// grant's, which the chain has made.
func spec(t target, method string, r runRequest) (runs.Spec, error) {
	parts, err := parts(r.GetParts())
	switch {
	case err != nil:
		return runs.Spec{}, err
	case r.GetInput() == "" && len(parts) == 0 && r.GetSessionId() == "":
		return runs.Spec{}, malformed("input", "a new session needs an input")
	}
	s := runs.Spec{
		Target: t.name, GroupChat: t.groupChat, Input: r.GetInput(), Parts: parts, SessionID: r.GetSessionId(), Labels: r.GetLabels(),
		Limits: agents.Limits{
			MaxTurns: int(r.GetLimits().GetMaxTurns()), MaxTokens: r.GetLimits().GetMaxTokens(), Timeout: r.GetLimits().GetTimeout().AsDuration(),
		},
		Method: method, RequestID: r.GetRequestId(),
	}
	if s.RequestID == "" {
		return s, nil
	}
	s.RequestDigest, err = digest(r)
	return s, err
}

func malformed(field, problem string) error {
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request is malformed: "+field+": "+problem).WithFields(fault.Field{Path: field, Problem: problem})
}

func parts(in []*behalfv1.Part) (out []agents.Part, err error) {
	size := 0
	for _, p := range in {
		part := agents.Part{Text: p.GetText(), JSON: p.GetJson(), URI: p.GetUri().GetUri()}
		size += len(part.Text) + len(part.JSON) + len(part.URI)
		out = append(out, part)
	}
	if size > maxInput {
		return nil, malformed("parts", "together more than 512 KiB")
	}
	return out, nil
}

// digest tells whether a repeated request id comes with the same body.
func digest(m proto.Message) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
