package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"golang.org/x/sync/errgroup"
)

const (
	workloadAPIStart = 15 * time.Second
	workloadAPIRetry = 250 * time.Millisecond
)

// WorkloadAPIConfig says where the SPIFFE Workload API is.
type WorkloadAPIConfig struct {
	Socket       string        // unix:///path; absent: SPIFFE_ENDPOINT_SOCKET
	StartTimeout time.Duration // for the first SVID; absent: 15 s
	JWT          bool          // ask for the keys of JWT-SVIDs too
	Logger       *slog.Logger  // absent: silent
}

// WorkloadAPI is a Source that follows a SPIFFE Workload API such as SPIRE's
// agent.
type WorkloadAPI struct {
	holder
	address string
	jwt     bool
	log     *slog.Logger

	mu   sync.Mutex        // guards what the two streams of the API brought last
	x509 *material         // certificates
	keys map[string][]byte // trust domain -> JWK set
}

// NewWorkloadAPI waits for the first SVID, at most for the start timeout. The
// library alone would wait for ever for a socket or an entry that is missing.
func NewWorkloadAPI(ctx context.Context, cfg WorkloadAPIConfig) (*WorkloadAPI, error) {
	address, err := workloadAPIAddress(cfg.Socket)
	if err != nil {
		return nil, err
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = workloadAPIStart
	}
	w := &WorkloadAPI{address: address, jwt: cfg.JWT, log: orDiscard(cfg.Logger)}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	if err := w.first(ctx); err != nil {
		return nil, fmt.Errorf("no SVID from the Workload API at %s: %w", address, err)
	}
	return w, nil
}

func workloadAPIAddress(socket string) (string, error) {
	if socket == "" {
		socket, _ = workloadapi.GetDefaultAddress()
	}
	if !strings.HasPrefix(socket, "unix:///") {
		return "", errors.New("the Workload API socket must be given as unix:///path")
	}
	if err := workloadapi.ValidateAddress(socket); err != nil {
		return "", fmt.Errorf("workload API socket: %w", err)
	}
	return socket, nil
}

// first asks until there is an SVID or ctx ends. The last answer is the error
// that helps, not the deadline.
func (w *WorkloadAPI) first(ctx context.Context) error {
	var last error
	for {
		err := w.ask(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(workloadAPIRetry):
		}
	}
}

func (w *WorkloadAPI) ask(ctx context.Context) error {
	if w.jwt {
		set, err := workloadapi.FetchJWTBundles(ctx, w.options()...)
		if err != nil {
			return err
		}
		if err := w.acceptKeys(set); err != nil {
			return err
		}
	}
	x, err := workloadapi.FetchX509Context(ctx, w.options()...)
	if err != nil {
		return err
	}
	return w.accept(x)
}

func (w *WorkloadAPI) options() []workloadapi.ClientOption {
	return []workloadapi.ClientOption{workloadapi.WithAddr(w.address), workloadapi.WithLogger(spiffeLog{w.log})}
}

// Run follows rotations. While the agent is away the last SVID stays current
// until it expires.
func (w *WorkloadAPI) Run(ctx context.Context) error {
	outer := ctx
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return workloadapi.WatchX509Context(ctx, updates{w}, w.options()...) })
	if w.jwt {
		tasks.Go(func() error { return workloadapi.WatchJWTBundles(ctx, updates{w}, w.options()...) })
	}
	err := tasks.Wait()
	if outer.Err() != nil {
		return nil //nolint:nilerr // it ended because it was told to
	}
	return fmt.Errorf("watch the Workload API: %w", err)
}

// updates takes what the library pushes, without making it our API.
type updates struct{ w *WorkloadAPI }

func (u updates) OnX509ContextUpdate(x *workloadapi.X509Context) {
	if err := u.w.accept(x); err != nil {
		u.w.log.Error("Workload API update not accepted, the old one stays", slog.Any("error", err))
		return
	}
	s, _ := u.w.SVID()
	u.w.log.Info("SVID received", slog.String("spiffe_id", s.ID), slog.Time("not_after", s.NotAfter))
}

