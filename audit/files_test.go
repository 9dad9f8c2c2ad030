package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func timeout(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("too late"))
	return ctx, func() { cancel(nil) }
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestKeyIsCreatedOnceAndKeptPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")

	made, err := audit.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := audit.LoadOrCreateKey(path)
	if err != nil || !again.Equal(made) || mode(t, path) != 0o600 {
		t.Fatalf("got another key, %v, mode %o", err, mode(t, path))
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.LoadKey(path); !errors.Is(err, audit.ErrMode) {
		t.Errorf("got %v, want ErrMode", err)
	}
}

func TestKeyRefusesWhatIsNoKeyAndDoesNotQuoteIt(t *testing.T) {
	for _, bad := range []string{"", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"} {
		if _, err := audit.ParseKey([]byte(bad)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestPublicKeyGoesThroughPEM(t *testing.T) {
	e := newEvidence(t)
	text, err := audit.PublicPEM(e.key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := audit.ParsePublicKey(text); err != nil || !got.Equal(e.key) {
		t.Errorf("got %v, %v", got, err)
	}
}

func witnessLines(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	for line, err := range audit.WitnessFile(path) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(line))
	}
	return out
}

func TestWitnessOnlyGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	for i, line := range []string{"one", "two", strings.Repeat("three", 100_000), "four"} {
		w, err := audit.OpenWitness(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := witnessLines(t, path); len(got) != i || i > 0 && string(w.Last()) != got[i-1] {
			t.Fatalf("before line %d: got %d lines, last of %d bytes", i, len(got), len(w.Last()))
		}
		if err := errors.Join(w.Append([]byte(line)), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if mode(t, path) != 0o600 {
		t.Errorf("got mode %o", mode(t, path))
	}
}

func TestWitnessFinishesATornLine(t *testing.T) {
	for _, c := range []struct{ held, line, want string }{
		{"one\ntw", "two", "one\ntwo\n"},
		{"one\ntwo", "two", "one\ntwo\n"},
		{"one\nxx", "two", "one\nxx\ntwo\n"},
		{"tw", "two", "two\n"},
	} {
		path := filepath.Join(t.TempDir(), "witness")
		if err := os.WriteFile(path, []byte(c.held), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := audit.OpenWitness(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Append([]byte(c.line)), w.Close()); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("%q + %q: got %q, want %q", c.held, c.line, got, c.want)
		}
	}
}

// tight takes a few bytes and then fails, like a disk that fills up.
type tight struct {
	strings.Builder
	room int
}

func (w *tight) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	w.Builder.Write(p[:n])
	if n < len(p) {
		return n, errors.New("full")
	}
	return n, nil
}

func TestWitnessGoesOnAfterAFailedWrite(t *testing.T) {
	out := &tight{room: 6}
	w := audit.NewWitness(out)

	err := errors.Join(w.Append([]byte("one")), w.Append([]byte("two")))
	out.room = 100
	if err == nil || w.Append([]byte("two")) != nil || out.String() != "one\ntwo\n" {
		t.Errorf("got %v, %q", err, out.String())
	}
}

func TestWitnessRefusesAFileForEverybody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenWitness(path); !errors.Is(err, audit.ErrMode) {
		t.Errorf("got %v, want ErrMode", err)
	}
}
