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
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protodelim"
)

// after reads the stored events behind a sequence, in batches: one request
// brings many messages, where a get per message would be a round trip each. It
// ends without an error only when it has shown the event that was the newest
// when it began.
func (j *JetStream) after(ctx context.Context, k Key, after uint64) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		at, err := place(k)
		if err != nil {
			yield(agents.Event{}, err)
			return
		}
		r := &reader{j: j, key: k, at: at, after: after, yield: yield}
		if err := r.read(ctx); err != nil {
			yield(agents.Event{}, fmt.Errorf("read the session: %w", err))
		}
	}
}

// reader is one pass over a session's messages.
type reader struct {
	j     *JetStream
	key   Key
	at    location
	after uint64
	seen  uint64 // sequence of the newest event that was read
	next  uint64 // stream sequence to go on from
	left  bool   // the listener broke off
	yield func(agents.Event, error) bool
}

func (r *reader) read(ctx context.Context) error {
	last, err := r.end(ctx)
	switch {
	case err != nil:
		return err
	case last.end == tail{}:
		return nil
	case last.end.event <= r.after:
		return nil
	case last.first <= r.after+1: // nothing else is asked for
		r.seen = last.first - 1
		return r.show(last.step)
	}
	last.step = nil
	sub, err := r.j.reads.conn.SubscribeSync(nats.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for r.seen < last.end.event && !r.left {
		if err := r.batch(ctx, sub); err != nil {
			return err
		}
	}
	return nil
}

// batch asks for messages and shows them. They are all here before the first is
// shown: a slow listener holds up nobody else.
func (r *reader) batch(ctx context.Context, sub *nats.Subscription) error {
	steps, last, err := r.j.reads.batch(ctx, sub, r.at, max(r.next, 1))
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return r.short(ctx)
	}
	r.next = last + 1
	for i := range steps {
		if err := r.show(steps[i]); err != nil || r.left {
			return err
		}
		steps[i] = nil
	}
	return nil
}

func (r *reader) show(step []byte) error {
	for e, err := range decodeStep(step) {
		if err != nil {
			return err
		}
		if e.Sequence != r.seen+1 {
			return fmt.Errorf("%w: event %d follows event %d", errHole, e.Sequence, r.seen)
		}
		r.seen = e.Sequence
		if e.Sequence > r.after && !r.yield(e, nil) {
			r.left = true
			return nil
		}
	}
	return nil
}

var (
	// errHole says that the log has lost something. What is left of the session
	// must not be taken for all of it.
	errHole = errors.New("stored events are missing")
	errSlow = errors.New("the log did not answer in time")
)

// end finds the session's last message and checks that it is the last one. That
// there is none is confirmed: the server says "not found" also when it cannot
// read its files, but it counts without them.
func (r *reader) end(ctx context.Context) (newest, error) {
	for range 2 { // the first message may come just between looking and counting
		known := r.j.tail(r.key)
		last, err := r.j.reads.newest(ctx, r.at)
		if err != nil || last.end.message > 0 && last.end.message >= known.message {
			return last, err
		}
		n, err := r.count(ctx)
		if err != nil || n == 0 && r.j.tail(r.key) == (tail{}) {
			return newest{}, err
		}
	}
	return newest{}, r.short(ctx)
}

// short says why messages that must be there are not.
func (r *reader) short(ctx context.Context) error {
	n, err := r.count(ctx)
	switch {
	case err != nil:
		return err
	case n == 0 && r.j.tail(r.key) == tail{}:
		return ErrPurged
	}
	return fmt.Errorf("%w: nothing can be read behind event %d", errHole, r.seen)
}

func (r *reader) count(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.j.reads.limit, errSlow)
	defer cancel()
	info, err := r.j.streams[r.at.bucket].Info(ctx, jetstream.WithSubjectFilter(r.at.subject))
	if err != nil {
		return 0, because(ctx, err)
	}
	return info.State.Subjects[r.at.subject], nil
}

// lane is a connection for direct gets and how many of them may be under way on
// it: what they bring must stay below maxPending.
type lane struct {
	conn  *nats.Conn
	slots chan struct{}
	limit time.Duration // of one request
}

func newLane(conn *nats.Conn, slots int) *lane {
	return &lane{conn, make(chan struct{}, slots), batchLimit}
}

// enter waits for a slot; who waits longest is next. What is asked in it is not
// cut off with ctx, only by its own deadline: the answer would come all the same
// and pile up in front of others.
func (l *lane) enter(ctx context.Context) (context.Context, func(), error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), l.limit, errSlow)
	return ctx, func() { cancel(); <-l.slots }, nil
}

// directGet is the request of JetStream's direct get, of the last message or of
// a batch.
type directGet struct {
	Last     string `json:"last_by_subj,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
	Subject  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
	Bare     bool   `json:"no_hdr,omitempty"` // headers cost the server more than the message
}

const (
	batchMessages = 256
	batchBytes    = 1 << 20
	batchLimit    = 5 * time.Second
)

// newest is a session's last message.
type newest struct {
	end   tail   // zero: there is none
	first uint64 // sequence of its first event
	step  []byte
}

func (l *lane) newest(ctx context.Context, at location) (n newest, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return n, err
	}
	defer leave()
	ask, err := json.Marshal(directGet{Last: at.subject})
	if err != nil {
		return n, err
	}
	msg, err := l.conn.RequestWithContext(ctx, directSubject+at.stream, ask)
	if err != nil {
		return n, because(ctx, err)
	}
	if status := msg.Header.Get("Status"); status == "404" {
		return n, nil
	} else if status != "" {
		return n, refused(msg)
	}
	if n.end.message, err = strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return n, err
	}
	n.step = msg.Data
	for e, err := range decodeStep(msg.Data) {
		if err != nil {
			return n, err
		}
		if n.first == 0 {
			n.first = e.Sequence
		}
		n.end.event = e.Sequence
	}
	return n, nil
}

// batch gives messages of the session from a stream sequence on, and the stream
// sequence of the last one; none when nothing is there.
func (l *lane) batch(ctx context.Context, sub *nats.Subscription, at location, from uint64) (steps [][]byte, last uint64, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	ask, err := json.Marshal(directGet{Sequence: from, Subject: at.subject, Batch: batchMessages, MaxBytes: batchBytes, Bare: true})
	if err != nil {
		return nil, 0, err
	}
	if err := l.conn.PublishRequest(directSubject+at.stream, sub.Subject, ask); err != nil {
		return nil, 0, err
	}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, because(ctx, err)
		}
		switch msg.Header.Get("Status") {
		case "":
			steps = append(steps, msg.Data)
		case "404":
			return nil, 0, nil
		case "204": // end of the batch
			last, err = strconv.ParseUint(msg.Header.Get("Nats-Last-Sequence"), 10, 64)
			return steps, last, err
		default:
			return nil, 0, refused(msg)
		}
	}
}

const directSubject = "$JS.API.DIRECT.GET."

func refused(msg *nats.Msg) error {
	return fmt.Errorf("direct get answered %s %s", msg.Header.Get("Status"), msg.Header.Get("Description"))
}

// because prefers why a context ended to that it did.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
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
