package identity_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func TestDevIssuerKeepsItsKeyInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.key")
	cfg := identity.DevIssuerConfig{URL: issuerName, KeyFile: file}
	first, err := identity.NewDevIssuer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := identity.NewDevIssuer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info, err)
	}
	token := identitytest.Token(t, first, ann())

	_, err = newVerifier(t, nil, second.Issuer("behalf", "acme")).Verify(t.Context(), token, "")

	if err != nil || string(first.JWKS()) != string(second.JWKS()) {
		t.Errorf("got %v, want the same key", err)
	}
}

func TestDevIssuerRefusesBadKeyFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.key")
	if _, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: issuerName, KeyFile: file}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"readable by others": func() error { return os.Chmod(file, 0o644) },
		"not PEM":            func() error { return os.WriteFile(file, []byte("x"), 0o600) },
		"not a key": func() error {
			return os.WriteFile(file, []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), 0o600)
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: issuerName, KeyFile: file}); err == nil {
			t.Errorf("%s: got none, want an error", name)
		}
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := identity.NewDevIssuer(identity.DevIssuerConfig{}); err == nil {
		t.Error("without a URL: got none, want an error")
	}
}

func TestDevIssuerPublishesNoPrivateKey(t *testing.T) {
	d := devIssuer(t, issuerName)
	w := httptest.NewRecorder()

	d.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/jwks.json", nil))

	if body := w.Body.String(); !strings.Contains(body, `"x":`) || strings.Contains(body, `"d":`) {
		t.Errorf("got %s, want a public key only", body)
	}
}

func TestDevIssuerRefusesClaimsThatAreNotJSON(t *testing.T) {
	if _, err := devIssuer(t, issuerName).Mint(map[string]any{"x": func() {}}); err == nil {
		t.Error("got none, want an error")
	}
}
