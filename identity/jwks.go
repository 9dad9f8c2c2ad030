package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeySetBytes = 256 << 10
	maxKeys        = 100
	minRSABits     = 2048
	maxRSABits     = 8192
)

// keys is one version of an issuer's verification keys. It is never changed.
type keys struct {
	byID    map[string]publicKey
	dropped int // keys that were not usable
	doubled int // key ids that were there more than once; none of those keys counts
}

type publicKey struct {
	key any
	alg jose.SignatureAlgorithm // empty: whatever fits the key
}

// suits reports whether the key may verify alg: the type and curve must be the
// algorithm's, and the JWK must not say otherwise.
func (k publicKey) suits(alg jose.SignatureAlgorithm) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return slices.Contains(rsaAlgorithms(), alg)
	case *ecdsa.PublicKey:
		return alg != "" && alg == curveAlgorithm(key.Curve)
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

func rsaAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
}

// curveAlgorithm is the one algorithm of a curve; empty for one without.
func curveAlgorithm(c elliptic.Curve) jose.SignatureAlgorithm {
	switch c {
	case elliptic.P256():
		return jose.ES256
	case elliptic.P384():
		return jose.ES384
	case elliptic.P521():
		return jose.ES512
	}
	return ""
}

// accepted says which members of a key set count.
type accepted struct {
	use        string // their `use`, if they have one
	algorithms []jose.SignatureAlgorithm
}

// parseKeys reads an issuer's JWK set. A set without a usable key is an error, so
// that it never replaces a good one.
func parseKeys(data []byte) (*keys, error) {
	ks, err := readKeys(data, accepted{"sig", algorithms()})
	if err == nil && len(ks.byID) == 0 {
		return nil, errors.New("the key set has no usable key")
	}
	return ks, err
}

// readKeys reads a JWK set, of which there may be nothing that counts.
func readKeys(data []byte, a accepted) (*keys, error) {
	if len(data) > maxKeySetBytes {
		return nil, errors.New("the key set is longer than 256 KiB")
	}
	doc, err := strictObject(data)
	if err != nil {
		return nil, err
	}
	members, ok := doc["keys"].([]any)
	if !ok {
		return nil, errors.New("the key set has no keys")
	}
	if len(members) > maxKeys {
		return nil, errors.New("the key set has more than 100 keys")
	}
	return collect(members, a), nil
}

func collect(members []any, a accepted) *keys {
	ks := &keys{byID: map[string]publicKey{}}
	seen := map[string]int{}
	for _, m := range members {
		jwk, _ := m.(map[string]any)
		kid, _ := jwk["kid"].(string)
		seen[kid]++
		key, err := a.parseKey(jwk)
		if err != nil {
			ks.dropped++
			continue
		}
		ks.byID[kid] = key
	}
	for kid, n := range seen {
		if n > 1 && kid != "" {
			delete(ks.byID, kid)
			ks.doubled++
		}
	}
	return ks
}

func (a accepted) parseKey(jwk map[string]any) (publicKey, error) {
	if kid, _ := jwk["kid"].(string); !validKeyID(kid) {
		return publicKey{}, errors.New("no usable kid")
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth", "priv"} {
		if _, ok := jwk[name]; ok {
			return publicKey{}, errors.New("not a public key")
		}
	}
	if err := a.checkUse(jwk); err != nil {
		return publicKey{}, err
	}
	alg, err := a.keyAlgorithm(jwk)
	if err != nil {
		return publicKey{}, err
	}
	key, err := decodeKey(jwk)
	if err != nil {
		return publicKey{}, err
	}
	k := publicKey{key: key, alg: alg}
	if !slices.ContainsFunc(a.algorithms, k.suits) {
		return publicKey{}, errors.New("no algorithm suits the key")
	}
	return k, nil
}

func (a accepted) checkUse(jwk map[string]any) error {
	if use, ok := jwk["use"]; ok && use != a.use {
		return errors.New("not for signatures")
	}
	ops, ok := jwk["key_ops"]
	if !ok {
		return nil
	}
	if names, ok := list(ops); !ok || !slices.Contains(names, "verify") {
		return errors.New("not for verifying")
	}
	return nil
}

func (a accepted) keyAlgorithm(jwk map[string]any) (jose.SignatureAlgorithm, error) {
	v, ok := jwk["alg"]
	if !ok {
		return "", nil
	}
	name, _ := v.(string)
	alg := jose.SignatureAlgorithm(name)
	if !slices.Contains(a.algorithms, alg) {
		return "", errors.New("of an algorithm that is not accepted")
	}
	return alg, nil
}

// decodeKey gives the library only the members that make a public key, so that
// certificates and addresses in a JWK are not even read.
func decodeKey(jwk map[string]any) (any, error) {
	bare := map[string]any{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if v, ok := jwk[name].(string); ok {
			bare[name] = v
		}
	}
	data, err := json.Marshal(bare)
	if err != nil {
		return nil, err
	}
	var out jose.JSONWebKey
	if err := out.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return out.Key, checkStrength(out.Key)
}

func checkStrength(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits || k.E < 3 || k.E%2 == 0 {
			return errors.New("the RSA key is too weak or too large")
		}
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil { // checks that the point is on the curve
			return err
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return errors.New("the Ed25519 key has the wrong length")
		}
	default:
		return errors.New("not a kind of key that is accepted")
	}
	return nil
}
