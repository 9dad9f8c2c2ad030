package mcptool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
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
	s := newSession()
	s.tap.Connection = newLines(p.in, p.out, l.c)
	defer func() { _ = s.tap.Close() }() // also when there is no session yet
	hctx, cancel := context.WithTimeout(ctx, l.c.Limits.Connect)
	defer cancel()
	if s.client, err = s.newClient(l.heard).Connect(hctx, &ready{s.tap}, nil); err != nil {
		return fmt.Errorf("start the session: %w", err)
	}
	defer s.close()
	l.set(s)
	defer l.set(nil)
	return l.serve(ctx, p, s, heard, list)
}

func (l *local) serve(ctx context.Context, p *process, s *session, heard <-chan struct{}, list func(context.Context, lister) error) error {
	gone := s.gone()
	defer func() { s.close(); <-gone }()
	refresh := time.NewTicker(l.c.Limits.Refresh)
	defer refresh.Stop()
	for {
		if err := list(ctx, s.page(l.c.Limits.Connect)); err != nil {
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

// ready is a connection that is there already.
type ready struct{ conn mcp.Connection }

// Connect implements mcp.Transport.
func (r *ready) Connect(context.Context) (mcp.Connection, error) { return r.conn, nil }

// lines is the stdio transport: a message is a line. The SDK's own reads a stream
// of JSON, takes batches, and one message that is none ends it.
type lines struct {
	c    *Config
	in   *os.File
	out  io.ReadCloser
	scan *bufio.Scanner
	rate *rate.Limiter

	write sync.Mutex
	once  sync.Once
}

func newLines(in *os.File, out io.ReadCloser, c *Config) *lines {
	l := &lines{c: c, in: in, out: out, scan: bufio.NewScanner(out), rate: rate.NewLimiter(1000, 1000)}
	l.scan.Buffer(nil, c.Limits.Message)
	return l
}

// maxStray is how many lines in a row may be no message.
const maxStray = 100

// Read implements mcp.Connection. What is not a message is passed over: programs
// print greetings. A line that is too long, or too many that are nothing, end it.
func (l *lines) Read(ctx context.Context) (jsonrpc.Message, error) {
	for range maxStray {
		if !l.scan.Scan() {
			if err := l.scan.Err(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		if err := l.rate.Wait(ctx); err != nil {
			return nil, err
		}
		line := bytes.TrimSpace(l.scan.Bytes())
		if len(line) == 0 || line[0] != '{' {
			continue
		}
		if m, err := jsonrpc.DecodeMessage(bytes.Clone(line)); err == nil {
			return m, nil
		}
	}
	return nil, errors.New("the program writes something else than messages")
}

// Write implements mcp.Connection. A program that does not read in time is given
// up: half a message may be in its input, and everybody else waits behind it.
func (l *lines) Write(ctx context.Context, m jsonrpc.Message) error {
	text, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return err
	}
	l.write.Lock()
	defer l.write.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if x := exchangeFrom(ctx); x != nil {
		x.sent.Store(true)
	}
	if err = l.in.SetWriteDeadline(time.Now().Add(l.c.Limits.Connect)); err == nil {
		_, err = l.in.Write(append(text, '\n'))
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

// Close implements mcp.Connection.
func (l *lines) Close() (err error) {
	l.once.Do(func() { err = errors.Join(l.in.Close(), l.out.Close()) })
	return err
}

// SessionID implements mcp.Connection.
func (l *lines) SessionID() string { return "" }

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
