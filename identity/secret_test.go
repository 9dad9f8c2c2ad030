package identity_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/identity"
)

const canary = "canary-7f3a"

func TestSecretPrintsAsAMaskHoweverItIsPrinted(t *testing.T) {
	s := identity.NewSecret(canary)
	held := struct {
		Public identity.Secret
		hidden identity.Secret // fmt calls no methods on this one
		list   []identity.Secret
		lookup map[string]identity.Secret
	}{s, s, []identity.Secret{s}, map[string]identity.Secret{"a": s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%-5.2s", "%U"} {
		for _, v := range []any{s, &s, held, &held, []any{s}, map[string]any{"k": held}} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", slog.Any("secret", s), slog.Any("held", held), slog.Any("pointer", &s), slog.Group("g", slog.Any("s", s)))
	}
	data, err := json.Marshal([]any{s, &s, held, map[string]any{"a": s}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	fmt.Fprint(&out, fmt.Errorf("with %v and %w", s, fmt.Errorf("%+v", held)))

	text := out.String()

	if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) || strings.Contains(text, fmt.Sprintf("%X", canary)) {
		t.Errorf("the secret is in: %s", text)
	}
	if !strings.Contains(text, "[secret]") || s.Reveal() != canary {
		t.Error("the mask is missing, or the secret is lost")
	}
}

func TestZeroSecretIsEmpty(t *testing.T) {
	var s identity.Secret

	if !s.IsZero() || s.Reveal() != "" || s.String() != "[secret]" || identity.NewSecret("x").IsZero() {
		t.Errorf("got %v", s)
	}
}

func TestNoFaultOrLogContainsAToken(t *testing.T) {
	f := newForge(t)
	for _, row := range f.Bad() {
		name, raw := row.Name, row.Token
		_, err := f.verifier.Verify(t.Context(), identity.NewSecret(raw), "")
		text := fmt.Sprintf("%v %+v", err, err)
		for _, p := range strings.Split(raw, ".") {
			if len(p) > 8 && strings.Contains(text, p) {
				t.Errorf("%s: a part of the token is in %q", name, text)
			}
		}
	}
}
