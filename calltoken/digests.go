package calltoken

import (
	"context"
	"crypto/sha256"
	"sync"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is wrapped
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/stats"
)

// digests tell an interceptor what the bytes of a message were. Only a codec sees the
// bytes, and it does not know of which call they are; a stats handler does, and is told
// of each message right after the codec. What it hands over belongs to the call's
// context and ends with it, whether or not an interceptor comes to ask.
type digests struct {
	mu  sync.Mutex
	now map[any][sha256.Size]byte // by message, from the codec to the stats handler
}

// arrived is the message of one call.
type arrived struct {
	mu      sync.Mutex
	message any
	digest  [sha256.Size]byte
	fresh   bool // nobody has taken the digest
}

type arrivedKey struct{}

func (d *digests) inner() encoding.CodecV2 { return encoding.GetCodecV2("proto") }

// Name implements encoding.CodecV2.
func (d *digests) Name() string { return d.inner().Name() }

// Marshal implements encoding.CodecV2.
func (d *digests) Marshal(v any) (mem.BufferSlice, error) { return d.inner().Marshal(v) }

// Unmarshal implements encoding.CodecV2.
func (d *digests) Unmarshal(data mem.BufferSlice, v any) error {
	h := sha256.New()
	for _, b := range data {
		h.Write(b.ReadOnlyData())
	}
	if err := d.inner().Unmarshal(data, v); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now == nil {
		d.now = map[any][sha256.Size]byte{}
	}
	d.now[v] = [sha256.Size]byte(h.Sum(nil))
	return nil
}

// TagRPC implements stats.Handler.
func (d *digests) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, arrivedKey{}, &arrived{})
}

// HandleRPC implements stats.Handler.
func (d *digests) HandleRPC(ctx context.Context, s stats.RPCStats) {
	a, ok := ctx.Value(arrivedKey{}).(*arrived)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch s := s.(type) {
	case *stats.InPayload:
		a.message = s.Payload
		a.digest, a.fresh = d.move(s.Payload)
	case *stats.End: // a second message, where one is due, is read into the first and told to nobody
		d.move(a.message)
		a.message, a.fresh = nil, false
	}
}

// TagConn implements stats.Handler.
func (d *digests) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (d *digests) HandleConn(context.Context, stats.ConnStats) {}

func (d *digests) move(message any) (digest [sha256.Size]byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	digest, ok = d.now[message]
	delete(d.now, message)
	return digest, ok
}

// taken is the digest of the message that the call of ctx came with, once. Another
// message than that has none.
func taken(ctx context.Context, message any) (digest [sha256.Size]byte, ok bool) {
	a, tagged := ctx.Value(arrivedKey{}).(*arrived)
	if !tagged {
		return digest, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ok = a.fresh && a.message == message
	a.fresh = false
	return a.digest, ok
}
