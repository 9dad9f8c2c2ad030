package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const canary = "CANARY-7d1f"

func TestASecretIsNeverPrinted(t *testing.T) {
	c, err := Parse("behalf.yaml", []byte(`
models: { m: { model: x, api_key: "${env:K}" } }
policy: { dir: policies }
audit: { key: "${file:shut.key}" }
`), canaryWorld())
	if err != nil {
		t.Fatal(err)
	}

	s := c.Models["m"].APIKey
	if s.Reveal() != canary {
		t.Fatalf("got %q, want the secret revealed", s.Reveal())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%t", "%T"} {
		quiet(t, verb, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, c), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, struct{ hidden Secret }{s}))
	}
	quiet(t, "json", marshal(t, json.Marshal, c), marshal(t, json.Marshal, map[string]any{"a": s, "b": &s}))
	quiet(t, "yaml", marshal(t, func(v any) ([]byte, error) { return yaml.Dump(v) }, c))
	quiet(t, "slog", logged(s, &s, c))
}

func marshal(t *testing.T, encode func(any) ([]byte, error), v any) string {
	t.Helper()
	b, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func logged(values ...any) string {
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		for _, v := range values {
			slog.New(h).Info("it", slog.Any("v", v))
		}
	}
	return out.String()
}

func quiet(t *testing.T, how string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
			t.Errorf("%s prints the secret: %s", how, text)
		}
	}
}

func canaryWorld() World {
	w := world(map[string]fs.FileMode{"shut.key": 0o600})
	w.Env = func(string) (string, bool) { return canary, true }
	return w
}

// TestNoProblemRepeatsWhatAReferenceStandsFor puts a secret where each scalar of
// each bad file is.
func TestNoProblemRepeatsWhatAReferenceStandsFor(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`([:\[,-] )[A-Za-z0-9./_"-]+`)
	for _, file := range append(files, "../config.example.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range value.FindAllSubmatchIndex(data, -1) {
			text := string(data[:at[3]]) + `"${env:K}"` + string(data[at[1]:])
			if _, err := Parse(file, []byte(text), canaryWorld()); err != nil {
				quiet(t, file, err.Error())
			}
		}
	}
}

func TestALiteralSecretIsNotRepeated(t *testing.T) {
	for _, text := range []string{
		"models: { m: { model: x, api_key: " + canary + " } }",
		"models: { m: { model: x, api_key: *" + canary + " } }",
		"models: { m: { model: x, base_url: 'https://u:" + canary + "@h' } }",
		"store: { dsn: 'postgres://u:" + canary + "@h/db' }",
		"store: { dsn: 'mysql://u:" + canary + "@h/db' }",
		"tools: { t: { mcp: { url: https://h, headers: { a: " + canary + " } } } }",
	} {
		_, err := Parse("behalf.yaml", []byte(text), world(nil))

		problems(t, err)
		quiet(t, text[:20], err.Error())
	}
}
