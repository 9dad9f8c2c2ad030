package grpctool

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// Source is a backend whose methods are tools. Many goroutines may use it; Run is for
// one.
type Source struct {
	c          *Config
	changed    chan struct{}
	again      chan struct{} // has Run read the descriptors now
	poked      time.Time     // when it last did so; Run's own
	handshakes atomic.Uint64
	fixed      *catalogue // of a descriptor set; nil: it is read
	trouble    tools.Trouble
	noted      []string    // what the operator was told; Run's own
	retired    atomic.Bool // it says nothing any more
	pace       pace        // Run's own

	mu     sync.Mutex
	known  *catalogue // newest; nil: none yet
	link   *link      // the connection in use; nil: none
	moving bool       // a connection is being made: the first, or one for another that was lost
	turn   chan struct{}
}

// link is a connection, and what was read by it.
type link struct {
	conn      *grpc.ClientConn
	number    uint64 // of the handshake; 0: the descriptors do not come from it
	catalogue *catalogue
}

// ErrNotRead says that a backend was not reached yet, so that nobody knows its tools.
var ErrNotRead = errors.New("the backend's descriptors were not read yet")

// New checks the config. It does not connect: Run does.
func New(c Config) (*Source, error) {
	s := &Source{c: &c, changed: make(chan struct{}, 1), again: make(chan struct{}, 1), turn: make(chan struct{}), moving: true} // the first calls wait for the first connection
	if err := s.c.complete(); err != nil {
		return nil, err
	}
	s.pace.most = s.c.Reread
	if c.DescriptorSet == nil {
		return s, nil
	}
	f := newFiles()
	if err := f.set(c.DescriptorSet); err != nil {
		return nil, err
	}
	var err error
	if s.fixed, err = offer(s.c, f); err != nil {
		return nil, err
	}
	s.known = s.fixed
	return s, s.fixed.err
}

// Tools are those that are known now, sorted by name. The error says what the config
// must settle before they can be used, or that nothing is known yet: ErrNotRead.
func (s *Source) Tools() ([]tools.Tool, error) {
	s.mu.Lock()
	cat := s.known
	s.mu.Unlock()
	if cat == nil {
		return nil, ErrNotRead
	}
	if cat.err != nil {
		return nil, cat.err
	}
	out := make([]tools.Tool, 0, len(cat.methods))
	for _, m := range cat.methods {
		out = append(out, s.tool(m))
	}
	slices.SortFunc(out, func(a, b tools.Tool) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out, nil
}

// Notes say which methods are no tools, and why, and which waivers do nothing.
func (s *Source) Notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		return nil
	}
	return slices.Clone(s.known.notes)
}

// LeftOut says why methods are no tools, by the names that the tools would have.
func (s *Source) LeftOut() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		return nil
	}
	return maps.Clone(s.known.left)
}

// Awaited are the names of tools that the config speaks of, sorted: what agents may
// name while the backend was not reached yet.
func (s *Source) Awaited() []string {
	var out []string
	for key, f := range s.c.Facts {
		switch {
		case f.Skip:
		case f.Name != "":
			out = append(out, f.Name)
		default:
			out = append(out, NameOf(s.c.Prefix, key))
		}
	}
	slices.Sort(out)
	return out
}

// NameOf is the tool's name of a method, GetCustomer or crm.v1.Customers/GetCustomer,
// that neither the config nor the backend gives another one.
func NameOf(prefix, method string) string {
	return prefix + snake(method[strings.LastIndexByte(method, '/')+1:])
}

// Changed tells that Tools gives something else than before. It is never closed; two
// changes may be told as one.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Retire is for a source that another one has replaced, until Run is ended: it goes on
// for the sake of its calls, and says nothing about the backend any more.
func (s *Source) Retire() { s.retired.Store(true) }

// Run connects, reads the descriptors, and does both again when they are lost or
// old. It returns nil when ctx ends; a backend that is down is no error.
func (s *Source) Run(ctx context.Context) error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it says only that it is closed
	defer s.stall()
	defer s.lose(nil)
	if s.fixed != nil {
		s.note(ctx, s.fixed.notes)
	}
	for s.connect(ctx, conn) {
		l, err := s.learn(ctx, conn)
		if err != nil {
			s.blame(ctx, "a tool backend's descriptors cannot be read", undescribed(err))
			s.stall()
			pause(ctx, s.wait())
			continue
		}
		s.use(ctx, l)
		if s.hold(ctx, l) {
			s.rest(ctx)
		}
	}
	return nil
}

