package server

import (
	"encoding/binary"
	"errors"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/time/rate"
)

// frames is a connection that is closed when its client floods it, or takes
// nothing. gRPC bounds how many streams are open and what they hold; it does not
// bound how often they are opened and reset (HTTP/2 rapid reset), nor frames that
// carry nothing, and a write to a full socket waits for as long as the client likes,
// with all that the client goes on asking for behind it.
//
// One goroutine reads and one writes, as gRPC's transport does.
type frames struct {
	net.Conn
	idle  *rate.Limiter // what frames that do nothing may cost
	stuck time.Duration // how long one write may wait
	flood func()        // counts a client that was closed

	preface int // bytes of it that have not come yet
	head    [frameHead]byte
	have    int    // of head
	skip    uint32 // bytes of the payload that have not come yet
}

const frameHead = 9

func newFrames(c net.Conn, l Transport, flood func()) *frames {
	return &frames{
		Conn: c, idle: rate.NewLimiter(rate.Limit(l.Resets), burst*l.Resets), stuck: l.StuckWrite, flood: flood,
		preface: len(http2.ClientPreface),
	}
}

var errFlood = errors.New("the client sends too many frames that do nothing")

// Read gives nothing of what came with one frame too many.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if !f.bear(p[:n]) {
		f.flood()
		_ = f.Close()
		return 0, errFlood
	}
	return n, err
}

// Write fails when nothing was taken for too long.
func (f *frames) Write(p []byte) (int, error) {
	if err := f.SetWriteDeadline(time.Now().Add(f.stuck)); err != nil {
		return 0, err
	}
	return f.Conn.Write(p)
}

// bear reads along; false if that is enough.
func (f *frames) bear(b []byte) bool {
	n := min(f.preface, len(b))
	f.preface, b = f.preface-n, b[n:]
	for len(b) > 0 {
		if n := min(int(f.skip), len(b)); n > 0 {
			f.skip, b = f.skip-uint32(n), b[n:]
			continue
		}
		n := copy(f.head[f.have:], b)
		if f.have, b = f.have+n, b[n:]; f.have < frameHead {
			return true
		}
		f.have, f.skip = 0, binary.BigEndian.Uint32(f.head[:])>>8
		if f.doesNothing() && !f.idle.Allow() {
			return false
		}
	}
	return true
}

// doesNothing is true of frames of which nobody needs many. Pings are gRPC's matter,
// which knows how many are measurements, and window updates end with the writes
// that they allow.
func (f *frames) doesNothing() bool {
	switch http2.FrameType(f.head[3]) {
	case http2.FrameData:
		return f.skip == 0 && !http2.Flags(f.head[4]).Has(http2.FlagDataEndStream)
	case http2.FrameHeaders, http2.FramePing, http2.FrameWindowUpdate:
		return false
	}
	return true
}
