package server

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/interceptors"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/credentials"
)

// door lets connections in: so many of one peer at once, and so many handshakes of
// one address a second (SECURITY 9). It is the listener's and the handshake's part
// of one count, because only the handshake knows who comes and only the socket
// knows when they are gone.
type door struct {
	credentials.TransportCredentials
	limits  Transport
	peers   *interceptors.Counts
	sources *sources
	refused *prometheus.CounterVec
}

func newDoor(l Transport, t *tls.Config) *door {
	return &door{
		TransportCredentials: credentials.NewTLS(t), limits: l,
		peers:   interceptors.NewCounts(l.Connections),
		sources: newSources(l.Handshakes),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "behalf_connections_refused_total", Help: "Connections that were closed because their peer or address has too many, or floods them.",
		}, []string{"why"}),
	}
}

func (d *door) behind(l net.Listener) net.Listener { return &listener{l, d} }

// listener closes what comes too fast before it costs a handshake.
type listener struct {
	net.Listener
	door *door
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.door.sources.allow(source(c), time.Now()) {
			return &socket{Conn: c}, nil
		}
		l.door.refused.WithLabelValues("handshakes").Inc()
		_ = c.Close()
	}
}

// socket gives its peer's place back when it is closed.
type socket struct {
	net.Conn
	mu   sync.Mutex // guards what follows
	gone bool
	left func()      // nil until the peer is known, and once it was called
	end  *time.Timer // closes what outlives its certificate; nil without one
}

func (s *socket) Close() error {
	s.mu.Lock()
	left := s.left
	s.left, s.gone = nil, true
	if s.end != nil {
		s.end.Stop()
	}
	s.mu.Unlock()
	if left != nil {
		left()
	}
	return s.Conn.Close()
}

// holds makes the socket give back a place, and hang up after some time if that is
// not 0; false if it is closed already.
func (s *socket) holds(left func(), life time.Duration, hangUp func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	if s.left = left; life > 0 {
		s.end = time.AfterFunc(life, hangUp)
	}
	return true
}

var errTooMany = errors.New("this peer has too many connections")

// ServerHandshake lets a peer in that was verified and has a place left.
func (d *door) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ours := raw.(*insideConn); ours {
		return raw, newInsideInfo(), nil
	}
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	who := peerName(raw, info)
	if !d.peers.Enter(who) {
		d.refused.WithLabelValues("connections").Inc()
		_ = conn.Close()
		return nil, nil, errTooMany
	}
	leave, hangUp := func() { d.peers.Leave(who) }, func() { _ = conn.Close() }
	if s, ok := raw.(*socket); !ok || !s.holds(leave, d.life(info), hangUp) {
		d.peers.Leave(who)
		_ = conn.Close()
		return nil, nil, net.ErrClosed
	}
	return newFrames(conn, d.limits, d.refused.WithLabelValues("flood").Inc), info, nil
}

// life is how long a connection may stay: until its certificate ends, and the grace
// for clients to come back with the next one (SECURITY 3.7). What came over it has
// ended with the certificate, so there is nothing to wait for. 0: no end.
func (d *door) life(info credentials.AuthInfo) time.Duration {
	t, ok := info.(credentials.TLSInfo)
	if !ok || len(t.State.PeerCertificates) == 0 {
		return 0
	}
	return max(time.Until(t.State.PeerCertificates[0].NotAfter)+d.limits.Grace, 1)
}

// peerName is the verified SPIFFE ID, or the address where there is none.
func peerName(raw net.Conn, info credentials.AuthInfo) string {
	if t, ok := info.(credentials.TLSInfo); ok && t.SPIFFEID != nil {
		return t.SPIFFEID.String()
	}
	return source(raw)
}

// source is an address as far as it costs something to have another one.
func source(c net.Conn) string {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return ""
	}
	bits, ip := 32, at.Addr().Unmap()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p.String()
}

const (
	burst      = 10    // seconds of handshakes that an address may make at once
	maxSources = 10000 // that are known; all others share one bucket while these are busy
)

// sources has a token bucket for each address that was met of late.
type sources struct {
	each  rate.Limit // a second
	mu    sync.Mutex // guards known
	known map[string]*rate.Limiter
	swept time.Time
}

func newSources(each int) *sources {
	return &sources{each: rate.Limit(each), known: map[string]*rate.Limiter{}}
}

func (s *sources) allow(from string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket := s.known[from]
	if bucket == nil {
		if s.forget(now); len(s.known) >= maxSources {
			from = ""
		}
		if bucket = s.known[from]; bucket == nil {
			bucket = rate.NewLimiter(s.each, burst*int(s.each))
			s.known[from] = bucket
		}
	}
	return bucket.AllowN(now, 1)
}

// forget drops the buckets that are full again, once in the time that takes.
func (s *sources) forget(now time.Time) {
	if now.Sub(s.swept) < burst*time.Second {
		return
	}
	s.swept = now
	for from, b := range s.known {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(s.known, from)
		}
	}
}
