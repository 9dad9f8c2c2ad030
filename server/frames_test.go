package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// pipe is a connection of frames and its client.
func pipe(t *testing.T, l Transport) (*frames, net.Conn, *int) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	floods := 0
	return newFrames(ours, l.withDefaults(), func() { floods++ }), theirs, &floods
}

// written is what f writes, after a preface.
func written(f func(*http2.Framer)) []byte {
	b := bytes.NewBufferString(http2.ClientPreface)
	f(http2.NewFramer(b, nil))
	return b.Bytes()
}

func TestFramesThatDoNothingAreCountedWhereverTheyAreCut(t *testing.T) {
	const most = burst * 2 // of two a second
	work := func(w *http2.Framer, i int) {
		id := uint32(2*i + 1)
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: make([]byte, 300), EndHeaders: true})
		_ = w.WriteData(id, false, make([]byte, 700))
		_ = w.WriteData(id, true, nil)
		_ = w.WritePing(true, [8]byte{})
		_ = w.WriteWindowUpdate(0, 1)
	}
	reset := func(w *http2.Framer, i int) { _ = w.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel) }
	empty := func(w *http2.Framer, i int) { _ = w.WriteData(uint32(2*i+1), false, nil) }

	for name, c := range map[string]struct {
		n     int
		each  func(*http2.Framer, int)
		bears bool
	}{
		"work": {10_000, work, true}, "resets": {most, reset, true}, "more resets": {2 * most, reset, false},
		"empty data": {most, empty, true}, "more of it": {2 * most, empty, false},
	} {
		b := written(func(w *http2.Framer) {
			for i := range c.n {
				c.each(w, i)
			}
		})
		for _, size := range []int{1, 8, 9, 10, 4096, len(b)} {
			f := newFrames(nil, Transport{Resets: 2}.withDefaults(), nil)
			bears := true
			for rest := b; len(rest) > 0 && bears; rest = rest[min(size, len(rest)):] {
				bears = f.bear(rest[:min(size, len(rest))])
			}
			if bears != c.bears {
				t.Errorf("%s in pieces of %d: got %v, want %v", name, size, bears, c.bears)
			}
		}
	}
}

func TestAFloodEndsTheConnection(t *testing.T) {
	f, theirs, floods := pipe(t, Transport{Resets: 1})
	sent := make(chan error, 1)
	go func() { // ends when the connection is closed
		_, err := theirs.Write(written(func(w *http2.Framer) {
			for range 10_000 {
				_ = w.WriteSettings()
			}
		}))
		sent <- err
	}()

	_, err := io.Copy(io.Discard, f)

	if !errors.Is(err, errFlood) || *floods != 1 {
		t.Errorf("got %v and %d floods, want one", err, *floods)
	}
	if err := <-sent; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the client got %v, want the connection closed", err)
	}
}

func TestAClientThatTakesNothingIsNotWaitedFor(t *testing.T) {
	f, _, _ := pipe(t, Transport{StuckWrite: time.Millisecond})

	if _, err := f.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the write to end", err)
	}
}
