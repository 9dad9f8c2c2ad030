package calltoken

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// Mint signs a token of a type, for the shorter of Life and until. It fills in jti,
// iat, nbf and exp; everything else is the caller's, and must be complete.
func (k *Keys) Mint(c Claims, typ string, until time.Time) (identity.Secret, error) {
	now := k.now()
	ends := now.Add(Life)
	if !until.IsZero() && until.Before(ends) {
		ends = until
	}
	if !ends.After(now) {
		return identity.Secret{}, errors.New("the authority for the call has ended")
	}
	c.ID, c.IssuedAt, c.NotBefore, c.Expires = rand.Text(), now.Unix(), now.Unix(), ends.Unix()
	if err := c.complete(); err != nil {
		return identity.Secret{}, err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return identity.Secret{}, fmt.Errorf("encode claims: %w", err)
	}
	signer := k.current().signers[typ]
	if signer == nil {
		return identity.Secret{}, fmt.Errorf("there are no tokens of the type %q", typ)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return identity.Secret{}, fmt.Errorf("sign a call token: %w", err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		return identity.Secret{}, fmt.Errorf("sign a call token: %w", err)
	}
	return identity.NewSecret(raw), nil
}
