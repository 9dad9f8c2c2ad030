package interceptors

import (
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

func TestTheCodecMarksWhatItCannotTake(t *testing.T) {
	c := codec{encoding.GetCodecV2(protocodec.Name), 64}
	good, err := proto.Marshal(&behalfv1.GetRunRequest{RunId: "run_1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		bytes []byte
		want  uint64
		runID string
	}{
		"a request":        {good, 0, "run_1"},
		"nothing":          {nil, 0, ""},
		"garbage":          {append(good, 0xff), garbled, ""},
		"too much":         {append(good, make([]byte, 64)...), tooLarge, ""},
		"an unknown field": {append(good, 0xf8, 0x7f, 1), 0, "run_1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &behalfv1.GetRunRequest{}

			err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(test.bytes)}, m)

			if err != nil || marked(m) != test.want || m.GetRunId() != test.runID {
				t.Errorf("got %v, mark %d, run %q; want mark %d, run %q", err, marked(m), m.GetRunId(), test.want, test.runID)
			}
		})
	}
}

// Another request that is decoded into the same message must not inherit the mark.
func TestAMarkGoesWithItsMessage(t *testing.T) {
	m := &behalfv1.GetRunRequest{RunId: strings.Repeat("x", 100)}
	mark(m, garbled)

	proto.Reset(m)

	if marked(m) != 0 || marked(nil) != 0 {
		t.Error("a message without a mark reads as marked")
	}
}
