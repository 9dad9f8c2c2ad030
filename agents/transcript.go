package agents

import (
	"strconv"
	"sync"
)

// Transcript is a session's stored events, in order. It is the whole state of
// every agent that runs on it. A Transcript reads one thread of the log that it
// shares with the transcripts made by Sub.
//
// Append is called by the one consumer of a run; reading may happen in many
// goroutines at the same time.
type Transcript struct {
	log    *log
	thread string
}

type log struct {
	mu      sync.RWMutex
	threads map[string][]Event
	folds   map[foldKey]*folded
	runID   string
	session string
	last    uint64
}

// NewTranscript makes a transcript of stored events.
func NewTranscript(events ...Event) *Transcript {
	t := &Transcript{log: &log{threads: map[string][]Event{}, folds: map[foldKey]*folded{}}}
	sizes := map[string]int{}
	for i := range events {
		sizes[events[i].Thread]++
	}
	for thread, n := range sizes {
		t.log.threads[thread] = make([]Event, 0, n+n/8+16) // room to go on
	}
	for i := range events {
		t.Append(events[i])
	}
	return t
}

// Sub reads another thread of the same log.
func (t *Transcript) Sub(thread string) *Transcript { return &Transcript{t.log, thread} }

// Thread is the thread that t reads.
func (t *Transcript) Thread() string { return t.thread }

// Append adds a committed event to its own thread.
func (t *Transcript) Append(e Event) {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	thread := t.log.threads[e.Thread]
	if thread == nil {
		thread = make([]Event, 0, 16) // a run with one tool call has about ten
	}
	t.log.threads[e.Thread] = append(thread, e)
	t.log.last = e.Sequence
	if _, ok := e.Body.(RunStarted); ok && e.Thread == "" {
		t.log.runID, t.log.session = e.RunID, e.SessionID
	}
}

// Since gives the thread's events from index n on, and is cheap: the slice is
// shared and must not be changed. Folds keep n and ask for what is new.
func (t *Transcript) Since(n int) []Event {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	all := t.log.threads[t.thread]
	return all[n:len(all):len(all)]
}

// Each shows every event of the log, thread by thread. See must not append.
func (t *Transcript) Each(see func(*Event)) {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	for _, events := range t.log.threads {
		for i := range events {
			see(&events[i])
		}
	}
}

// Len is the number of the thread's events.
func (t *Transcript) Len() int {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	return len(t.log.threads[t.thread])
}

// Last is the sequence of the newest stored event of the whole log.
func (t *Transcript) Last() uint64 {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	return t.log.last
}

// RunID is the id of the newest run.
func (t *Transcript) RunID() string {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	return t.log.runID
}

// SessionID is the session that the newest run is in.
func (t *Transcript) SessionID() string {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	return t.log.session
}

// Stamp completes an event for storage: its sequence, its run and, for a
// ToolCallRequested, the call id. The consumer calls it before Append.
func (t *Transcript) Stamp(e *Event) {
	t.log.mu.RLock()
	defer t.log.mu.RUnlock()
	e.Sequence = t.log.last + 1
	if e.RunID == "" {
		e.RunID = t.log.runID
	}
	if _, ok := e.Body.(ToolCallRequested); ok {
		e.CallID = e.RunID + "/" + strconv.FormatUint(e.Sequence, 10)
	}
}
