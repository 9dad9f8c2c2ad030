package runs

import (
	"context"
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"github.com/behalf-dev/behalf/agents"
)

// hub hands what this process appends and publishes to those in it who watch,
// without a round trip. Nothing in it waits for a watcher.
type hub struct {
	seed   maphash.Seed
	shards [16]shard
}

type shard struct {
	mu     sync.Mutex
	topics map[Key]*topic
}

// topic is a session that is watched, or in which something is being said.
type topic struct {
	watchers []*watcher
	saying   []partial
}

// watcher is one reader's bounded mailbox, guarded by its shard.
type watcher struct {
	queue  []agents.Event
	behind bool                // stored events were dropped: read them from the log
	purged bool                // nothing follows
	cut    map[string]struct{} // messages whose deltas were dropped: a prefix is true, a text with a hole is not
	wake   chan struct{}       // holds one token when there is something to look at
}

// mailbox is how many events wait for a watcher before deltas are dropped.
const mailbox = 256

func newHub() *hub {
	h := &hub{seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].topics = map[Key]*topic{}
	}
	return h
}

func (h *hub) shard(k Key) *shard {
	return &h.shards[maphash.Comparable(h.seed, k)%uint64(len(h.shards))]
}

// publish shows a live event and remembers its text for those who join later.
func (h *hub) publish(k Key, e *agents.Event) {
	s := h.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(k)
	t.saying = say(t.saying, e)
	for _, w := range t.watchers {
		w.delta(e)
	}
}

// stored shows events that were just stored.
func (h *hub) stored(k Key, events []agents.Event) {
	s := h.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[k]
	if t == nil {
		return
	}
	for i := range events {
		t.saying = said(t.saying, &events[i])
		for _, w := range t.watchers {
			w.event(&events[i])
		}
	}
	s.sweep(k, t)
}

// purge ends all watching of a session.
func (h *hub) purge(k Key) {
	s := h.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[k]; t != nil {
		for _, w := range t.watchers {
			w.purged = true
			w.poke()
		}
	}
	delete(s.topics, k)
}

// watch joins what read finds in the log with what the hub hears.
func (h *hub) watch(ctx context.Context, k Key, after uint64, read func(after uint64) iter.Seq2[agents.Event, error]) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		w := h.join(k) // before reading, so that nothing falls between
		defer h.leave(k, w)
		c := cursor{last: after, read: map[string]struct{}{}, yield: yield}
		if !c.catchUp(read) {
			return
		}
		for {
			e, what := h.next(ctx, k, w)
			switch {
			case what == gone:
				yield(agents.Event{}, context.Cause(ctx))
				return
			case what == deleted:
				yield(agents.Event{}, ErrPurged)
				return
			case what == missed || c.gap(&e):
				if !c.catchUp(read) {
					return
				}
				h.mend(k, w, c.read)
			case !c.show(&e):
				return
			}
		}
	}
}

// cursor is how far one watcher has got.
type cursor struct {
	last  uint64
	read  map[string]struct{} // messages and results read from the log: what is queued of them is stale
	yield func(agents.Event, error) bool
}

func (c *cursor) catchUp(read func(uint64) iter.Seq2[agents.Event, error]) bool {
	for e, err := range read(c.last) {
		if err != nil {
			c.yield(agents.Event{}, err)
			return false
		}
		c.last = e.Sequence
		if e.MessageID != "" {
			c.read[e.MessageID] = struct{}{}
		}
		if _, over := e.Body.(agents.ToolCallFinished); over {
			c.read[e.CallID] = struct{}{}
		}
		if !c.yield(e, nil) {
			return false
		}
	}
	return true
}

func (c *cursor) gap(e *agents.Event) bool { return e.Sequence > c.last+1 }

func (c *cursor) show(e *agents.Event) bool {
	if e.Live() {
		id := e.MessageID
		if progress(e) {
			id = e.CallID
		}
		if _, stale := c.read[id]; stale {
			return true
		}
		return c.yield(*e, nil)
	}
	if e.Sequence <= c.last {
		return true
	}
	c.last = e.Sequence
	clear(c.read) // from here on the mailbox alone tells the order
	return c.yield(*e, nil)
}

func (h *hub) join(k Key) *watcher {
	w := &watcher{cut: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	s := h.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(k)
	t.watchers = append(t.watchers, w)
	for i := range t.saying {
		t.saying[i].deltas(func(e *agents.Event) { w.delta(e) })
	}
	return w
}

func (h *hub) leave(k Key, w *watcher) {
	s := h.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[k]
	if t == nil {
		return
	}
	t.watchers = slices.DeleteFunc(t.watchers, func(o *watcher) bool { return o == w })
	s.sweep(k, t)
}

// mend lets the deltas of messages through again whose text is now known whole.
func (h *hub) mend(k Key, w *watcher, read map[string]struct{}) {
	s := h.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range read {
		delete(w.cut, id)
	}
}

type news int

const (
	event   news = iota
	missed       // stored events were dropped
	deleted      // the session was purged
	gone         // ctx ended
)

// next waits for something to show.
func (h *hub) next(ctx context.Context, k Key, w *watcher) (agents.Event, news) {
	s := h.shard(k)
	for {
		if ctx.Err() != nil {
			return agents.Event{}, gone
		}
		s.mu.Lock()
		e, what, ok := w.take()
		s.mu.Unlock()
		if ok {
			return e, what
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

func (w *watcher) take() (agents.Event, news, bool) {
	switch {
	case len(w.queue) > 0:
		e := w.queue[0]
		w.queue[0] = agents.Event{}
		w.queue = w.queue[1:]
		return e, event, true
	case w.behind:
		w.behind = false
		return agents.Event{}, missed, true
	case w.purged:
		return agents.Event{}, deleted, true
	}
	return agents.Event{}, event, false
}

// delta queues a live event if there is room and its message has no hole yet.
func (w *watcher) delta(e *agents.Event) {
	if progress(e) {
		w.progress(e)
		return
	}
	if _, cut := w.cut[e.MessageID]; cut {
		return
	}
	if w.behind || len(w.queue) >= mailbox {
		w.cut[e.MessageID] = struct{}{}
		return
	}
	w.queue = append(w.queue, *e)
	w.poke()
}

// progress queues what nobody misses as long as there is room for the rest.
func (w *watcher) progress(e *agents.Event) {
	if !w.behind && len(w.queue) < mailbox/2 {
		w.queue = append(w.queue, *e)
		w.poke()
	}
}

// event queues a stored event, or leaves it to the log.
func (w *watcher) event(e *agents.Event) {
	if w.behind || len(w.queue) >= mailbox {
		w.behind = true
	} else {
		w.queue = append(w.queue, *e)
		if _, ok := e.Body.(agents.Message); ok {
			delete(w.cut, e.MessageID)
		}
	}
	w.poke()
}

func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (s *shard) topic(k Key) *topic {
	t := s.topics[k]
	if t == nil {
		t = &topic{}
		s.topics[k] = t
	}
	return t
}

func (s *shard) sweep(k Key, t *topic) {
	if len(t.watchers) == 0 && len(t.saying) == 0 {
		delete(s.topics, k)
	}
}
