package runs

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/behalf-dev/behalf/agents"
)

// Memory is the log that ends with the process: for tests, and for servers whose
// conversations need not survive a restart.
type Memory struct {
	hub *hub

	mu       sync.RWMutex
	sessions map[Key][]agents.Event
}

// NewMemory makes an empty log.
func NewMemory() *Memory {
	return &Memory{hub: newHub(), sessions: map[Key][]agents.Event{}}
}

// Append implements Log.
func (m *Memory) Append(_ context.Context, k Key, after uint64, events []agents.Event) error {
	if err := gapless(after, events); err != nil {
		return err
	}
	if err := m.store(k, after, events); err != nil {
		return err
	}
	m.hub.stored(k, events)
	return nil
}

func (m *Memory) store(k Key, after uint64, events []agents.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if uint64(len(m.sessions[k])) != after {
		return ErrConflict
	}
	m.sessions[k] = append(m.sessions[k], events...)
	return nil
}

// Read implements Log.
func (m *Memory) Read(_ context.Context, k Key) iter.Seq2[agents.Event, error] {
	return m.after(k, 0)
}

// Watch implements Log.
func (m *Memory) Watch(ctx context.Context, k Key, after uint64) iter.Seq2[agents.Event, error] {
	return m.hub.watch(ctx, k, after, func(after uint64) iter.Seq2[agents.Event, error] { return m.after(k, after) })
}

// Publish implements Log.
func (m *Memory) Publish(k Key, e *agents.Event) { m.hub.publish(k, e) }

// Purge implements Log.
func (m *Memory) Purge(_ context.Context, k Key) error {
	m.mu.Lock()
	delete(m.sessions, k)
	m.mu.Unlock()
	m.hub.purge(k)
	return nil
}

func (m *Memory) after(k Key, after uint64) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		m.mu.RLock()
		all := m.sessions[k]
		m.mu.RUnlock()
		rest := all[min(after, uint64(len(all))):]
		for _, e := range slices.Clip(rest) {
			if !yield(e, nil) {
				return
			}
		}
	}
}

var _ Log = (*Memory)(nil)
