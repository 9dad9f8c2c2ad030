package runs

import (
	"context"
	"errors"
	"time"
)

// Job names a detached run that wants a worker.
type Job struct{ Tenant, Session, Run string }

// Queue holds detached runs until a worker takes them, each at least once. All
// methods may be called by many goroutines.
type Queue interface {
	// Put adds a job; ErrFull when there is no room.
	Put(ctx context.Context, j Job) error
	// Take waits for a job.
	Take(ctx context.Context) (Delivery, error)
}

// Delivery is a job in a worker's hands. Exactly one of Done and Back is called,
// by the worker; a delivery that gets neither comes back by itself when it was
// not touched for a while.
type Delivery struct {
	Job   Job
	Done  func() // it is settled
	Back  func() // somebody else shall take it, now
	Touch func() // it is being worked on; at least every TouchEvery
}

// TouchEvery is how often a worker touches its delivery.
const TouchEvery = 10 * time.Second

// ErrFull says that no more runs can wait.
var ErrFull = errors.New("the queue is full")

// MemoryQueue is the queue of the memory log.
type MemoryQueue struct{ jobs chan Job }

// NewMemoryQueue makes a queue for at most limit waiting jobs; 0 means 10,000.
func NewMemoryQueue(limit int) *MemoryQueue {
	if limit <= 0 {
		limit = defaultQueue
	}
	return &MemoryQueue{make(chan Job, limit)}
}

const defaultQueue = 10_000

// Put implements Queue.
func (q *MemoryQueue) Put(_ context.Context, j Job) error { return q.put(j) }

func (q *MemoryQueue) put(j Job) error {
	select {
	case q.jobs <- j:
		return nil
	default:
		return ErrFull
	}
}

// Take implements Queue.
func (q *MemoryQueue) Take(ctx context.Context) (Delivery, error) {
	select {
	case j := <-q.jobs:
		nothing := func() {}
		back := func() { _ = q.put(j) } // full: the restart finds it in the index
		return Delivery{Job: j, Done: nothing, Back: back, Touch: nothing}, nil
	case <-ctx.Done():
		return Delivery{}, context.Cause(ctx)
	}
}

var _ Queue = (*MemoryQueue)(nil)
