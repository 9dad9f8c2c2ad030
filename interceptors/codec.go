package interceptors

import (
	"context"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// codec decodes requests and never fails at it. gRPC decodes a unary request
// before the first interceptor is asked, and answers by itself when it cannot:
// to callers that nobody has identified, and without a reason. So a message that
// cannot be taken is marked instead, and the decoded layer refuses it in its turn.
type codec struct {
	encoding.CodecV2
	limit int // bytes of one request, decompressed
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if data.Len() > c.limit {
		mark(m, tooLarge)
		return nil
	}
	if c.CodecV2.Unmarshal(data, v) != nil {
		proto.Reset(m)
		mark(m, garbled)
	}
	return nil
}

// What can be wrong with a message as such.
const (
	garbled  = 1
	tooLarge = 2
)

// markField is the field by which a message says that it is none: the last
// number that there is, which no message of ours has. A client that sends it is
// refused, and that is all.
const markField = protowire.MaxValidNumber

func mark(m proto.Message, what uint64) {
	b := protowire.AppendTag(nil, markField, protowire.VarintType)
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(b, what))
}

// marked gives what mark said, 0 for a message that is one.
func marked(m proto.Message) uint64 {
	if m == nil {
		return 0
	}
	b := m.ProtoReflect().GetUnknown()
	field, kind, n := protowire.ConsumeTag(b)
	if n < 0 || field != markField || kind != protowire.VarintType {
		return 0
	}
	what, _ := protowire.ConsumeVarint(b[n:])
	return what
}

// decoded refuses what the codec could not take.
func decoded(ctx context.Context, c *call, rest next) error {
	c.each = append(c.each, func(m proto.Message) error {
		if what := marked(m); what != 0 {
			return untakeable(what)
		}
		return nil
	})
	return rest(ctx)
}

func untakeable(what uint64) *fault.Error {
	if what == tooLarge {
		return fault.New(codes.ResourceExhausted, fault.ArgumentInvalid, "the request is too large; send less at once")
	}
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request cannot be decoded")
}

// decoding installs the codec. gRPC's own limit stands behind ours: what is far
// too large is cut off before it fills the memory, see Taking.
func decoding(limit int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(protocodec.Name), limit}),
		grpc.MaxRecvMsgSize(2 * limit),
	}
}
