package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	filesDebounce = 100 * time.Millisecond
	filesPoll     = time.Minute // for file systems without events
)

// FilesConfig names PEM files. Cert and Key are required, and the bundle of at
// least one trust domain.
type FilesConfig struct {
	Cert       string
	Key        string
	Bundles    map[string]string // trust domain -> PEM file
	JWTBundles map[string]string // trust domain -> JWK set of its JWT-SVIDs
	Logger     *slog.Logger      // absent: silent
}

// Files is a Source of PEM files that others rotate, for example cert-manager
// or spiffe-helper.
type Files struct {
	holder
	cfg FilesConfig
	log *slog.Logger
}

// NewFiles loads the files once; Run reloads them.
func NewFiles(cfg FilesConfig) (*Files, error) {
	if cfg.Cert == "" || cfg.Key == "" || len(cfg.Bundles) == 0 {
		return nil, errors.New("a certificate, a key and at least one bundle are required")
	}
	f := &Files{cfg: cfg, log: orDiscard(cfg.Logger)}
	if err := checkPrivate(cfg.Key); err != nil {
		return nil, err
	}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, f.complete()
}

// complete refuses to start without a file that is named: while we run that means
// that its trust domain was removed.
func (f *Files) complete() error {
	for _, files := range []map[string]string{f.cfg.Bundles, f.cfg.JWTBundles} {
		for _, file := range files {
			if _, err := os.Stat(file); err != nil {
				return fmt.Errorf("read bundle: %w", err)
			}
		}
	}
	return nil
}

// Run reloads the files when they change. It watches their directories, not
// the files: Kubernetes swaps a symlink beside them, and a watched file is gone
// after the first swap. What cannot be loaded is logged and changes nothing, but a
// bundle whose file is gone is gone: that is how a trust domain is removed.
func (f *Files) Run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch certificate files: %w", err)
	}
	defer func() { _ = w.Close() }()
	for dir := range f.dirs() {
		if err := w.Add(dir); err != nil {
			return fmt.Errorf("watch the directory %s: %w", dir, err)
		}
	}
	f.reload() // what changed between NewFiles and the watch
	return f.follow(ctx, w)
}

func (f *Files) follow(ctx context.Context, w *fsnotify.Watcher) error {
	timer := time.NewTimer(filesPoll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			timer.Reset(filesDebounce)
		case err := <-w.Errors:
			f.log.WarnContext(ctx, "watching certificate files", slog.Any("error", err))
		case <-timer.C:
			f.reload()
			timer.Reset(filesPoll)
		}
	}
}

func (f *Files) dirs() map[string]bool {
	out := map[string]bool{filepath.Dir(f.cfg.Cert): true, filepath.Dir(f.cfg.Key): true}
	for _, files := range []map[string]string{f.cfg.Bundles, f.cfg.JWTBundles} {
		for _, file := range files {
			out[filepath.Dir(file)] = true
		}
	}
	return out
}

func (f *Files) reload() {
	before, _ := f.SVID()
	if err := f.load(); err != nil {
		f.log.Warn("certificate files not reloaded, the old ones stay", slog.Any("error", err))
		return
	}
	if after, _ := f.SVID(); before == nil || before.Thumbprint != after.Thumbprint {
		f.log.Info("SVID reloaded", slog.String("spiffe_id", after.ID), slog.Time("not_after", after.NotAfter))
	}
}

func (f *Files) load() error {
	svid, err := readSVID(f.cfg.Cert, f.cfg.Key)
	if err != nil {
		return err
	}
	m := &material{svid: svid, bundles: map[string]*Bundle{}}
	for td, file := range f.cfg.Bundles {
		if err := m.add(readBundle(td, file)); err != nil {
			return err
		}
	}
	for td, file := range f.cfg.JWTBundles {
		if err := m.add(readJWTBundle(td, file, m.bundles[td])); err != nil {
			return err
		}
	}
	f.set(m)
	return nil
}

// add takes a bundle as it was read, and none where the file is gone.
func (m *material) add(b *Bundle, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	m.bundles[b.trustDomain] = b
	return nil
}

// readJWTBundle adds a domain's keys to its bundle, if it has one.
func readJWTBundle(trustDomain, file string, b *Bundle) (*Bundle, error) {
	doc, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return jwtOnly(trustDomain, doc.body)
	}
	return b.WithJWTKeys(doc.body)
}

func readSVID(certFile, keyFile string) (*SVID, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", certFile, err)
	}
	s, err := NewSVID(pair)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", certFile, err)
	}
	return s, nil
}

func readBundle(trustDomain, file string) (*Bundle, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read bundle %s: %w", file, err)
	}
	return NewBundle(trustDomain, certs)
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return out, nil
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("there is something other than certificates in it")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		out = append(out, c)
	}
}

// checkPrivate refuses a key that others can read or the group can write. The
// group may read: Kubernetes sets that bit on secrets of pods with an fsGroup.
func checkPrivate(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("check key file: %w", err)
	}
	if info.Mode().Perm()&0o037 != 0 {
		return fmt.Errorf("the key file %s has mode %04o; make it 0600", file, info.Mode().Perm())
	}
	return nil
}
