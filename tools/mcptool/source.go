package mcptool

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

// Config is one MCP server: exactly one of URL and Command.
type Config struct {
	Name   string // of the toolset; required
	Prefix string // put in front of the tools' names
	File   string // of the config, for what the log tells an operator to type
	Review string // what to type instead, but for the tool: callers are told it too

	URL     string                     // of a streamable HTTP server
	Headers map[string]identity.Secret // of every request; not Authorization where calls carry tokens
	// TLS is how we connect: identity.ClientTLS for our SVID; nil: by the system's
	// roots, without a certificate. A token names the certificate of the very
	// connection that it goes by.
	TLS *tls.Config

	Command []string                   // of a stdio server: the program and its arguments
	Env     map[string]identity.Secret // all that the program gets
	Dir     string                     // where it runs; empty: where we do

	// Tokens mint what each call carries, for the audience. No audience: none.
	Tokens  tools.Issuing
	Backend tools.Backend

	Tools map[string]Known // the server's own name → what to know of it
	Pins  Pins             // required
	// TrustOnFirstUse accepts a tool that was never seen. A change is never taken.
	TrustOnFirstUse bool

	Limits Limits
	Logger *slog.Logger     // absent: silent
	Now    func() time.Time // absent: time.Now
}

// Known is what the operator says of a tool. The server's own words on its effect
// are hints, and nothing is decided by them.
type Known struct {
	Name        string // absent: made from the server's name
	Description string // absent: the server's
	Scopes      []string
	Effect      tools.Effect
	Risk        string
	Idempotent  bool
	Owners      map[string]tools.Owner
}

// Limits bound a server. Zero values mean the defaults.
type Limits struct {
	Call       time.Duration // one call, default 1 min
	Connect    time.Duration // a handshake, or one page of a list; default 10 s
	Refresh    time.Duration // how often the list is read again unasked; default 1 min
	Reread     time.Duration // how often to look what was accepted elsewhere; default 2 s
	Relist     time.Duration // between two lists because the server says so; default 5 s
	Backoff    time.Duration // after a loss; doubles up to a minute; default 1 s
	Idle       time.Duration // after which a person's session is closed; default 5 min
	Sessions   int           // of persons at once; default 256
	Tools      int           // of the server; default 256
	Message    int           // bytes of one message of the server; default 4 MiB
	Connection int           // TCP connections to the server; default 256. Over HTTP/1.1 a person's calls take a thirty-second of them
}

func (l Limits) orDefaults() Limits {
	l.Call = cmp.Or(max(l.Call, 0), time.Minute)
	l.Connect = cmp.Or(max(l.Connect, 0), 10*time.Second)
	l.Refresh = cmp.Or(max(l.Refresh, 0), time.Minute)
	l.Reread = cmp.Or(max(l.Reread, 0), 2*time.Second)
	l.Relist = cmp.Or(max(l.Relist, 0), 5*time.Second)
	l.Backoff = cmp.Or(max(l.Backoff, 0), time.Second)
	l.Idle = cmp.Or(max(l.Idle, 0), 5*time.Minute)
	l.Sessions = cmp.Or(max(l.Sessions, 0), 256)
	l.Tools = cmp.Or(max(l.Tools, 0), 256)
	l.Message = cmp.Or(max(l.Message, 0), 4<<20)
	l.Connection = cmp.Or(max(l.Connection, 0), 256)
	return l
}

// Source is the tools of one MCP server. Run must be called once; everything else
// may be used by many goroutines, before, while and after it runs.
type Source struct {
	c       Config
	server  server
	trouble tools.Trouble
	changed chan struct{} // holds one
	heard   chan struct{} // holds one: the server says that its list changed
	listing chan struct{} // holds one: who reads the list
	asking  chan struct{} // holds one: who has it read for a call
	retired atomic.Bool   // it says nothing and trusts nothing any more

	mu     sync.Mutex
	listed map[string]*definition // as the server has them now; nil: it is not known
	read   bool                   // it was known once
	pins   map[string]Pin         // what was accepted
	told   map[string]bool        // the offers and notes that the operator was told of
	shown  string                 // what Tools gave when it was last different
	began  uint64                 // lists
	ended  uint64                 // the last one that was read, of those that began
}

// server is how a server is reached.
type server interface {
	// follow keeps the server and calls list whenever its tools may have changed. It
	// returns when the server is lost or ctx has ended.
	follow(ctx context.Context, heard <-chan struct{}, list func(context.Context, lister) error) error
	// acquire gives the session that a call goes by; release must be called.
	acquire(ctx context.Context) (s *session, release func(broken bool), err error)
	// close ends what calls opened.
	close()
}

