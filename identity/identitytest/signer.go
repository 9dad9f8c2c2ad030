package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
)

// Signer signs bytes as they are, so that a test can forge what no library
// would mint: duplicate names, wrong types, foreign headers.
type Signer struct {
	Alg string
	Kid string

	tb  testing.TB
	key crypto.Signer
}

// NewSigner makes a key for RS256, PS256, ES256, ES384 or EdDSA.
func NewSigner(t testing.TB, alg, kid string) *Signer {
	t.Helper()
	s := &Signer{Alg: alg, Kid: kid, tb: t}
	var err error
	switch alg {
	case "RS256", "PS256":
		s.key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		s.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, s.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no such algorithm: %s", alg)
	}
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return s
}

// Public is the public key.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// Token signs claims under a proper header.
func (s *Signer) Token(claims map[string]any) string {
	return s.Sign(s.JSON(map[string]any{"alg": s.Alg, "kid": s.Kid, "typ": "at+jwt"}), s.JSON(claims))
}

// Sign signs the two parts as they are.
func (s *Signer) Sign(header, payload string) string {
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	return input + "." + encode(s.signature([]byte(input)))
}

// JSON encodes v.
func (s *Signer) JSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		s.tb.Fatalf("encode: %v", err)
	}
	return string(data)
}

func (s *Signer) signature(input []byte) []byte {
	sum := sha256.Sum256(input)
	var sig []byte
	var err error
	switch key := s.key.(type) {
	case *rsa.PrivateKey:
		if s.Alg == "PS256" {
			sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		}
	case *ecdsa.PrivateKey:
		sig, err = signEC(key, input)
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, input)
	}
	if err != nil {
		s.tb.Fatalf("sign: %v", err)
	}
	return sig
}

func signEC(key *ecdsa.PrivateKey, input []byte) ([]byte, error) {
	size, digest := 32, sha256.New()
	if key.Curve == elliptic.P384() {
		size, digest = 48, sha512.New384()
	}
	digest.Write(input)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest.Sum(nil))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out, nil
}

// JWK is the public key as a JWK.
func (s *Signer) JWK() map[string]any {
	jwk := map[string]any{"kid": s.Kid, "alg": s.Alg, "use": "sig"}
	switch key := s.key.Public().(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(key.N.Bytes()), encode(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			s.tb.Fatalf("encode a point: %v", err)
		}
		half := (len(point) - 1) / 2
		jwk["kty"], jwk["crv"] = "EC", key.Curve.Params().Name
		jwk["x"], jwk["y"] = encode(point[1:1+half]), encode(point[1+half:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(key)
	}
	return jwk
}

// KeySet is the JWK set of several signers.
func KeySet(signers ...*Signer) []byte {
	var keys []map[string]any
	for _, s := range signers {
		keys = append(keys, s.JWK())
	}
	data, _ := json.Marshal(map[string]any{"keys": keys}) // maps of strings always encode
	return data
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
