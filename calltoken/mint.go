package calltoken

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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
	return k.current().sign(typ, payload)
}

// sign makes the token of a payload (RFC 7515, 3.1 and RFC 7518, 3.4). It is by hand
// since a library writes and reads the same header anew for each token, which took
// as long as the signature.
func (x *key) sign(typ string, payload []byte) (identity.Secret, error) {
	header := x.headers[typ]
	if header == "" {
		return identity.Secret{}, fmt.Errorf("there are no tokens of the type %q", typ)
	}
	token := make([]byte, 0, len(header)+base64.RawURLEncoding.EncodedLen(len(payload))+1+base64.RawURLEncoding.EncodedLen(64))
	token = base64.RawURLEncoding.AppendEncode(append(token, header...), payload)
	sum := sha256.Sum256(token)
	r, s, err := ecdsa.Sign(rand.Reader, x.private, sum[:])
	if err != nil {
		return identity.Secret{}, fmt.Errorf("sign a call token: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	token = base64.RawURLEncoding.AppendEncode(append(token, '.'), signature[:])
	return identity.NewSecret(string(token)), nil
}
