package mcptool

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/time/rate"
)

// session is one connection of the protocol. One person's is never another's.
type session struct {
	client *mcp.ClientSession
	tap    *tap

	mu       sync.Mutex
	progress map[string]*progress // by token

	users int // calls that go by it; of its pool, whose lock guards it
}

// progress is where a call's notifications go.
type progress struct {
	tell  func(tools.Progress)
	often *rate.Limiter
}

func newSession() *session {
	return &session{tap: newTap(nil), progress: map[string]*progress{}}
}

// newClient makes a client that can do nothing for the server: it has no roots, no
// model and nobody to ask. Heard may be nil.
func (s *session) newClient(heard func()) *mcp.Client {
	o := &mcp.ClientOptions{
		Capabilities:                &mcp.ClientCapabilities{},
		MultiRoundTrip:              &mcp.MultiRoundTripOptions{Disabled: true},
		ProgressNotificationHandler: s.told,
	}
	if heard != nil {
		o.ToolListChangedHandler = func(context.Context, *mcp.ToolListChangedRequest) { heard() }
	}
	c := mcp.NewClient(&mcp.Implementation{Name: "behalf", Version: "1"}, o)
	c.AddReceivingMiddleware(onlyNotes)
	return c
}

// onlyNotes refuses what a server asks of us. The SDK by itself would answer that
// there are no roots.
func onlyNotes(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		switch method {
		case "ping", "notifications/tools/list_changed", "notifications/progress", "notifications/cancelled", "notifications/subscriptions/acknowledged":
			return next(ctx, method, req)
		}
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "not offered"}
	}
}

// watch has the progress of a call told. The token cannot be guessed: over stdio
// all calls share a session.
func (s *session) watch(ctx context.Context, p *mcp.CallToolParams) (done func()) {
	tell, ok := tools.ProgressFrom(ctx)
	if !ok {
		return func() {}
	}
	token := rand.Text()
	p.SetProgressToken(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress[token] = &progress{tell: tell, often: rate.NewLimiter(10, 10)}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.progress, token)
	}
}

// told passes progress on, ten times a second at most: the rest of a flood is
// dropped.
func (s *session) told(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
	token, _ := r.Params.ProgressToken.(string)
	s.mu.Lock()
	p := s.progress[token]
	s.mu.Unlock()
	if p == nil || !p.often.Allow() {
		return
	}
	p.tell(tools.Progress{Done: r.Params.Progress, Total: r.Params.Total, Message: tools.Clean(r.Params.Message, 256)})
}

// close ends the session, and with it the calls that are under way: the SDK would
// wait for them. How long a server may take to hear of it the SDK bounds by seconds.
func (s *session) close() {
	if s.tap.Connection != nil {
		_ = s.tap.Close()
	}
	_ = s.client.Close()
}

// gone is closed when the session has ended, by us or by the server.
func (s *session) gone() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		_ = s.client.Wait()
		close(gone)
	}()
	return gone
}

// lease is a person's session in the pool.
type lease struct {
	turn    chan struct{} // holds one: who connects
	session *session      // nil: not connected
	users   int
	used    time.Time
}

// pool holds the sessions of persons, by who they are.
type pool struct {
	most    int
	now     func() time.Time
	connect func(context.Context) (*session, error)

	mu      sync.Mutex
	leases  map[string]*lease
	left    map[*session]bool // broken, and still used by calls that began before
	closed  bool
	closing sync.WaitGroup
}

func newPool(most int, now func() time.Time, connect func(context.Context) (*session, error)) *pool {
	return &pool{most: most, now: now, connect: connect, leases: map[string]*lease{}, left: map[*session]bool{}}
}

var errCrowded = unavailable("too many persons use the tool's server at once; try again")

// acquire gives the person's session, connected in the course of this call.
func (p *pool) acquire(ctx context.Context, who string) (*session, func(broken bool), error) {
	l := p.enter(who)
	if l == nil {
		return nil, nil, errCrowded
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		p.leave(l)
		return nil, nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	s := p.use(l)
	if s == nil {
		var err error
		if s, err = p.connect(ctx); err != nil {
			p.leave(l)
			return nil, nil, err
		}
		if !p.keep(l, s) {
			p.leave(l)
			s.close()
			return nil, nil, errCrowded
		}
	}
	return s, func(broken bool) { p.release(l, s, broken) }, nil
}

// use is the session of the lease for one more call; nil: there is none.
func (p *pool) use(l *lease) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.session != nil {
		l.session.users++
	}
	return l.session
}

// keep puts a new session, which one call uses, into its lease, unless all were closed
// meanwhile.
func (p *pool) keep(l *lease, s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		s.users, l.session = 1, s
	}
	return !p.closed
}

// enter finds or makes the lease; nil: there is no room.
func (p *pool) enter(who string) *lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.leases[who]
	if l == nil {
		if p.closed || len(p.leases) >= p.most && !p.evict() {
			return nil
		}
		l = &lease{turn: make(chan struct{}, 1)}
		p.leases[who] = l
	}
	l.users++
	l.used = p.now()
	return l
}

// evict closes the session that was unused for longest.
func (p *pool) evict() bool {
	oldest := ""
	for who, l := range p.leases {
		if l.users == 0 && (oldest == "" || l.used.Before(p.leases[oldest].used)) {
			oldest = who
		}
	}
	if oldest == "" {
		return false
	}
	p.drop(oldest)
	return true
}

func (p *pool) drop(who string) {
	l := p.leases[who]
	delete(p.leases, who)
	p.end(l)
}

// end closes a lease's session beside the caller, who holds the lock: closing asks
// the server.
func (p *pool) end(l *lease) {
	if s := l.session; s != nil {
		l.session = nil
		p.closing.Go(s.close)
	}
}

func (p *pool) leave(l *lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.users--
	l.used = p.now()
}

// release gives a session back. No call begins in a broken one, and the last of those
// that began before closes it: the server may well answer them.
func (p *pool) release(l *lease, s *session, broken bool) {
	p.leave(l)
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	if broken && l.session == s {
		l.session, p.left[s] = nil, true
	}
	if s.users == 0 && p.left[s] {
		delete(p.left, s)
		p.closing.Go(s.close)
	}
}

// sweep closes what nobody used for so long.
func (p *pool) sweep(idle time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for who, l := range p.leases {
		if l.users == 0 && p.now().Sub(l.used) >= idle {
			p.drop(who)
		}
	}
}

// close closes all sessions and waits for it.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for who := range p.leases {
		p.drop(who)
	}
	for s := range p.left {
		delete(p.left, s)
		p.closing.Go(s.close)
	}
	p.mu.Unlock()
	p.closing.Wait()
}
