package server

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// SigningKeys are the keys of call tokens, see *calltoken.Keys.
type SigningKeys interface {
	List() []calltoken.SigningKey
	Renew() (calltoken.SigningKey, error)
	Revoke(id string) error
}

var (
	errOperatorsKeys = fault.New(codes.PermissionDenied, fault.PolicyDenied, "call tokens of all tenants are signed with these keys; only people of server.operator_tenant may see or change them")
	errNotRotated    = fault.New(codes.Unavailable, fault.KeysetUnavailable, "the new key cannot be stored, so nothing has changed; the server's log says why")
	errNotStored     = fault.New(codes.Unavailable, fault.KeysetUnavailable, "the key signs no more, but that cannot be stored and a restart would bring it back; repeat this until it succeeds")
)

// ListSigningKeys lists the keys of call tokens.
func (s *adminService) ListSigningKeys(ctx context.Context, _ *behalfv1.ListSigningKeysRequest) (*behalfv1.ListSigningKeysResponse, error) {
	if err := s.operates(ctx); err != nil {
		return nil, err
	}
	return &behalfv1.ListSigningKeysResponse{Keys: signingKeys(s.keys.List())}, nil
}

// RotateSigningKey publishes the next key.
func (s *adminService) RotateSigningKey(ctx context.Context, _ *behalfv1.RotateSigningKeyRequest) (*behalfv1.RotateSigningKeyResponse, error) {
	if err := s.operates(ctx); err != nil {
		return nil, err
	}
	next, err := s.keys.Renew()
	if err != nil {
		return nil, errNotRotated.Because(err)
	}
	return &behalfv1.RotateSigningKeyResponse{Next: signingKey(next)}, nil
}

// RevokeSigningKey removes a key at once.
func (s *adminService) RevokeSigningKey(ctx context.Context, r *behalfv1.RevokeSigningKeyRequest) (*behalfv1.RevokeSigningKeyResponse, error) {
	if err := s.operates(ctx); err != nil {
		return nil, err
	}
	err := s.keys.Revoke(r.GetKeyId())
	switch {
	case errors.Is(err, calltoken.ErrNoKey):
		return nil, notFound("key")
	case err != nil:
		return nil, errNotStored.Because(err)
	}
	return &behalfv1.RevokeSigningKeyResponse{Keys: signingKeys(s.keys.List())}, nil
}

// operates refuses whoever may not touch what all tenants share.
func (s *adminService) operates(ctx context.Context) error {
	g, err := grant(ctx)
	if err == nil && !s.admin.Operator(g.Tenant()) {
		return errOperatorsKeys
	}
	return err
}

func signingKeys(all []calltoken.SigningKey) (out []*behalfv1.SigningKey) {
	for _, k := range all {
		out = append(out, signingKey(k))
	}
	return out
}

func signingKey(k calltoken.SigningKey) *behalfv1.SigningKey {
	return &behalfv1.SigningKey{
		KeyId: k.ID, State: behalfv1.SigningKeyState(enum(behalfv1.SigningKeyState_value, "SIGNING_KEY_STATE_", string(k.State))),
		SignsFrom: timestamp(k.From), SignsUntil: timestamp(k.Until),
	}
}

// keyRecord is what the audit log shows of a request to revoke a key; nil for any
// other.
func keyRecord(m proto.Message) json.RawMessage {
	r, ok := m.(*behalfv1.RevokeSigningKeyRequest)
	if !ok {
		return nil
	}
	b, err := json.Marshal(map[string]string{"key_id": r.GetKeyId(), "reason": clip(r.GetReason(), 1024)})
	if err != nil {
		return nil
	}
	return b
}
