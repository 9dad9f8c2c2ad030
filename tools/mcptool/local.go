package mcptool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/time/rate"
)

// local is a server that we start and talk to by its standard input and output. It
// has one session for all: nothing in it says who asks.
type local struct {
	c     *Config
	heard func()

	mu      sync.Mutex
	session *session // nil: it does not run
}

func newLocal(c *Config, heard func()) *local { return &local{c: c, heard: heard} }

// acquire implements server.
func (l *local) acquire(context.Context) (*session, func(bool), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return nil, nil, unavailable("the tool's server does not run now")
	}
	return l.session, func(bool) {}, nil
}

// close implements server: follow left nothing.
func (l *local) close() {}

func (l *local) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
}

// follow implements server: it lasts as long as the process.
func (l *local) follow(ctx context.Context, heard <-chan struct{}, list func(context.Context, lister) error) error {
	p, err := start(l.c)
	if err != nil {
		return err
	}
	defer p.stop()
	s, wire := newSession(), newLines(p.in, p.out, l.c)
	s.tap.Connection = wire
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(wire.pump)
	defer func() { _ = s.tap.Close() }() // also when there is no session yet
	hctx, cancel := context.WithTimeout(ctx, l.c.Limits.Connect)
	defer cancel()
	if s.client, err = s.newClient(l.heard).Connect(hctx, &ready{s.tap}, nil); err != nil {
		return fmt.Errorf("start the session: %w", err)
	}
	defer s.close()
	l.set(s)
	defer l.set(nil)
	return l.serve(ctx, p, &talk{session: s, wire: wire, list: list}, heard)
}

// talk is a session with a program, and what is read of it.
type talk struct {
	*session
	wire *lines
	list func(context.Context, lister) error
}

func (l *local) serve(ctx context.Context, p *process, s *talk, heard <-chan struct{}) error {
	gone := s.gone()
	defer func() { s.close(); <-gone }()
	refresh := time.NewTicker(l.c.Limits.Refresh)
	defer refresh.Stop()
	for patience := l.c.Limits.Connect; ; patience = l.c.patience() {
		if err := s.read(ctx, patience); err != nil {
			return err
		}
		if !pause(ctx, l.c.Limits.Relist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.exited:
			return errors.New("the program has ended")
		case <-gone:
			return errors.New("the session has ended")
		case <-refresh.C:
		case <-heard:
		}
	}
}

// read reads the list. A program that does one thing after the other may be busy with
// calls: it is not given up as long as it says anything.
func (t *talk) read(ctx context.Context, patience time.Duration) error {
	before := t.wire.said.Load()
	err := t.list(ctx, t.page(patience))
	if errors.Is(err, context.DeadlineExceeded) && t.wire.said.Load() != before {
		return nil
	}
	return err
}

// patience is how long a program may do nothing but its longest call.
func (c *Config) patience() time.Duration { return c.Limits.Call + c.Limits.Connect }

// ready is a connection that is there already.
type ready struct{ conn mcp.Connection }

// Connect implements mcp.Transport.
func (r *ready) Connect(context.Context) (mcp.Connection, error) { return r.conn, nil }

// complain passes what the program writes to its standard error on to the log: ten
// lines a second, cleaned and cut.
func complain(c *Config, r io.Reader) {
	often := rate.NewLimiter(10, 50)
	in := bufio.NewReaderSize(r, 4<<10)
	for {
		line, more, err := in.ReadLine()
		if err != nil {
			return
		}
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
		if text := tools.Clean(string(line), 1<<10); text != "" && often.Allow() {
			c.Logger.Info("an MCP server says", slog.String("server", c.Name), slog.String("line", text))
		}
	}
}

// environ is all that the program gets. It is never nil: os/exec would give ours.
func (c *Config) environ() []string {
	out := make([]string, 0, len(c.Env))
	for name, value := range c.Env {
		out = append(out, name+"="+value.Reveal())
	}
	return out
}

// pipes are the three of a program.
type pipes struct{ ours, theirs [3]*os.File }

func newPipes() (p *pipes, err error) {
	p = &pipes{}
	for i := range p.ours {
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
		if p.ours[i], p.theirs[i] = r, w; i == 0 {
			p.ours[i], p.theirs[i] = w, r
		}
	}
	return p, nil
}

func (p *pipes) close() {
	for _, f := range append(p.ours[:], p.theirs[:]...) {
		if f != nil {
			f.Close()
		}
	}
}
