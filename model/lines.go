package model

import (
	"bytes"
	"context"
	"io"
	"time"
)

const (
	firstBuffer = 4 << 10  // of an idle stream; most deltas are 300 bytes
	fullBuffer  = 16 << 10 // of a busy one: what a read of our transport gives at most
	drainWait   = 25 * time.Millisecond
)

// lines cuts a response's body into the lines of its event stream. It reads the
// network only when asked for a line that is not here yet, so ready can tell
// what has already arrived. It knows the limits that the library lacks.
type lines struct {
	src  io.ReadCloser
	idle *time.Timer
	cfg  *OpenAIConfig

	first *[firstBuffer]byte
	buf   []byte
	r, w  int   // buf[r:w] is unread
	end   int   // the line at r ends here, -1: not known
	read  int64 // bytes so far
	eof   bool
}

func newLines(src io.ReadCloser, idle *time.Timer, cfg *OpenAIConfig) *lines {
	first, ok := cfg.buffers.Get().(*[firstBuffer]byte)
	if !ok {
		first = new([firstBuffer]byte)
	}
	return &lines{src: src, idle: idle, cfg: cfg, first: first, buf: first[:], end: -1}
}

// close ends the response and gives its first buffer back; no line may be asked
// for, or kept, after it.
func (l *lines) close() {
	l.src.Close()
	l.cfg.buffers.Put(l.first)
	l.first, l.buf = nil, nil
}

// next gives the next line that says something, without its line break. It is
// valid until the next call. The end is io.EOF.
func (l *lines) next() ([]byte, error) {
	for !l.ready() {
		if l.eof {
			return l.rest()
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
	line := l.buf[l.r:l.end]
	l.r, l.end = l.end+1, -1
	if len(line) > l.cfg.MaxLine {
		return nil, errLine
	}
	return trimCR(line), nil
}

// rest is a last line without a line break: whole, or the half of a cut stream.
func (l *lines) rest() ([]byte, error) {
	line := trimCR(l.buf[l.r:l.w])
	l.r = l.w
	if silent(line) {
		return nil, io.EOF
	}
	return line, nil
}

// ready reports whether a line that says something can be had without waiting.
func (l *lines) ready() bool {
	for l.end < 0 {
		n := bytes.IndexByte(l.buf[l.r:l.w], '\n')
		if n < 0 {
			return false
		}
		if silent(trimCR(l.buf[l.r : l.r+n])) {
			l.r += n + 1
			continue
		}
		l.end = l.r + n
	}
	return true
}

// fill waits for the network once.
func (l *lines) fill() error {
	if err := l.room(); err != nil {
		return err
	}
	l.idle.Reset(l.cfg.IdleTimeout)
	n, err := l.src.Read(l.buf[l.w:])
	l.idle.Stop()
	l.w += n
	l.read += int64(n)
	if l.read > l.cfg.MaxBytes {
		return errBytes
	}
	if err == io.EOF {
		l.eof = true
		return nil
	}
	return err
}

// room makes space behind w. A buffer that was filled to the brim grows, so an
// idle stream stays small and a busy one reads much at once.
func (l *lines) room() error {
	full := l.w == len(l.buf)
	l.w = copy(l.buf, l.buf[l.r:l.w])
	l.r = 0
	if l.w > l.cfg.MaxLine {
		return errLine
	}
	if full && len(l.buf) < fullBuffer {
		l.grow(fullBuffer)
	}
	if l.w == len(l.buf) {
		l.grow(2 * len(l.buf))
	}
	return nil
}

func (l *lines) grow(size int) {
	b := make([]byte, size)
	copy(b, l.buf[:l.w])
	l.buf = b
}

// drain reads the end of a finished body, which is nearly always there already:
// a connection is kept only if its response was read to the end.
func (l *lines) drain(ctx context.Context) {
	l.idle.Reset(drainWait)
	defer l.idle.Stop()
	for !l.eof && ctx.Err() == nil {
		if n, err := l.src.Read(l.buf); err != nil || n == len(l.buf) {
			return
		}
	}
}

func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte{'\r'}) }

// silent lines say nothing: blanks between events, comments (heartbeats), and
// fields that this protocol does not use. An error event is known by its data.
func silent(line []byte) bool {
	return len(line) == 0 || line[0] == ':' ||
		bytes.HasPrefix(line, []byte("event:")) || bytes.HasPrefix(line, []byte("id:")) || bytes.HasPrefix(line, []byte("retry:"))
}
