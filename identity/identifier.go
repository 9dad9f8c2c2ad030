package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"sync"

	"github.com/behalf-dev/behalf/fault"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// IdentifierConfig is what an Identifier asks. Peers is required.
type IdentifierConfig struct {
	Peers             *Peers
	Verifier          *Verifier         // absent: every token is refused
	ClientCertificate ClientCertificate // the listener's mode; the zero value requires one
}

// Identifier finds out who stands behind a call.
type Identifier struct {
	cfg IdentifierConfig

	mu      sync.Mutex
	refused map[string]int64 // by issuer; see Refused
}

// NewIdentifier puts both verifications together.
func NewIdentifier(cfg IdentifierConfig) (*Identifier, error) {
	if cfg.Peers == nil {
		return nil, errors.New("peers are required")
	}
	return &Identifier{cfg: cfg, refused: map[string]int64{}}, nil
}

// Identify verifies the connection and the token of a call and checks that they
// agree. It uses nothing else of the metadata. A nil state means no TLS and is
// refused; a door on loopback that serves persons in the clear passes an empty
// state on purpose, and then no certificate was presented.
//
// Which kinds of caller an RPC accepts is not its business; it refuses only
// what is nobody at all.
func (i *Identifier) Identify(ctx context.Context, state *tls.ConnectionState, md map[string][]string) (Principal, error) {
	credential, _, err := Credential(md)
	if err != nil {
		i.count("")
		return Principal{}, err
	}
	return i.identified(ctx, state, credential)
}

// Refused gives how many calls were refused since it was last asked, by the
// issuer that their token named: one of the configured, the trust domain of a
// JWT-SVID, "unknown", or empty for calls without a token. An attacker chooses the number, not the names.
func (i *Identifier) Refused() map[string]int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	counts := i.refused
	i.refused = map[string]int64{}
	return counts
}

func (i *Identifier) count(issuer string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refused[issuer]++
}

// claimed is the issuer that a refused token names, if we know it.
func (i *Identifier) claimed(credential Secret) string {
	if credential.IsZero() {
		return ""
	}
	t, err := parseToken(credential.Reveal())
	switch {
	case err != nil:
		return "unknown"
	case t.workload():
		return i.domain(t)
	case i.cfg.Verifier == nil:
		return "unknown"
	}
	iss, _ := t.claims["iss"].(string)
	if _, ok := i.cfg.Verifier.trusted.Load().of[iss]; !ok {
		return "unknown"
	}
	return iss
}

func (i *Identifier) domain(t *token) string {
	sub, _ := t.claims["sub"].(string)
	id, err := spiffeid.FromString(sub)
	if err != nil {
		return "unknown"
	}
	if _, ok := i.cfg.Peers.tenants[id.TrustDomain().Name()]; !ok {
		return "unknown"
	}
	return id.TrustDomain().IDString()
}

// IdentifyToken is Identify for a token that came inside a stream
// (ConverseRequest.refresh), the only place besides the metadata.
func (i *Identifier) IdentifyToken(ctx context.Context, state *tls.ConnectionState, credential Secret) (Principal, error) {
	if credential.IsZero() {
		return Principal{}, required("present an access token")
	}
	return i.identified(ctx, state, credential)
}

func (i *Identifier) identified(ctx context.Context, state *tls.ConnectionState, credential Secret) (Principal, error) {
	p, err := i.identify(ctx, state, credential)
	if err != nil {
		i.count(i.claimed(credential))
	}
	return p, err
}

func (i *Identifier) identify(ctx context.Context, state *tls.ConnectionState, credential Secret) (Principal, error) {
	workload, err := i.workload(state)
	if err != nil {
		return Principal{}, err
	}
	user, err := i.user(ctx, credential, workload)
	if errors.Is(err, errWorkload) {
		user = nil
		workload, err = i.bearer(credential, workload)
	}
	if err != nil {
		return Principal{}, err
	}
	if err := agree(user, workload); err != nil {
		return Principal{}, err
	}
	return Principal{User: user, Workload: workload}, nil
}

func (i *Identifier) workload(state *tls.ConnectionState) (*Workload, error) {
	if state == nil {
		return nil, required("connect with TLS")
	}
	if len(state.PeerCertificates) == 0 {
		if i.cfg.ClientCertificate != CertificateOptional {
			return nil, required("a client certificate is required")
		}
		return nil, nil // no certificate, and that is no mistake
	}
	w, err := i.cfg.Peers.Workload(*state)
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func (i *Identifier) user(ctx context.Context, credential Secret, w *Workload) (*User, error) {
	if credential.IsZero() {
		return nil, nil // no token, and that is no mistake
	}
	if i.cfg.Verifier == nil {
		return nil, i.nobodys(credential)
	}
	u, err := i.cfg.Verifier.Verify(ctx, credential, leafOf(w))
	if err != nil {
		return nil, err
	}
	return &u, nil
}

func leafOf(w *Workload) string {
	if w == nil {
		return ""
	}
	return w.Thumbprint
}

// nobodys judges a token where no person can have one.
func (i *Identifier) nobodys(credential Secret) error {
	if t, err := parseToken(credential.Reveal()); err == nil && t.workload() {
		return invalid(errWorkload)
	}
	return invalid(errors.New("no issuer is configured"))
}

// bearer is the workload of a JWT-SVID. It stands in the place of a person's token,
// of which there is one: so whoever brings a person shows a certificate.
func (i *Identifier) bearer(credential Secret, cert *Workload) (*Workload, error) {
	w, err := i.cfg.Peers.Bearer(credential, leafOf(cert))
	if err == nil && cert != nil {
		w, err = both(*cert, w)
	}
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// agree judges the two together: somebody must be there, a workload presents
// only the users of issuers that it may, and there is one tenant.
func agree(u *User, w *Workload) error {
	switch {
	case u == nil && w == nil:
		return required("present an access token")
	case u == nil && w.Tenant == "":
		return required("this workload only carries persons; present a person's access token")
	case u == nil || w == nil:
		return nil
	case !slices.Contains(w.Issuers, u.Issuer):
		return denied(fault.CarrierNotAllowed, "this workload may not present users of this issuer")
	case w.Tenant != "" && w.Tenant != u.Tenant:
		return denied(fault.TenantMismatch, "the workload and the person belong to different tenants")
	}
	return nil
}
