package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protodelim"
)

// after reads the stored events behind a sequence, in batches: one request
// brings many messages, where a get per message would be a round trip each.
func (j *JetStream) after(ctx context.Context, k Key, after uint64) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		at, err := place(k)
		if err != nil {
			yield(agents.Event{}, err)
			return
		}
		sub, err := j.conn.SubscribeSync(nats.NewInbox())
		if err != nil {
			yield(agents.Event{}, fmt.Errorf("read the session: %w", err))
			return
		}
		defer func() { _ = sub.Unsubscribe() }()
		r := &reader{conn: j.conn, sub: sub, at: at, after: after, yield: yield}
		for more := true; more; {
			if more, err = r.batch(ctx); err != nil {
				yield(agents.Event{}, fmt.Errorf("read the session: %w", err))
				return
			}
		}
	}
}

// reader is one pass over a session's messages.
type reader struct {
	conn  *nats.Conn
	sub   *nats.Subscription
	at    location
	after uint64
	next  uint64 // stream sequence to go on from
	yield func(agents.Event, error) bool
}

// directGet is the request of JetStream's direct batch get.
type directGet struct {
	Sequence uint64 `json:"seq"`
	Subject  string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
	Bare     bool   `json:"no_hdr"` // headers cost the server more than the message
}

const (
	batchMessages = 256
	batchBytes    = 4 << 20
)

// batch asks for messages and shows them. It reports whether there are more.
func (r *reader) batch(ctx context.Context) (more bool, err error) {
	ask, err := json.Marshal(directGet{max(r.next, 1), r.at.subject, batchMessages, batchBytes, true})
	if err != nil {
		return false, err
	}
	if err := r.conn.PublishRequest("$JS.API.DIRECT.GET."+r.at.stream, r.sub.Subject, ask); err != nil {
		return false, err
	}
	for messages, size := 0, 0; ; messages++ {
		msg, err := r.sub.NextMsgWithContext(ctx)
		if err != nil {
			return false, err
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "404": // nothing there
			return false, nil
		case "204": // end of the batch
			last, err := strconv.ParseUint(msg.Header.Get("Nats-Last-Sequence"), 10, 64)
			r.next = last + 1
			return messages >= batchMessages || size >= batchBytes, err
		default:
			return false, fmt.Errorf("direct get answered %s %s", status, msg.Header.Get("Description"))
		}
		size += len(msg.Data)
		if ok, err := r.show(msg.Data); !ok {
			return false, err
		}
	}
}

func (r *reader) show(step []byte) (bool, error) {
	for e, err := range decodeStep(step) {
		if err != nil {
			return false, err
		}
		if e.Sequence > r.after && !r.yield(e, nil) {
			return false, nil
		}
	}
	return true, nil
}

// encodeStep writes events one after the other, each with its length in front.
func encodeStep(events []agents.Event) ([]byte, error) {
	var out bytes.Buffer
	for i := range events {
		if _, err := protodelim.MarshalTo(&out, wire.Encode(&events[i])); err != nil {
			return nil, fmt.Errorf("encode event %d: %w", events[i].Sequence, err)
		}
	}
	return out.Bytes(), nil
}

// decodeStep reads what encodeStep wrote. What it cannot read ends it.
func decodeStep(step []byte) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		in := bytes.NewReader(step)
		for {
			var pb behalfv1.Event
			err := protodelim.UnmarshalOptions{MaxSize: maxStep}.UnmarshalFrom(in, &pb)
			if errors.Is(err, io.EOF) {
				return
			}
			var e agents.Event
			if err == nil {
				e, err = wire.Decode(&pb)
			}
			if err != nil {
				yield(agents.Event{}, fmt.Errorf("read a stored step: %w", err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}
