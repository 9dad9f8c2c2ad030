package calltoken

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// CacheFor is how long a backend may keep the key set. A key is published as long
// before it signs anything.
const CacheFor = 5 * time.Minute

// skew is how far apart two clocks may be.
const skew = 30 * time.Second

// KeysConfig is what Keys need.
type KeysConfig struct {
	File   string           // where the keys are kept, 0600; empty: in memory
	Rotate time.Duration    // how long a key signs; default 24 h, at least 10 min
	Now    func() time.Time // absent: time.Now
}

// Keys sign call tokens (ES256). There are up to three kinds: the next one, which is
// published and does not sign yet; the current one; retired ones, published until no
// token of theirs is left.
type Keys struct {
	file   string
	rotate time.Duration
	now    func() time.Time

	mu   sync.RWMutex
	ring []key // by the time from which they sign
}

// key is one signing key. It signs from From until the next one does.
type key struct {
	id      string
	private *ecdsa.PrivateKey
	signers map[string]jose.Signer // by type
	from    time.Time
}

// NewKeys loads the keys of the file, or makes the first one.
func NewKeys(c KeysConfig) (*Keys, error) {
	k := &Keys{file: c.File, rotate: c.Rotate, now: c.Now}
	if k.rotate == 0 {
		k.rotate = 24 * time.Hour
	}
	if k.rotate < 2*CacheFor {
		return nil, fmt.Errorf("keys must sign for %v at least", 2*CacheFor)
	}
	if k.now == nil {
		k.now = time.Now
	}
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, k.Rotate()
}

// Rotate makes what is due: the first key, the one that follows, and removes what is
// over. Run calls it; a test may.
func (k *Keys) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, changed := k.now(), false
	if len(k.ring) == 0 {
		if err := k.add(now); err != nil {
			return err
		}
		changed = true
	}
	for last := k.ring[len(k.ring)-1].from; !now.Before(last.Add(k.rotate - CacheFor)); last = k.ring[len(k.ring)-1].from {
		if err := k.add(later(now.Add(CacheFor), last.Add(k.rotate))); err != nil {
			return err
		}
		changed = true
	}
	for len(k.ring) > 1 && now.After(k.ring[1].from.Add(Life+skew)) {
		k.ring, changed = k.ring[1:], true
	}
	if changed {
		return k.save()
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Revoke removes a key at once, whatever it signed, and signs with a new one.
func (k *Keys) Revoke(id string) error {
	k.mu.Lock()
	n := len(k.ring)
	k.ring = slices.DeleteFunc(k.ring, func(x key) bool { return x.id == id })
	gone := len(k.ring) < n
	var err error
	if gone && (len(k.ring) == 0 || k.ring[0].from.After(k.now())) {
		err = k.add(k.now())
		slices.SortStableFunc(k.ring, func(a, b key) int { return a.from.Compare(b.from) })
	}
	if err == nil {
		err = k.save()
	}
	k.mu.Unlock()
	if !gone {
		return errors.New("there is no such key")
	}
	return err
}

// Run rotates until ctx ends.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(CacheFor / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := k.Rotate(); err != nil {
				return err
			}
		}
	}
}

// JWKS is the public half of all keys that a backend may meet (RFC 7517).
func (k *Keys) JWKS() ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, x := range k.ring {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &x.private.PublicKey, KeyID: x.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return json.Marshal(set)
}

// current is the key that signs now.
func (k *Keys) current() key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	now, at := k.now(), 0
	for i, x := range k.ring {
		if !x.from.After(now) {
			at = i
		}
	}
	return k.ring[at]
}

func (k *Keys) add(from time.Time) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	x, err := newKey(private, from)
	k.ring = append(k.ring, x)
	return err
}

func newKey(private *ecdsa.PrivateKey, from time.Time) (key, error) {
	sum, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return key{}, fmt.Errorf("name a key: %w", err)
	}
	x := key{id: base64.RawURLEncoding.EncodeToString(sum), private: private, signers: map[string]jose.Signer{}, from: from}
	for _, typ := range []string{TypeCall, TypeAccess} {
		x.signers[typ], err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: x.id}},
			(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
		if err != nil {
			return key{}, fmt.Errorf("make a signer: %w", err)
		}
	}
	return x, nil
}

// kept is a key in the file.
type kept struct {
	From  time.Time `json:"from"`
	PKCS8 []byte    `json:"pkcs8"`
}

func (k *Keys) load() error {
	if k.file == "" {
		return nil
	}
	info, err := os.Stat(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the keys of call tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others: chmod 600", k.file)
	}
	text, err := os.ReadFile(k.file)
	if err != nil {
		return fmt.Errorf("the keys of call tokens: %w", err)
	}
	return k.parse(text)
}

func (k *Keys) parse(text []byte) error {
	var all []kept
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("%s has no keys: remove it, and new ones are made", k.file)
	}
	for _, one := range all {
		parsed, err := x509.ParsePKCS8PrivateKey(one.PKCS8)
		private, ok := parsed.(*ecdsa.PrivateKey)
		if err != nil || !ok || private.Curve != elliptic.P256() {
			return fmt.Errorf("%s has a key that is none: remove it, and new ones are made", k.file)
		}
		x, err := newKey(private, one.From)
		if err != nil {
			return err
		}
		k.ring = append(k.ring, x)
	}
	return nil
}

// save replaces the file in one step.
func (k *Keys) save() error {
	if k.file == "" {
		return nil
	}
	all := make([]kept, 0, len(k.ring))
	for _, x := range k.ring {
		der, err := x509.MarshalPKCS8PrivateKey(x.private)
		if err != nil {
			return fmt.Errorf("encode a key: %w", err)
		}
		all = append(all, kept{x.from, der})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode the keys: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(k.file), ".keys-*") // 0600
	if err != nil {
		return fmt.Errorf("keep the keys of call tokens: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), k.file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the keys of call tokens: %w", err)
	}
	return nil
}
