package server

import (
	"context"
	"encoding/json"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Delegations are the grants of sub-agents that run elsewhere.
type Delegations interface {
	// May reports whether a sub-agent of this caller may have a name.
	May(p identity.Principal, agent string) error
	// Delegate makes and keeps the agent's child of the grant in ctx.
	Delegate(ctx context.Context, agent string) (identity.Grant, error)
	// Delegation finds a grant by its id, if it was made for p and holds.
	Delegation(ctx context.Context, p identity.Principal, grantID string) (identity.Delegation, error)
}

// Delegate makes a narrowed grant. The chain has made the parent: the grant that
// the request names, or the caller's own authority, already narrowed to the scopes
// that the request asks for.
func (s *toolService) Delegate(ctx context.Context, r *behalfv1.DelegateRequest) (*behalfv1.DelegateResponse, error) {
	g, err := s.grants.Delegate(ctx, r.GetAgent())
	if err != nil {
		return nil, err
	}
	return &behalfv1.DelegateResponse{
		GrantId: g.ID(), Scopes: scopes(g.Scopes().Names()), DelegationChain: g.Chain(), ExpiresAt: timestamppb.New(g.Expires()),
	}, nil
}

// delegateRecord is what the record shows of a delegation. The scopes are in the
// row itself, as they came out.
func delegateRecord(r *behalfv1.DelegateRequest) json.RawMessage {
	b, err := json.Marshal(struct {
		Task   string `json:"task,omitempty"`
		Parent string `json:"grant_id,omitempty"`
	}{r.GetTask(), r.GetGrantId()})
	if err != nil {
		return nil
	}
	return b
}
