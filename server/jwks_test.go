package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
)

func withHTTP(c *config.Config) { c.Server.HTTP = "127.0.0.1:0" }

func TestBackendsFindTheKeysOfCallTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withHTTP})
	code, first := w.get("/.well-known/jwks.json")
	if code != http.StatusOK || !strings.Contains(first, `"kid"`) || strings.Contains(first, `"d"`) {
		t.Errorf("got %d %s, want public keys", code, first)
	}
	if code, text := w.get("/.well-known/oauth-authorization-server"); code != http.StatusOK || !strings.Contains(text, "http://"+w.http+"/.well-known/jwks.json") {
		t.Errorf("got %d %s, want where the keys are", code, text)
	}

	w.restart()

	if _, again := w.get("/.well-known/jwks.json"); again != first {
		t.Errorf("got %s after a restart, want %s: backends still have it", again, first)
	}
}
