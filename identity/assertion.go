package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// assertionLife is how long a client assertion holds: it is made for one request.
const assertionLife = time.Minute

// ClientKey proves to an authorization server that we are its client, without a
// secret that both know: private_key_jwt (RFC 7523, OpenID Connect Core 9).
type ClientKey struct {
	signer jose.Signer
	public jose.JSONWebKey
	now    func() time.Time
}

// NewClientKey reads a private key in PEM: P-256, RSA of at least 2,048 bits, or
// Ed25519. An empty keyID is the key's thumbprint (RFC 7638). Nil now: time.Now. The
// error never repeats the key.
func NewClientKey(private Secret, keyID string, now func() time.Time) (*ClientKey, error) {
	key, alg, err := readClientKey(private)
	if err != nil {
		return nil, err
	}
	c := &ClientKey{public: jose.JSONWebKey{Key: key.Public(), KeyID: keyID, Algorithm: string(alg), Use: "sig"}, now: orNow(now)}
	if keyID == "" {
		sum, err := c.public.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("name the client's key: %w", err)
		}
		c.public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	}
	c.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: c.public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	return c, err
}

func readClientKey(private Secret) (crypto.Signer, jose.SignatureAlgorithm, error) {
	block, _ := pem.Decode([]byte(private.Reveal()))
	if block == nil {
		return nil, "", errors.New("the client's key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", errors.New("the client's key is not an unencrypted PKCS #8 private key")
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return key, jose.ES256, nil
		}
	case *rsa.PrivateKey:
		if key.N.BitLen() >= minRSABits {
			return key, jose.RS256, nil
		}
	case ed25519.PrivateKey:
		return key, jose.EdDSA, nil
	}
	return nil, "", fmt.Errorf("the client's key must be P-256, Ed25519, or RSA of at least %d bits", minRSABits)
}

// Assertion is a fresh proof for one request: of whom, to whom.
func (c *ClientKey) Assertion(clientID, audience string) (Secret, error) {
	now := c.now()
	return signClaims(c.signer, map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
}

// signClaims makes a JWT of what its signer's header says.
func signClaims(s jose.Signer, claims map[string]any) (Secret, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return Secret{}, fmt.Errorf("encode claims: %w", err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return Secret{}, fmt.Errorf("sign claims: %w", err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		return Secret{}, fmt.Errorf("sign claims: %w", err)
	}
	return NewSecret(raw), nil
}

// JWKS is the public key, as an authorization server is given it.
func (c *ClientKey) JWKS() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.public}})
}
