package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/internal/whole"
	"github.com/go-jose/go-jose/v4"
)

const devTokenLife = time.Hour

// DevIssuerConfig describes a development issuer. URL is required.
type DevIssuerConfig struct {
	URL     string           // its `iss`
	KeyFile string           // where the key is kept; absent: a new key each time
	Now     func() time.Time // absent: time.Now
}

// DevIssuer mints access tokens inside the program, for the demo, development
// and tests. A production configuration never names one.
type DevIssuer struct {
	url string
	now func() time.Time
	*signer
}

// NewDevIssuer loads or makes the ES256 key.
func NewDevIssuer(cfg DevIssuerConfig) (*DevIssuer, error) {
	if cfg.URL == "" {
		return nil, errors.New("the development issuer needs a URL")
	}
	s, err := newSigner(cfg.KeyFile, "at+jwt")
	if err != nil {
		return nil, err
	}
	return &DevIssuer{url: cfg.URL, now: orNow(cfg.Now), signer: s}, nil
}

// signer signs tokens of one type with a development key.
type signer struct {
	signer jose.Signer
	jwks   []byte // the public key, as a set
}

// newSigner keeps its key in file, or with an empty name nowhere.
func newSigner(file, typ string) (*signer, error) {
	key, err := devKey(file)
	if err != nil {
		return nil, err
	}
	public := jose.JSONWebKey{Key: &key.PublicKey, Algorithm: string(jose.ES256)}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("name a key: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	s := &signer{}
	if s.jwks, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}); err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	s.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return nil, fmt.Errorf("make a signer: %w", err)
	}
	return s, nil
}

func (s *signer) sign(claims map[string]any) (Secret, error) { return signClaims(s.signer, claims) }

func devKey(file string) (*ecdsa.PrivateKey, error) {
	if file == "" {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return newDevKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the issuer's key: %w", err)
	}
	if err := checkPrivate(file); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("the key file %s has no PEM block", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key file %s has no P-256 key", file)
	}
	return key, nil
}

func newDevKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the issuer's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the issuer's key: %w", err)
	}
	return key, whole.Replace(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Mint signs an at+jwt with the claims. It fills in iss, iat, exp (an hour) and
// jti where they are absent; sub and aud are the caller's.
func (d *DevIssuer) Mint(claims map[string]any) (Secret, error) {
	now := d.now()
	full := map[string]any{"iss": d.url, "iat": now.Unix(), "exp": now.Add(devTokenLife).Unix(), "jti": rand.Text()}
	maps.Copy(full, claims)
	return d.sign(full)
}

// URL is the `iss` of its tokens.
func (d *DevIssuer) URL() string { return d.url }

// JWKS is its key set, for Issuer.JWKS or a file. It holds the public key only.
func (d *DevIssuer) JWKS() []byte { return append([]byte(nil), d.jwks...) }

// Issuer is the configuration that accepts its tokens without a network.
func (d *DevIssuer) Issuer(audience, tenant string) Issuer {
	return Issuer{
		Issuer: d.url, Audiences: []string{audience}, Algorithms: []string{string(jose.ES256)},
		Tenant: tenant, RolesClaim: "roles", JWKS: d.JWKS(),
	}
}

// Handler serves the discovery document and the key set.
func (d *DevIssuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		meta, _ := json.Marshal(map[string]string{"issuer": d.url, "jwks_uri": strings.TrimSuffix(d.url, "/") + "/jwks.json"})
		writeJSON(w, meta)
	})
	mux.HandleFunc("GET /jwks.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, d.jwks) })
	return mux
}

func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(body)
}