func (u updates) OnX509ContextWatchError(err error) {
	u.w.log.Warn("Workload API stream interrupted", slog.Any("error", err))
}

func (u updates) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	if err := u.w.acceptKeys(set); err != nil {
		u.w.log.Error("Workload API update not accepted, the old one stays", slog.Any("error", err))
		return
	}
	u.w.log.Info("keys of JWT-SVIDs received", slog.Int("trust_domains", set.Len()))
}

func (u updates) OnJWTBundlesWatchError(err error) { u.OnX509ContextWatchError(err) }

func (w *WorkloadAPI) accept(x *workloadapi.X509Context) error {
	if len(x.SVIDs) == 0 {
		return errors.New("the answer has no SVID")
	}
	svid, err := fromSPIFFE(x.DefaultSVID())
	if err != nil {
		return err
	}
	m := &material{svid: svid, bundles: map[string]*Bundle{}}
	for _, b := range x.Bundles.Bundles() {
		if b.Empty() {
			continue // an authority-less domain verifies nobody; leave it unknown
		}
		td := b.TrustDomain().Name()
		if m.bundles[td], err = NewBundle(td, b.X509Authorities()); err != nil {
			return err
		}
	}
	return w.merge(func() { w.x509 = m })
}

func (w *WorkloadAPI) acceptKeys(set *jwtbundle.Set) error {
	keys := map[string][]byte{}
	for _, b := range set.Bundles() {
		document, err := b.Marshal()
		if err != nil {
			return err
		}
		keys[b.TrustDomain().Name()] = document
	}
	return w.merge(func() { w.keys = keys })
}

// merge makes what both streams brought last current, of which change replaces one.
func (w *WorkloadAPI) merge(change func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	x509, keys := w.x509, w.keys
	change()
	m, err := w.merged()
	if err != nil {
		w.x509, w.keys = x509, keys
		return err
	}
	if w.x509 != nil {
		w.set(m)
	}
	return nil
}

func (w *WorkloadAPI) merged() (*material, error) {
	m := &material{bundles: map[string]*Bundle{}}
	if w.x509 != nil {
		m.svid, m.bundles = w.x509.svid, maps.Clone(w.x509.bundles)
	}
	for td, document := range w.keys {
		b, err := jwtOnly(td, document)
		if own := m.bundles[td]; own != nil {
			b, err = own.WithJWTKeys(document)
		}
		if err != nil {
			return nil, err
		}
		m.bundles[td] = b
	}
	return m, nil
}

// Actor gives JWT-SVIDs of ours, by which somebody else knows who we are. Of the
// sources the Workload API does, and the development authority.
type Actor interface {
	JWTSVID(ctx context.Context, audience string) (Secret, error)
}

var errNoJWTSVID = errors.New("the source of our SVID gives no JWT-SVIDs; only the Workload API does")

// JWTSVID asks the agent for a JWT-SVID of ours, for one audience. The library keeps
// none; the agent does.
func (w *WorkloadAPI) JWTSVID(ctx context.Context, audience string) (Secret, error) {
	own, err := w.SVID()
	if err != nil {
		return Secret{}, err
	}
	id, err := spiffeid.FromString(own.ID)
	if err != nil {
		return Secret{}, err
	}
	svid, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: id}, w.options()...)
	if err != nil {
		return Secret{}, fmt.Errorf("no JWT-SVID from the Workload API: %w", err)
	}
	return NewSecret(svid.Marshal()), nil
}

func fromSPIFFE(s *x509svid.SVID) (*SVID, error) {
	cert := tls.Certificate{PrivateKey: s.PrivateKey}
	for _, c := range s.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return NewSVID(cert)
}

// spiffeLog gives the library's messages to our logger; by default it has none.
type spiffeLog struct{ log *slog.Logger }

func (l spiffeLog) Debugf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l spiffeLog) Infof(format string, args ...any)  { l.log.Info(fmt.Sprintf(format, args...)) }
func (l spiffeLog) Warnf(format string, args ...any)  { l.log.Warn(fmt.Sprintf(format, args...)) }
func (l spiffeLog) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }
