package identity_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

// logged is a logger whose messages the test waits for.
type logged chan string

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l logged) WithGroup(string) slog.Handler            { return l }
func (l logged) Handle(_ context.Context, r slog.Record) error {
	select {
	case l <- r.Message:
	default:
	}
	return nil
}

func (l logged) wait(t *testing.T, message string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case got := <-l:
			if strings.Contains(got, message) {
				return
			}
		case <-deadline:
			t.Fatalf("no message %q", message)
		}
	}
}

// run runs a source until the test ends.
func run(t *testing.T, src identity.Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// write puts an SVID and its authority into dir as tls.crt, tls.key and ca.crt.
func write(t *testing.T, dir string, ca *identity.DevCA, svid *identity.SVID) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(svid.Certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: svid.Certificate.Leaf.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"ca.crt":  ca.AuthorityPEM(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func filesIn(dir string, log logged) identity.FilesConfig {
	return identity.FilesConfig{
		Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), Logger: slog.New(log),
		Bundles: map[string]string{identitytest.TrustDomain: filepath.Join(dir, "ca.crt")},
	}
}

func thumbprint(t *testing.T, src identity.Source) string {
	t.Helper()
	s, err := src.SVID()
	if err != nil {
		t.Fatal(err)
	}
	return s.Thumbprint
}

func TestFilesFollowKubernetesSymlinkSwapsMoreThanOnce(t *testing.T) {
	ca, root, log := identitytest.NewCA(t), t.TempDir(), make(logged, 100)
	swap := func(version string) *identity.SVID {
		dir := filepath.Join(root, version)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		svid := identitytest.Issue(t, ca, "/server")
		write(t, dir, ca, svid)
		if err := os.Symlink(version, filepath.Join(root, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(root, "..tmp"), filepath.Join(root, "..data")); err != nil {
			t.Fatal(err)
		}
		return svid
	}
	swap("..1")
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	src, err := identity.NewFiles(filesIn(root, log))
	if err != nil {
		t.Fatal(err)
	}
	before, err := src.Bundle(identitytest.TrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	run(t, src)

	for _, version := range []string{"..2", "..3", "..4"} {
		want := swap(version)
		log.wait(t, "SVID reloaded")
		if got := thumbprint(t, src); got != want.Thumbprint {
			t.Errorf("swap %s: got %s, want %s", version, got, want.Thumbprint)
		}
	}
	if after, err := src.Bundle(identitytest.TrustDomain); err != nil || after != before {
		t.Error("a bundle that did not change is another one now")
	}
}

func TestFilesKeepTheOldPairWhileTheNewOneIsIncomplete(t *testing.T) {
	ca, dir, log := identitytest.NewCA(t), t.TempDir(), make(logged, 100)
	old := identitytest.Issue(t, ca, "/server")
	write(t, dir, ca, old)
	src, err := identity.NewFiles(filesIn(dir, log))
	if err != nil {
		t.Fatal(err)
	}
	run(t, src)
	next := identitytest.Issue(t, ca, "/server")
	half := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next.Certificate.Leaf.Raw})
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), half, 0o600); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "not reloaded")
	during := thumbprint(t, src)

	write(t, dir, ca, next)
	log.wait(t, "SVID reloaded")

	if during != old.Thumbprint || thumbprint(t, src) != next.Thumbprint {
		t.Errorf("got %s and %s, want the old and then the new", during, thumbprint(t, src))
	}
}

func TestFilesRefuseAKeyThatOthersCanRead(t *testing.T) {
	ca := identitytest.NewCA(t)
	for mode, want := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o604: false, 0o660: false} {
		dir := t.TempDir()
		write(t, dir, ca, identitytest.Issue(t, ca, "/server"))
		if err := os.Chmod(filepath.Join(dir, "tls.key"), mode); err != nil {
			t.Fatal(err)
		}

		_, err := identity.NewFiles(filesIn(dir, make(logged)))

		if (err == nil) != want {
			t.Errorf("mode %04o: got %v, want accepted: %v", mode, err, want)
		}
	}
}

func TestFilesNeedEverythingAtStart(t *testing.T) {
	ca := identitytest.NewCA(t)
	for name, spoil := range map[string]func(dir string, cfg *identity.FilesConfig) error{
		"no bundle":           func(_ string, cfg *identity.FilesConfig) error { cfg.Bundles = nil; return nil },
		"no key file":         func(dir string, _ *identity.FilesConfig) error { return os.Remove(filepath.Join(dir, "tls.key")) },
		"no certificate file": func(dir string, _ *identity.FilesConfig) error { return os.Remove(filepath.Join(dir, "tls.crt")) },
		"empty bundle": func(dir string, _ *identity.FilesConfig) error {
			return os.WriteFile(filepath.Join(dir, "ca.crt"), nil, 0o600)
		},
		"a key in the bundle": func(dir string, cfg *identity.FilesConfig) error {
			return copyFile(cfg.Key, filepath.Join(dir, "ca.crt"))
		},
		"a CA as certificate": func(dir string, cfg *identity.FilesConfig) error {
			return copyFile(filepath.Join(dir, "ca.crt"), cfg.Cert)
		},
		"bad trust domain": func(dir string, cfg *identity.FilesConfig) error {
			cfg.Bundles = map[string]string{"A B": filepath.Join(dir, "ca.crt")}
			return nil
		},
		"JWT bundle does not exist": func(_ string, cfg *identity.FilesConfig) error {
			cfg.JWTBundles = map[string]string{"a.b": "/nowhere"}
			return nil
		},
		"malformed JWT bundle": func(dir string, cfg *identity.FilesConfig) error {
			cfg.JWTBundles = map[string]string{"a.b": filepath.Join(dir, "ca.crt")}
			return nil
		},
		"bundle does not exist": func(_ string, cfg *identity.FilesConfig) error {
			cfg.Bundles = map[string]string{"a.b": "/nowhere"}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, ca, identitytest.Issue(t, ca, "/server"))
			cfg := filesIn(dir, make(logged))
			if err := spoil(dir, &cfg); err != nil {
				t.Fatal(err)
			}

			if _, err := identity.NewFiles(cfg); err == nil {
				t.Error("got none, want an error")
			}
		})
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

func TestWorkloadAPIFollowsRotationAndFederation(t *testing.T) {
	ca, partner := identitytest.NewCA(t), identitytest.NewCAOf(t, "partner.example")
	api, log := identitytest.NewWorkloadAPI(t), make(logged, 100)
	first, second := identitytest.Issue(t, ca, "/server"), identitytest.Issue(t, ca, "/server")
	api.Push(t, first, identitytest.BundleOf(t, ca))
	src, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: api.Socket, Logger: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	atStart := thumbprint(t, src)
	_, before := src.Bundle("partner.example")
	run(t, src)
	log.wait(t, "SVID received")

	api.Push(t, second, identitytest.BundleOf(t, ca), identitytest.BundleOf(t, partner))
	log.wait(t, "SVID received")
	_, after := src.Bundle("partner.example")

	if atStart != first.Thumbprint || thumbprint(t, src) != second.Thumbprint {
		t.Errorf("got %s and %s, want the first and the second", atStart, thumbprint(t, src))
	}
	if before == nil || after != nil {
		t.Errorf("federated bundle: got %v and %v, want absent and present", before, after)
	}
}

func TestWorkloadAPIKeepsTheSVIDWhenTheEntryIsGone(t *testing.T) {
	ca, api, log := identitytest.NewCA(t), identitytest.NewWorkloadAPI(t), make(logged, 100)
	svid := identitytest.Issue(t, ca, "/server")
	api.Push(t, svid, identitytest.BundleOf(t, ca))
	src, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: api.Socket, Logger: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	run(t, src)
	log.wait(t, "SVID received")

	api.Forget()
	log.wait(t, "interrupted")

	if got := thumbprint(t, src); got != svid.Thumbprint {
		t.Errorf("got %s, want %s", got, svid.Thumbprint)
	}
}

func TestWorkloadAPIStartEndsAtItsDeadline(t *testing.T) {
	api := identitytest.NewWorkloadAPI(t) // no entry: PermissionDenied
	for name, socket := range map[string]string{"no entry": api.Socket, "no socket": "unix:///nowhere/agent.sock"} {
		t.Run(name, func(t *testing.T) {
			_, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: socket, StartTimeout: 300 * time.Millisecond})

			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the agent's answer", err)
			}
		})
	}
}

func TestWorkloadAPIAddressMustBeASocket(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	for _, socket := range []string{"", "/run/agent.sock", "unix:run/agent.sock", "tcp://127.0.0.1:80", "unix:///a?b=c"} {
		_, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: socket, StartTimeout: time.Millisecond})

		if err == nil || strings.Contains(err.Error(), "no SVID from") {
			t.Errorf("%q: got %v, want the address refused", socket, err)
		}
	}
}
