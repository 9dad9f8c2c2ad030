package store

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// soon is how long an entry waits at most for somebody who waits for it, or for
// another to share its commit.
const soon = 5 * time.Millisecond

// queue is what waits for the writer. A job alone does not wake it: a commit
// begins when somebody waits for one, or a moment later.
type queue struct {
	limit int
	wake  chan struct{} // holds one token when a commit is due
	timer *time.Timer

	mu     sync.Mutex
	jobs   []*job
	work   []*job // the batch that the writer has
	spare  []*job // the memory of the batch before
	armed  bool   // the timer runs
	closed bool
	states map[nameKey]*runState // that are in jobs or being committed
	owed   []*job                // states whose commit failed
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit, wake: make(chan struct{}, 1), states: map[nameKey]*runState{}}
	q.timer = time.AfterFunc(time.Hour, q.due)
	q.timer.Stop()
	return q
}

func (q *queue) put(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case len(q.jobs) >= q.limit:
		return ErrBusy
	}
	q.jobs = append(q.jobs, j)
	if j.state != nil {
		q.states[j.state.run] = j.state
	}
	if !q.armed {
		q.armed = true
		q.timer.Reset(soon)
	}
	return nil
}

func (q *queue) due() {
	q.mu.Lock()
	q.armed = false
	q.mu.Unlock()
	q.urge()
}

// urge has the writer commit what is queued.
func (q *queue) urge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs)
}

// take gives the oldest jobs, at most n. The slice is valid until the next call.
func (q *queue) take(n int) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.jobs
	clear(q.spare)
	q.jobs, q.spare = q.spare[:0], batch
	if len(batch) > n {
		q.jobs = append(q.jobs, batch[n:]...)
		q.urge()
	}
	q.work = batch[:min(n, len(batch))]
	return q.work
}

// withdraw takes a job away from the writer, and with it those before it that may
// be journaled, in their order. It cannot if the writer has begun it, which then
// counts for nobody, or if the writer has begun the end of another call of its run.
func (q *queue) withdraw(last *job) (these []*job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := q.before(last)
	if last.run != "" && slices.ContainsFunc(before, func(j *job) bool { return j.run == last.run && j.isOpen() }) {
		return nil, false
	}
	if !last.begun.CompareAndSwap(idle, withdrawn) {
		last.begun.CompareAndSwap(begun, forsaken)
		return nil, false
	}
	for _, j := range before {
		if j.entry.Journal && j.begun.CompareAndSwap(idle, withdrawn) {
			these = append(these, j)
		}
	}
	q.jobs = slices.DeleteFunc(q.jobs, func(j *job) bool { return j.begun.Load() == withdrawn })
	return append(these, last), true
}

// before gives what is queued, or in the writer's hands, before a job.
func (q *queue) before(last *job) []*job {
	all := slices.Concat(q.work, q.jobs)
	return all[:max(0, slices.Index(all, last))]
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.timer.Stop()
}

// pending is the state of a run that is queued and not yet committed.
func (q *queue) pending(run nameKey) *runState {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.states[run]
}

// forget ends that what is queued stands for what is stored. A later state of
// the same run stays.
func (q *queue) forget(s *runState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.states[s.run] == s {
		delete(q.states, s.run)
	}
}

// owe keeps the state of a run whose commit failed, until one succeeds: nobody waits
// for it, so nobody would say it again. Of more than limit runs the others are found
// by the next start.
func (q *queue) owe(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.states[j.state.run] == j.state && len(q.owed) < q.limit {
		q.owed = append(q.owed, j)
	}
}

// pay queues what is owed, unless a later state has come.
func (q *queue) pay() {
	q.mu.Lock()
	owed := q.owed
	q.owed = nil
	q.mu.Unlock()
	for _, j := range owed {
		if q.pending(j.state.run) == j.state {
			_ = q.put(&job{state: j.state}) // if it is closed, the next start finds out
		}
	}
}

func (q *queue) allPending() map[nameKey]*runState {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.states)
}
