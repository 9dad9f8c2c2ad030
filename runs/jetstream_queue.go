package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// workQueue is a JetStream work queue: the server gives a job to one worker at a
// time and gives it again when that one falls silent.
type workQueue struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
}

const (
	workStream  = "BEHALF_WORK"
	workSubject = "behalf.work"
	silence     = 3 * TouchEvery // then the worker is dead
	takeWait    = 30 * time.Second
)

func openWorkQueue(ctx context.Context, js jetstream.JetStream, limit int) (*workQueue, error) {
	if limit <= 0 {
		limit = defaultQueue
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: workStream, Subjects: []string{workSubject}, Storage: jetstream.FileStorage,
		Retention: jetstream.WorkQueuePolicy, MaxMsgs: int64(limit), Discard: jetstream.DiscardNew,
	})
	if err != nil {
		return nil, fmt.Errorf("make stream %s: %w", workStream, err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: silence, MaxDeliver: -1, MaxAckPending: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("make the consumer of %s: %w", workStream, err)
	}
	return &workQueue{js, consumer}, nil
}

// Put implements Queue.
func (q *workQueue) Put(ctx context.Context, j Job) error {
	body, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode job: %w", err)
	}
	_, err = q.js.Publish(ctx, workSubject, body)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == errStoreFailed {
		return ErrFull
	}
	if err != nil {
		return fmt.Errorf("queue the run: %w", err)
	}
	return nil
}

// errStoreFailed is JetStream's answer when a stream with Discard new is full.
const errStoreFailed jetstream.ErrorCode = 10077

// Take implements Queue.
func (q *workQueue) Take(ctx context.Context) (Delivery, error) {
	for {
		if ctx.Err() != nil {
			return Delivery{}, context.Cause(ctx)
		}
		msg, err := q.next(ctx)
		if err != nil || msg == nil {
			if err != nil && ctx.Err() == nil {
				return Delivery{}, fmt.Errorf("take a run: %w", err)
			}
			continue
		}
		var j Job
		if err := json.Unmarshal(msg.Data(), &j); err != nil {
			_ = msg.Term() // nobody will ever be able to read it
			return Delivery{}, fmt.Errorf("decode job: %w", err)
		}
		return Delivery{
			Job:   j,
			Done:  func() { _ = msg.Ack() },
			Back:  func() { _ = msg.Nak() },
			Touch: func() { _ = msg.InProgress() },
		}, nil
	}
}

func (q *workQueue) next(ctx context.Context) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, takeWait)
	defer cancel()
	msg, err := q.consumer.Next(jetstream.FetchContext(ctx))
	// The client may end the fetch a moment before our own deadline does.
	if ctx.Err() != nil || errors.Is(err, jetstream.ErrNoMessages) || errors.Is(err, nats.ErrTimeout) {
		return msg, nil // nil: nothing came in this time
	}
	return msg, err
}

var _ Queue = (*workQueue)(nil)