// New checks the config and loads what was accepted. It connects to nothing.
func New(c Config) (*Source, error) {
	c.Limits = c.Limits.orDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("MCP server %q: %w", c.Name, err)
	}
	pins, err := c.Pins.Load(c.Name)
	if err != nil {
		return nil, fmt.Errorf("MCP server %q: %w", c.Name, err)
	}
	s := &Source{c: c, pins: pins, changed: make(chan struct{}, 1), heard: make(chan struct{}, 1), listing: make(chan struct{}, 1), asking: make(chan struct{}, 1)}
	if len(c.Command) > 0 {
		s.server = newLocal(&s.c, s.hear)
	} else if s.server, err = newRemote(&s.c, s); err != nil {
		return nil, fmt.Errorf("MCP server %q: %w", c.Name, err)
	}
	s.shown = s.signature()
	return s, nil
}

func (c *Config) check() error {
	switch {
	case c.Name == "" || c.Pins == nil:
		return errors.New("a name and pins are required")
	case (c.URL == "") == (len(c.Command) == 0):
		return errors.New("say a URL or a command, and not both")
	case len(c.Command) > 0 && (c.Backend.Audience != "" || len(c.Headers) > 0 || c.TLS != nil):
		return errors.New("a command gets no tokens, headers or TLS: nothing says for whom its input is")
	case c.URL != "" && (len(c.Env) > 0 || c.Dir != ""):
		return errors.New("env and dir belong to a command")
	case c.Backend.Audience != "" && c.Tokens == nil:
		return errors.New("an audience needs something that mints tokens")
	}
	if err := c.checkHeaders(); err != nil || c.URL == "" {
		return err
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && !loopback(u) {
		return errors.New("the URL must be https://host/path, without a user or fragment; http is for loopback only")
	}
	return nil
}

// Changed tells that Tools gives something else than before.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Retire is for a source that another one has replaced, until Run is ended: it goes on
// for the sake of its calls. It says nothing about the server any more, and accepts
// nothing of it unread: the one that replaced it may not want that.
func (s *Source) Retire() { s.retired.Store(true) }

// warn tells the operator something about the server. The end of a trouble is told as
// loudly as its begin: whoever reads the one reads the other.
func (s *Source) warn(ctx context.Context, what string, attrs ...slog.Attr) {
	if s.retired.Load() {
		return
	}
	s.c.Logger.LogAttrs(ctx, slog.LevelWarn, what, append([]slog.Attr{slog.String("server", s.c.Name)}, attrs...)...)
}

// Run keeps the server connected and its list read until ctx ends. A server that
// is not there is no error: its tools are unavailable until it is back.
func (s *Source) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.reread(ctx) }) // ends with ctx, as Run does
	defer s.server.close()
	defer s.lost(context.WithoutCancel(ctx), nil)
	for wait := s.c.Limits.Backoff; ctx.Err() == nil; {
		began := s.c.Now()
		err := s.server.follow(ctx, s.heard, s.list)
		if ctx.Err() == nil && err != nil {
			s.lost(ctx, err)
		}
		if s.c.Now().Sub(began) > time.Minute {
			wait = s.c.Limits.Backoff
		}
		pause(ctx, wait/2+rand.N(wait)) //nolint:gosec // spreads reconnects, guards nothing
		wait = min(2*wait, time.Minute)
	}
	return nil
}

// Look reads the list once, and keeps nothing open. It is for who only wants to see
// what waits, instead of Run.
func (s *Source) Look(ctx context.Context) error {
	defer s.server.close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var listed error
	err := s.server.follow(ctx, s.heard, func(ctx context.Context, next lister) error {
		defer stop()
		listed = s.list(ctx, next)
		return listed
	})
	switch {
	case s.Read():
		return nil
	case listed != nil:
		return listed
	}
	return cmp.Or(err, ctx.Err())
}

func (s *Source) lost(ctx context.Context, err error) {
	s.mu.Lock()
	s.listed = nil
	s.mu.Unlock()
	if err == nil {
		return
	}
	why := errors.New(tools.Clean(err.Error(), 512))
	if s.trouble.Is(why, s.c.Now()) {
		s.warn(ctx, "an MCP server is not there", slog.String("target", s.c.target()), slog.String("why", why.Error()))
	}
}

// target is where the server is, as texts may have it: keys are in queries.
func (c *Config) target() string {
	if c.URL == "" {
		return c.Command[0]
	}
	base, _, _ := strings.Cut(c.URL, "?")
	return base
}

// Problem is why nothing of the server can be used now; nil: it can. It is for the
// operator.
func (s *Source) Problem() error {
	s.mu.Lock()
	there := s.listed != nil
	s.mu.Unlock()
	if there {
		return nil
	}
	return cmp.Or(s.trouble.Err(), errUnread)
}

var errUnread = errors.New("its tools were not listed yet")

// hear notes that the server says that its list changed. It may say so a thousand
// times: that is one list.
func (s *Source) hear() {
	select {
	case s.heard <- struct{}{}:
	default:
	}
}

// tell says that Tools gives something else, if it does.
func (s *Source) tell() {
	now := s.signature()
	s.mu.Lock()
	same := now == s.shown
	s.shown = now
	s.mu.Unlock()
	if same {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
