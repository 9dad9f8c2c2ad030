package interceptors

import (
	"runtime"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// smallAnswer is what an unread answer may hold without being counted: with it the
// connections and their streams are bound enough.
const smallAnswer = 16 << 10

// answer is a large unary answer. gRPC takes it at once, and keeps it for a client
// that reads nothing for as long as the connection lives: no deadline of ours ends
// that, and nothing but the end of the connection, which others may share, would.
// So it counts among its person's calls until it has left.
type answer struct {
	proto.Message
	*holding
}

// holding is what stands for the memory of an answer.
type holding struct{ gone func() }

// held gives resp as it goes to the codec, which calls leave when it has left, if
// it is large enough to be counted; otherwise leave is called at once.
func held(resp any, leave func()) any {
	m, ok := resp.(proto.Message)
	if !ok || proto.Size(m) < smallAnswer {
		leave()
		return resp
	}
	h := &holding{gone: sync.OnceFunc(leave)}
	// A connection that ends drops what it has not sent without a word.
	runtime.AddCleanup(h, func(gone func()) { gone() }, h.gone)
	return &answer{m, h}
}

// Marshal tells an answer when gRPC has got rid of its bytes.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	a, ok := v.(*answer)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	pool := &leaving{mem.DefaultBufferPool(), a.holding}
	b := pool.Get(proto.Size(a.Message))
	if _, err := (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend((*b)[:0], a.Message); err != nil {
		pool.Put(b)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

// leaving is the pool of one answer's bytes.
type leaving struct {
	mem.BufferPool
	*holding
}

func (l *leaving) Put(b *[]byte) {
	l.BufferPool.Put(b)
	l.gone()
}
