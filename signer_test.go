package behalf_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/store"
	"google.golang.org/grpc/metadata"
)

// vault signs with a key that nobody can take out of it, as a KMS does.
type vault struct{ key ed25519.PrivateKey }

func (v vault) Public() crypto.PublicKey { return v.key.Public() }

func (v vault) Sign(r io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return v.key.Sign(r, message, opts)
}

func newVault(t *testing.T) vault {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return vault{key}
}

// signedBy builds a small server whose checkpoints key signs.
func signedBy(t *testing.T, key crypto.Signer, audit string) (*behalf.Server, *identity.DevCA, string, error) {
	t.Helper()
	dir := plainDir(t, "runs: { log: memory }\nstore: { dsn: 'sqlite://state/behalf.db' }\naudit: { "+audit+" }\n")
	cfg, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Server.HTTP = "127.0.0.1:0", ""
	ca, err := identity.NewDevCA(identity.DevCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := behalf.New(t.Context(), cfg, behalf.WithAuditSigner(key),
		behalf.WithIdentity(behalf.Identity{Source: ca, Tenants: map[string]string{ca.TrustDomain(): "acme"}}))
	return s, ca, dir, err
}

func TestASignerOutsideOfTheProcessSignsTheLog(t *testing.T) {
	t.Setenv("DIGEST", strings.Repeat("d", 32))
	key := newVault(t)
	s, ca, dir, err := signedBy(t, key, "digest_key: '${env:DIGEST}'")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	bad := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer garbage")
	if _, err := behalfv1.NewAdminServiceClient(dial(t, ca, s.Addr())).WhoAmI(bad, &behalfv1.WhoAmIRequest{}); err == nil {
		t.Error("a garbage token was accepted") // else: a row to sign
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	if _, err := os.Stat(filepath.Join(dir, "state", "audit.key")); err == nil {
		t.Error("a key was made beside the store")
	}
	text, err := os.ReadFile(filepath.Join(dir, "state", "audit.key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := audit.ParsePublicKey(text)
	if err != nil || !public.Equal(key.Public()) {
		t.Fatalf("got public key %v, %v", public, err)
	}
	db, err := store.OpenReadOnly(filepath.Join(dir, "state", "behalf.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if r := audit.Verify(db.Rows(t.Context()), db.Checkpoints(t.Context()), nil, public); !r.OK() || r.Checkpoints == 0 {
		t.Errorf("got %+v, want checkpoints that the vault's key verifies", r)
	}
}

func TestASignerThatWillNotDoIsRefusedBeforeTheStart(t *testing.T) {
	t.Setenv("DIGEST", strings.Repeat("d", 32))
	t.Setenv("KEY", "anything")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		key         crypto.Signer
		audit, want string
	}{
		"no seed to derive from": {newVault(t), "on_unavailable: refuse", "set audit.digest_key to 32 or more random characters"},
		"another kind of key":    {other, "digest_key: '${env:DIGEST}'", "give WithAuditSigner an Ed25519 key"},
		"no key at all":          {ed25519.PrivateKey(nil), "digest_key: '${env:DIGEST}'", "give WithAuditSigner an Ed25519 key"},
		"two keys":               {newVault(t), "key: '${env:KEY}', digest_key: '${env:DIGEST}'", "brings its own signing key"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _, err := signedBy(t, row.key, row.audit)

			if err == nil || s != nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}
