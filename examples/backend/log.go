package backend

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/behalf-dev/behalf/calltoken"
)

// Who is for whom a call is made and through which agents, the first of them first.
// Only the last, who calls, may decide anything (RFC 8693, 4.1).
func Who(c *calltoken.Claims) string {
	agents := c.Agents()
	slices.Reverse(agents)
	if len(agents) == 0 {
		return c.Subject + " directly"
	}
	return c.Subject + " through " + strings.Join(agents, "›")
}

// NewLog writes a line for each record: the name, the message, and what goes with it.
func NewLog(w io.Writer, name string) *slog.Logger {
	return slog.New(&lines{w: w, mu: &sync.Mutex{}, name: name})
}

// lines is a slog.Handler for people.
type lines struct {
	w    io.Writer
	mu   *sync.Mutex // one line at a time
	name string
	with string
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler. What came from outside is quoted where it has more
// than plain words, so that nobody can write a line of their own.
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	line := l.name + ": " + plain(r.Message) + l.with
	r.Attrs(func(a slog.Attr) bool { line += said(a); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintln(l.w, line)
	return err
}

func (l *lines) WithAttrs(as []slog.Attr) slog.Handler {
	more := *l
	for _, a := range as {
		more.with += said(a)
	}
	return &more
}

func (l *lines) WithGroup(string) slog.Handler { return l }

func said(a slog.Attr) string { return ", " + a.Key + " " + plain(a.Value.String()) }

func plain(s string) string {
	if q := fmt.Sprintf("%q", s); len(q) != len(s)+2 {
		return q
	}
	return s
}