// wait is how long to leave a backend alone whose descriptors cannot be read.
func (s *Source) wait() time.Duration { return min(s.c.Refresh, 5*time.Second) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// connect waits for a connection; false: ctx has ended.
func (s *Source) connect(ctx context.Context, conn *grpc.ClientConn) bool {
	for asked := false; ; {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return ctx.Err() == nil
		case connectivity.Idle:
			if asked { // there was one, and it was lost at once
				s.rest(ctx)
			}
			asked = true
			conn.Connect()
		case connectivity.TransientFailure:
			s.blame(ctx, "a tool backend cannot be reached", unreachable(ctx, conn))
			s.lose(nil)
			s.stall()
		case connectivity.Shutdown:
			return false
		}
		if !s.next(ctx, conn, state) {
			return false
		}
	}
}

// next waits for another state, or until it is time to look why there is none: a
// backend that cannot be reached may stay so for another reason than before.
func (s *Source) next(ctx context.Context, conn *grpc.ClientConn, state connectivity.State) bool {
	own := ctx
	if state == connectivity.TransientFailure {
		var cancel context.CancelFunc
		own, cancel = context.WithTimeout(ctx, s.wait())
		defer cancel()
	}
	return conn.WaitForStateChange(own, state) || ctx.Err() == nil
}

// learn reads what the backend has to offer.
func (s *Source) learn(ctx context.Context, conn *grpc.ClientConn) (*link, error) {
	if s.fixed != nil {
		return &link{conn: conn, catalogue: s.fixed}, nil
	}
	f, number, err := reflect(ctx, conn, s.c.Services)
	if err != nil {
		return nil, err
	}
	cat, err := offer(s.c, f)
	if err != nil {
		return nil, err
	}
	return &link{conn: conn, number: number, catalogue: cat}, nil
}

// hold keeps a connection until it is lost, or until it is time to read again.
func (s *Source) hold(ctx context.Context, l *link) (lost bool) {
	own, cancel := context.WithTimeout(ctx, s.c.Refresh)
	defer cancel()
	stop := make(chan struct{})
	go func() { // ends with own, which ends with this call
		defer close(stop)
		defer cancel()
		select {
		case <-s.again:
			pause(own, time.Until(s.poked.Add(s.c.Reread)))
			s.poked = time.Now()
		case <-own.Done():
		}
	}()
	if lost = l.conn.WaitForStateChange(own, connectivity.Ready); lost {
		s.lose(l)
	}
	cancel()
	<-stop
	return lost
}

// poke has the descriptors read again soon, and no more often than Reread: while a
// newer replica and an older one take turns, each answer may be news.
func (s *Source) poke() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// use makes a link the one that calls go by.
func (s *Source) use(ctx context.Context, l *link) {
	s.mu.Lock()
	news := s.known == nil || s.known.digest != l.catalogue.digest || errorText(s.known.err) != errorText(l.catalogue.err)
	s.known, s.link, s.moving = l.catalogue, l, false
	s.tell()
	s.mu.Unlock()
	if s.trouble.Over() {
		s.warn(ctx, "a tool backend is there again", slog.String("target", s.c.Target))
	}
	s.note(ctx, l.catalogue.notes)
	if !news {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// note tells the operator what of the backend is no tool, and why: it is theirs to have
// it otherwise.
func (s *Source) note(ctx context.Context, notes []string) {
	if slices.Equal(notes, s.noted) {
		return
	}
	s.noted = notes
	for _, n := range notes {
		s.warn(ctx, "a note about a tool backend", slog.String("note", n))
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lose ends the use of a link, or of any. Another one is expected.
func (s *Source) lose(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil && (l == nil || s.link == l) {
		s.link, s.moving = nil, true
		s.tell()
	}
}

// stall says that no link is to be expected soon. One that is in use stays: by it
// its own connection is used and no other.
func (s *Source) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = false
	s.tell()
}

// tell wakes all who wait for a change of the link.
func (s *Source) tell() {
	close(s.turn)
	s.turn = make(chan struct{})
}

// patience is how long a call waits for a connection that is being replaced.
const patience = 2 * time.Second

// await gives the link in use. A call waits for one only while a lost connection is
// being replaced, as a backend that restarts has it; it fails at once while there is
// none.
func (s *Source) await(ctx context.Context) (*link, error) {
	var patient <-chan time.Time
	for {
		s.mu.Lock()
		l, moving, turn := s.link, s.moving, s.turn
		s.mu.Unlock()
		switch {
		case l != nil:
			return l, nil
		case !moving:
			return nil, errDown.Because(s.trouble.Err())
		case patient == nil:
			patient = time.After(patience)
		}
		select {
		case <-turn:
		case <-patient:
			return nil, errDown.Because(s.trouble.Err())
		case <-ctx.Done():
			return nil, errDown.Because(s.trouble.Err())
		}
	}
}
