package mcptool

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"golang.org/x/time/rate"
)

// lines is the stdio transport: a message is a line. The SDK's own reads a stream
// of JSON, takes batches, and one message that is none ends it.
type lines struct {
	c       *Config
	in      *os.File
	out     io.ReadCloser
	scan    *bufio.Scanner
	rate    *rate.Limiter
	said    atomic.Int64 // messages that were read
	replies *rate.Limiter

	next  chan line     // to who writes
	ended chan struct{} // closed by Close
	once  sync.Once
}

// line is a message on its way to the program.
type line struct {
	text []byte
	done chan error // holds one
}

func newLines(in *os.File, out io.ReadCloser, c *Config) *lines {
	l := &lines{c: c, in: in, out: out, scan: bufio.NewScanner(out), rate: rate.NewLimiter(1000, 1000), replies: newReplies(), next: make(chan line), ended: make(chan struct{})}
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
			l.said.Add(1)
			return m, nil
		}
	}
	return nil, errors.New("the program writes something else than messages")
}

// Write implements mcp.Connection. Its turn is waited for no longer than the caller
// wants: a program that is busy with one call reads no other. What was begun is written
// to its end, also when nobody wants it any more, or half of it would stand before the
// next one.
func (l *lines) Write(ctx context.Context, m jsonrpc.Message) error {
	if _, reply := m.(*jsonrpc.Response); reply && !l.replies.Allow() {
		return nil // it asks too often
	}
	text, err := jsonrpc.EncodeMessage(m)
	if err != nil || ctx.Err() != nil {
		return cmp.Or(err, ctx.Err())
	}
	out := line{text: append(text, '\n'), done: make(chan error, 1)}
	select {
	case l.next <- out:
	case <-l.ended:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
	if x := exchangeFrom(ctx); x != nil {
		x.sent.Store(true)
	}
	select {
	case err := <-out.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pump writes one message after the other until the program is gone, or given up.
func (l *lines) pump() {
	for {
		select {
		case <-l.ended:
			return
		case out := <-l.next:
			err := l.put(out.text)
			out.done <- err
			if err != nil {
				_ = l.Close()
				return
			}
		}
	}
}

// put gives up a program that reads nothing for longer than a call may take.
func (l *lines) put(text []byte) error {
	const piece = 4 << 10 // goes into a pipe whole or not at all
	for part := range slices.Chunk(text, piece) {
		if err := l.in.SetWriteDeadline(time.Now().Add(l.c.patience())); err != nil {
			return err
		}
		if _, err := l.in.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// Close implements mcp.Connection.
func (l *lines) Close() (err error) {
	l.once.Do(func() { close(l.ended); err = errors.Join(l.in.Close(), l.out.Close()) })
	return err
}

// SessionID implements mcp.Connection.
func (l *lines) SessionID() string { return "" }
