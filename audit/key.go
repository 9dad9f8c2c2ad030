package audit

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// PublicOf is the public half of a key that signs checkpoints, wherever that is.
func PublicOf(key crypto.Signer) (ed25519.PublicKey, error) {
	if k, near := key.(ed25519.PrivateKey); near && len(k) != ed25519.PrivateKeySize {
		return nil, errSigner // asked for its public half it would panic
	}
	if public, ok := key.Public().(ed25519.PublicKey); ok && len(public) == ed25519.PublicKeySize {
		return public, nil
	}
	return nil, errSigner
}

var errSigner = errors.New("audit key: checkpoints are signed with Ed25519, and this key is none")

// KeyID names a public key in checkpoints: base64url of its SHA-256.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ErrMode is a file that others than its owner may read or write.
var ErrMode = errors.New("file must have mode 0600")

// CheckMode refuses a file that anybody but its owner may read or write.
func CheckMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("check mode: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o; run chmod 600: %w", path, info.Mode().Perm(), ErrMode)
	}
	return nil
}

// LoadKey reads the signing key of checkpoints: Ed25519, PKCS #8, PEM, mode 0600.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	if err := CheckMode(path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return ParseKey(text)
}

// LoadOrCreateKey is LoadKey that makes a fresh key when there is no file.
func LoadOrCreateKey(path string) (ed25519.PrivateKey, error) {
	key, err := LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return key, createFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// createFile writes a new file of mode 0600 that survives a power cut. A file
// that came into being meanwhile is not overwritten.
func createFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("audit key: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("audit key: %w", err)
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

var errKey = errors.New("audit key: want one Ed25519 key in PEM")

// ParseKey reads a private key from PEM.
func ParseKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errKey
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errKey // the cause may quote the key
	}
	if k, ok := key.(ed25519.PrivateKey); ok {
		return k, nil
	}
	return nil, errKey
}

// PublicPEM writes a public key as PEM.
func PublicPEM(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("audit public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePublicKey reads a public key from PEM. It also takes the private key's
// file, for whoever verifies on the server.
func ParsePublicKey(text []byte) (ed25519.PublicKey, error) {
	if key, err := ParseKey(text); err == nil {
		return key.Public().(ed25519.PublicKey), nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errKey
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKey, err)
	}
	if k, ok := key.(ed25519.PublicKey); ok {
		return k, nil
	}
	return nil, errKey
}
