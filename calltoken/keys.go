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
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/internal/whole"
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
	Logger *slog.Logger     // of what fails while they rotate; absent: silent
	Now    func() time.Time // absent: time.Now
}

// Keys sign call tokens (ES256). There are up to three kinds: the next one, which is
// published and does not sign yet; the current one; retired ones, published until no
// token of theirs is left.
type Keys struct {
	file   string
	rotate time.Duration
	now    func() time.Time
	log    *slog.Logger

	turn sync.Mutex // of whoever changes the ring, also while the disk does not answer
	lost bool       // with turn: a revocation could not be kept, and the file still has the key

	mu   sync.RWMutex // never held while anything waits; who has turn may read without it
	ring []key        // by the time from which they sign
}

// key is one signing key. It signs from From until the next one does.
type key struct {
	id      string
	private *ecdsa.PrivateKey
	headers map[string]string // by type: the first part of a token, with its dot
	from    time.Time
}

// NewKeys loads the keys of the file, or makes the first one.
func NewKeys(c KeysConfig) (*Keys, error) {
	k := &Keys{file: c.File, rotate: c.Rotate, now: c.Now, log: c.Logger}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
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
// over. Run calls it; a test may. What cannot be kept is not used either, and is due
// again.
func (k *Keys) Rotate() error {
	k.turn.Lock()
	defer k.turn.Unlock()
	ring, err := k.turned(k.now())
	if err != nil || !k.lost && len(ring) == len(k.ring) && slices.EqualFunc(ring, k.ring, same) {
		return err
	}
	return k.use(ring)
}

func same(a, b key) bool { return a.id == b.id && a.from.Equal(b.from) }

// turned is the ring as it has to be now.
func (k *Keys) turned(now time.Time) (ring []key, err error) {
	ring = k.dated(now)
	if len(ring) == 0 {
		if ring, err = with(ring, now); err != nil {
			return nil, err
		}
	}
	if last := ring[len(ring)-1].from; !now.Before(last.Add(k.rotate - CacheFor)) {
		if ring, err = with(ring, later(now.Add(CacheFor), last.Add(k.rotate))); err != nil {
			return nil, err
		}
	}
	for len(ring) > 1 && now.After(ring[1].from.Add(Life+skew)) {
		ring = ring[1:]
	}
	return ring, nil
}

// dated is the ring less what a clock has left that was wrong for a while. A key that
// begins later than any that is made is not waited for: the one before it would sign
// until then. Of keys that are all of that kind the first signs, and does so from now.
func (k *Keys) dated(now time.Time) []key {
	ring, far := slices.Clone(k.ring), now.Add(k.rotate+CacheFor)
	for len(ring) > 1 && ring[len(ring)-1].from.After(far) {
		ring = ring[:len(ring)-1]
	}
	if len(ring) == 1 && ring[0].from.After(far) {
		ring[0].from = now
	}
	return ring
}

// use keeps a ring, and only then signs with it.
func (k *Keys) use(ring []key) error {
	if err := k.save(ring); err != nil {
		return err
	}
	k.take(ring)
	k.lost = false
	return nil
}

// take has a ring be the one in use.
func (k *Keys) take(ring []key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring = ring
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Run rotates until ctx ends. A key that cannot be kept is tried again; the one that
// signs goes on meanwhile.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(CacheFor / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := k.Rotate(); err != nil {
				k.log.ErrorContext(ctx, "the next key of call tokens cannot be made; trying again", slog.Any("cause", err))
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
func (k *Keys) current() *key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return &k.ring[signing(k.ring, k.now())]
}

// signing is where in a ring the key is that signs.
func signing(ring []key, now time.Time) (at int) {
	for i, x := range ring {
		if !x.from.After(now) {
			at = i
		}
	}
	return at
}

// with is the ring and a new key that signs from then on. A name that begins like an
// option of a command line is none to type in an emergency.
func with(ring []key, from time.Time) ([]key, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		x, err := newKey(private, from)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(x.id, "-") {
			return append(ring, x), nil
		}
	}
}

func newKey(private *ecdsa.PrivateKey, from time.Time) (key, error) {
	sum, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return key{}, fmt.Errorf("name a key: %w", err)
	}
	x := key{id: base64.RawURLEncoding.EncodeToString(sum), private: private, headers: map[string]string{}, from: from}
	for _, typ := range []string{TypeCall, TypeAccess} {
		header, err := json.Marshal(map[string]string{"alg": string(jose.ES256), "kid": x.id, "typ": typ})
		if err != nil {
			return key{}, fmt.Errorf("encode a header: %w", err)
		}
		x.headers[typ] = base64.RawURLEncoding.EncodeToString(header) + "."
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
	err := whole.CheckOwn(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = audit.CheckMode(k.file)
	}
	if err != nil {
		return fmt.Errorf("the keys of call tokens: %w", err)
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
func (k *Keys) save(ring []key) error {
	if k.file == "" {
		return nil
	}
	all := make([]kept, 0, len(ring))
	for _, x := range ring {
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
	return whole.Replace(k.file, text)
}
