package agents

import (
	"context"
	"iter"
	"sync"
)

// Stream starts something whose events can be ranged over: a call's effect, an
// agent's turn.
type Stream func(context.Context) iter.Seq2[Event, error]

// Merge runs the streams at the same time, at most limit of them, and yields
// their events one by one on the caller's goroutine. A stream goes on only when
// its event was consumed, so what is committed is committed before its effect.
//
// A pause is held back until all other streams have ended or pause too; a stream
// that waits so does not count against limit. The first error cancels the other
// streams; their last events are still yielded, then the error. If the caller
// breaks, all streams are cancelled and waited for.
func Merge(ctx context.Context, limit int, streams []Stream) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		m := &merger{offers: make(chan offer), stop: make(chan struct{}), cancel: cancel, waiting: streams, limit: limit}
		defer m.wg.Wait()
		defer close(m.stop)
		defer cancel()
		if m.run(ctx, yield) && m.failed != nil {
			yield(Event{}, m.failed)
		}
	}
}

// merger is one merge in progress. Its goroutines send offers and wait for the
// reply; everything else belongs to the consumer's goroutine. The goroutines end
// with their stream or with stop; Merge waits for them.
type merger struct {
	offers  chan offer
	stop    chan struct{}
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	waiting []Stream
	running int
	limit   int
	pauses  []offer
	failed  error
}

// offer is an event, the error or the end of one stream.
type offer struct {
	event Event
	err   error
	ended bool
	reply chan<- bool // whether the event was consumed
}

// run consumes offers until no stream is left, false if the consumer broke.
func (m *merger) run(ctx context.Context, yield func(Event, error) bool) bool {
	for {
		m.start(ctx)
		if m.running == 0 {
			o, ok := m.nextPause()
			if !ok {
				return true
			}
			if !m.commit(o, yield) {
				return false
			}
			continue
		}
		o := <-m.offers
		switch {
		case o.ended:
			m.running--
		case o.err != nil:
			m.fail(o)
		case o.event.Pause():
			m.running--
			m.pauses = append(m.pauses, o)
		case !m.commit(o, yield):
			return false
		}
	}
}

// start fills the free places, unless an error already ended the whole.
func (m *merger) start(ctx context.Context) {
	for m.failed == nil && m.running < m.limit && len(m.waiting) > 0 {
		next := m.waiting[0]
		m.waiting = m.waiting[1:]
		m.running++
		m.wg.Go(func() { m.produce(next(ctx)) })
	}
}

// produce offers one stream's events, each after the one before was consumed.
func (m *merger) produce(events iter.Seq2[Event, error]) {
	reply := make(chan bool)
	for ev, err := range events {
		if !m.send(offer{event: ev, err: err, reply: reply}) || err != nil {
			break
		}
		if !m.receive(reply) {
			break
		}
	}
	m.send(offer{ended: true})
}

func (m *merger) send(o offer) bool {
	select {
	case m.offers <- o:
		return true
	case <-m.stop:
		return false
	}
}

func (m *merger) receive(reply <-chan bool) bool {
	select {
	case ok := <-reply:
		return ok
	case <-m.stop:
		return false
	}
}

// commit lets the consumer commit the event and its stream go on.
func (m *merger) commit(o offer, yield func(Event, error) bool) bool {
	if !yield(o.event, nil) {
		return false
	}
	o.reply <- true
	return true
}

// fail remembers the first error and stops the other streams.
func (m *merger) fail(o offer) {
	if m.failed == nil {
		m.failed = o.err
	}
	m.cancel()
}

// nextPause takes the oldest pause and gives its stream its place back. After an
// error nothing waits any more.
func (m *merger) nextPause() (offer, bool) {
	if m.failed != nil || len(m.pauses) == 0 {
		return offer{}, false
	}
	o := m.pauses[0]
	m.pauses = m.pauses[1:]
	m.running++
	return o, true
}
