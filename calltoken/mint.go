package calltoken

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
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
	if bytes.Contains(payload, []byte(`\ufffd`)) { // what the encoder writes for bytes that are no text: two names would be one
		return identity.Secret{}, errors.New("a claim is not UTF-8")
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
	der, err := x.private.Sign(nil, sum[:], crypto.SHA256) // without a source of chance: as RFC 6979 says, which takes a quarter less
	if err != nil {
		return identity.Secret{}, fmt.Errorf("sign a call token: %w", err)
	}
	signature, err := joined(der)
	if err != nil {
		return identity.Secret{}, err
	}
	token = base64.RawURLEncoding.AppendEncode(append(token, '.'), signature[:])
	return identity.NewSecret(string(token)), nil
}

// joined is a signature as a JWS has it: r and s side by side (RFC 7518, 3.4), which the
// library gives in ASN.1.
func joined(der []byte) (out [64]byte, err error) {
	var r, s []byte
	in := cryptobyte.String(der)
	if !in.ReadASN1(&in, asn1.SEQUENCE) || !in.ReadASN1Integer(&r) || !in.ReadASN1Integer(&s) || len(r) > 32 || len(s) > 32 {
		return out, errors.New("a signature of a call token cannot be read")
	}
	copy(out[32-len(r):], r)
	copy(out[64-len(s):], s)
	return out, nil
}
