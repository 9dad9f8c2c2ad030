package server

import (
	"crypto/sha256"
	"encoding/base64"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
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

// spec translates a request. Whose run it is, its scopes and its tier are the
// grant's, which the chain has made.
func spec(target string, method string, r runRequest) (runs.Spec, error) {
	parts, size := parts(r.GetParts())
	switch {
	case size > maxInput:
		return runs.Spec{}, malformed("parts", "together more than 512 KiB")
	case r.GetInput() == "" && len(parts) == 0 && r.GetSessionId() == "":
		return runs.Spec{}, malformed("input", "a new session needs an input")
	}
	s := runs.Spec{
		Target: target, Input: r.GetInput(), Parts: parts, SessionID: r.GetSessionId(), Labels: r.GetLabels(),
		Limits: agents.Limits{
			MaxTurns: int(r.GetLimits().GetMaxTurns()), MaxTokens: r.GetLimits().GetMaxTokens(), Timeout: r.GetLimits().GetTimeout().AsDuration(),
		},
		Method: method, RequestID: r.GetRequestId(),
	}
	if s.RequestID == "" {
		return s, nil
	}
	var err error
	s.RequestDigest, err = digest(r)
	return s, err
}

func malformed(field, problem string) error {
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request is malformed: "+field+": "+problem).WithFields(fault.Field{Path: field, Problem: problem})
}

func parts(in []*behalfv1.Part) (out []agents.Part, size int) {
	for _, p := range in {
		part := agents.Part{Text: p.GetText(), JSON: p.GetJson(), URI: p.GetUri().GetUri()}
		size += len(part.Text) + len(part.JSON) + len(part.URI)
		out = append(out, part)
	}
	return out, size
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
