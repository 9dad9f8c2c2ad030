package runstest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
)

// TestLog is what every log must do. open gives an empty log of its own to each
// call and cleans up by itself.
func TestLog(t *testing.T, open func(t *testing.T) runs.Log) {
	for _, c := range []struct {
		name string
		test func(*testing.T, runs.Log)
	}{
		{"what is appended is read back in order", appendAndRead},
		{"an unknown session is empty", unknownIsEmpty},
		{"an append behind the end is a conflict", conflict},
		{"of many who append at once one wins each step", race},
		{"a step with a gap or a live event is refused", gaps},
		{"sessions and tenants are apart", apart},
		{"a purged session is gone and its writer is fenced", purge},
		{"a long session is read whole", long},
		{"a session of big steps is read whole", big},
		{"a watcher gets the stored, then the live events", watch},
		{"a watcher that joins late gets the text so far", late},
		{"a slow watcher loses deltas, never stored events", slow},
		{"many watchers of a busy session have no gap and no repeat", manyWatchers},
		{"purging ends watching", purgeEndsWatch},
		{"breaking off a read or a watch leaves the log usable", breakOff},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var key = runs.Key{Tenant: "acme", Session: "ses_a"}

func appendAndRead(t *testing.T, l runs.Log) {
	want := append(stored(1, 3), stored(4, 2)...)
	must(t, l.Append(t.Context(), key, 0, want[:3]))
	must(t, l.Append(t.Context(), key, 3, want[3:]))

	got := read(t, l, key)

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read differs from what was appended (-want +got):\n%s", diff)
	}
}

func unknownIsEmpty(t *testing.T, l runs.Log) {
	if got := read(t, l, key); len(got) != 0 {
		t.Errorf("got %d events, want none", len(got))
	}
}

func conflict(t *testing.T, l runs.Log) {
	must(t, l.Append(t.Context(), key, 0, stored(1, 2)))

	for _, after := range []uint64{0, 1, 3} {
		if err := l.Append(t.Context(), key, after, stored(after+1, 1)); !errors.Is(err, runs.ErrConflict) {
			t.Errorf("append after %d of 2: got error %v, want ErrConflict", after, err)
		}
	}

	must(t, l.Append(t.Context(), key, 2, stored(3, 1)))
	if got := read(t, l, key); len(got) != 3 {
		t.Errorf("got %d events, want 3", len(got))
	}
}

func race(t *testing.T, l runs.Log) {
	const writers, steps = 4, 20
	var won sync.Map
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for after := range uint64(steps) {
				err := l.Append(t.Context(), key, after, stored(after+1, 1))
				switch {
				case err == nil:
					if other, taken := won.LoadOrStore(after, w); taken {
						t.Errorf("step %d was won by %v and by %d", after, other, w)
					}
				case !errors.Is(err, runs.ErrConflict):
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := read(t, l, key); len(got) > steps {
		t.Errorf("got %d events, want at most %d", len(got), steps)
	}
}

func gaps(t *testing.T, l runs.Log) {
	for name, events := range map[string][]agents.Event{
		"none": nil, "wrong first": stored(2, 1), "hole": {stored(1, 1)[0], stored(3, 1)[0]}, "live": {delta("m", "x")},
	} {
		if err := l.Append(t.Context(), key, 0, events); err == nil || errors.Is(err, runs.ErrConflict) {
			t.Errorf("%s: got error %v, want a refusal", name, err)
		}
	}
	if got := read(t, l, key); len(got) != 0 {
		t.Errorf("a refused step was stored: %v", got)
	}
}

func apart(t *testing.T, l runs.Log) {
	keys := []runs.Key{key, {Tenant: "acme", Session: "ses_b"}, {Tenant: "beta", Session: "ses_a"}}
	for i, k := range keys {
		must(t, l.Append(t.Context(), k, 0, stored(1, i+1)))
	}
	for i, k := range keys {
		if got := read(t, l, k); len(got) != i+1 {
			t.Errorf("%v has %d events, want %d", k, len(got), i+1)
		}
	}
}

func purge(t *testing.T, l runs.Log) {
	other := runs.Key{Tenant: "acme", Session: "ses_b"}
	must(t, l.Append(t.Context(), key, 0, stored(1, 3)))
	must(t, l.Append(t.Context(), other, 0, stored(1, 1)))

	must(t, l.Purge(t.Context(), key))

	if got := read(t, l, key); len(got) != 0 {
		t.Errorf("got %d events after purge, want none", len(got))
	}
	if got := read(t, l, other); len(got) != 1 {
		t.Errorf("the neighbour has %d events, want 1", len(got))
	}
	if err := l.Append(t.Context(), key, 3, stored(4, 1)); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("the old writer got %v, want ErrConflict", err)
	}
}

func long(t *testing.T, l runs.Log) {
	const steps = 700
	for i := range uint64(steps) {
		must(t, l.Append(t.Context(), key, 2*i, stored(2*i+1, 2)))
	}
	got := read(t, l, key)
	if len(got) != 2*steps {
		t.Fatalf("got %d events, want %d", len(got), 2*steps)
	}
	inOrder(t, 0, got)
	next, stop := iter.Pull2(l.Watch(t.Context(), key, 1301))
	defer stop()
	if e, err, _ := next(); err != nil || e.Sequence != 1302 {
		t.Errorf("watch after 1301 begins with %d (%v), want 1302", e.Sequence, err)
	}
}

// big is more than a log can bring at once, cut where sizes and counts are near
// each other.
func big(t *testing.T, l runs.Log) {
	for _, c := range []struct{ steps, size int }{{200, 21_000}, {300, 4_000}, {9, 1 << 20}, {1, 3 << 20}} {
		k := runs.Key{Tenant: "acme", Session: fmt.Sprint("ses_", c.size)}
		for i := range uint64(c.steps) {
			must(t, l.Append(t.Context(), k, i, []agents.Event{message(i+1, "m", strings.Repeat("x", c.size))}))
		}
		got := read(t, l, k)
		if len(got) != c.steps {
			t.Errorf("of %d steps of %d bytes %d were read", c.steps, c.size, len(got))
		}
		inOrder(t, 0, got)
	}
}

func watch(t *testing.T, l runs.Log) {
	must(t, l.Append(t.Context(), key, 0, stored(1, 3)))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	next, stop := iter.Pull2(l.Watch(ctx, key, 1))
	defer stop()
	for want := uint64(2); want <= 3; want++ {
		expect(t, next, want, "")
	}

	d := delta("m4", "hel")
	l.Publish(key, &d)
	d = delta("m4", "lo")
	l.Publish(key, &d)
	must(t, l.Append(t.Context(), key, 3, []agents.Event{message(4, "m4", "hello")}))

	expect(t, next, 0, "hel")
	expect(t, next, 0, "lo")
	expect(t, next, 4, "")
	why := errors.New("enough")
	cancel(why)
	if _, err, ok := next(); !ok || !errors.Is(err, why) {
		t.Errorf("a cancelled watch ended with %v, want its cause", err)
	}
	if _, _, ok := next(); ok {
		t.Error("something followed the error")
	}
}

func late(t *testing.T, l runs.Log) {
	must(t, l.Append(t.Context(), key, 0, stored(1, 1)))
	for _, text := range []string{"one ", "two "} {
		d := delta("m2", text)
		l.Publish(key, &d)
	}
	next, stop := iter.Pull2(l.Watch(t.Context(), key, 1))
	defer stop()
	expect(t, next, 0, "one two ")
	d := delta("m2", "three")
	l.Publish(key, &d)
	expect(t, next, 0, "three")

	must(t, l.Append(t.Context(), key, 1, []agents.Event{message(2, "m2", "one two three")}))
	expect(t, next, 2, "")
	after, stopAfter := iter.Pull2(l.Watch(t.Context(), key, 1))
	defer stopAfter()
	expect(t, after, 2, "")
	d = delta("m3", "next")
	l.Publish(key, &d)
	expect(t, after, 0, "next")
}

func slow(t *testing.T, l runs.Log) {
	const events = 600 // more than any mailbox
	must(t, l.Append(t.Context(), key, 0, stored(1, 1)))
	next, stop := iter.Pull2(l.Watch(t.Context(), key, 0))
	defer stop()
	expect(t, next, 1, "")
	for i := range uint64(events) {
		id := fmt.Sprint("m", i+2)
		for _, text := range []string{"a", "b", "c"} {
			d := delta(id, text)
			l.Publish(key, &d)
		}
		must(t, l.Append(t.Context(), key, i+1, []agents.Event{message(i+2, id, "abc")}))
	}

	said, last := map[string]string{}, uint64(1)
	for last < events+1 {
		e, err, ok := next()
		if err != nil || !ok {
			t.Fatalf("the watch ended early: %v", err)
		}
		if e.Live() {
			said[e.MessageID] += e.Body.(agents.TextDelta).Text
			continue
		}
		if e.Sequence != last+1 {
			t.Fatalf("event %d follows %d", e.Sequence, last)
		}
		last = e.Sequence
		if s := said[e.MessageID]; s != "abc"[:len(s)] {
			t.Errorf("the deltas of %s add up to %q, want a prefix of abc", e.MessageID, s)
		}
	}
	if len(said) == events {
		t.Error("no delta was dropped: the mailbox is not bounded")
	}
	must(t, l.Append(t.Context(), key, last, stored(last+1, 1)))
	for e := (agents.Event{}); e.Sequence != last+1; e, _, _ = next() {
	}
	d := delta("last", "x")
	l.Publish(key, &d)
	expect(t, next, 0, "x")
}

func manyWatchers(t *testing.T, l runs.Log) {
	const watchers, steps, each = 6, 80, 3
	var wg sync.WaitGroup
	for range watchers {
		wg.Go(func() {
			var last uint64
			done := map[string]bool{}
			for e, err := range l.Watch(t.Context(), key, 0) {
				if err != nil {
					t.Errorf("watch: %v", err)
					return
				}
				if e.Live() {
					if done[e.MessageID] {
						t.Errorf("a delta of %s came after its message", e.MessageID)
					}
					continue
				}
				if e.Sequence != last+1 {
					t.Errorf("event %d follows %d", e.Sequence, last)
					return
				}
				last, done[e.MessageID] = e.Sequence, true
				if last == steps*each {
					return
				}
			}
		})
	}
	for i := range uint64(steps) {
		id := fmt.Sprint("said", i)
		d := delta(id, "x")
		l.Publish(key, &d)
		step := stored(i*each+1, each)
		step[each-1] = message(i*each+each, id, "x")
		must(t, l.Append(t.Context(), key, i*each, step))
	}
	wg.Wait()
}

func purgeEndsWatch(t *testing.T, l runs.Log) {
	must(t, l.Append(t.Context(), key, 0, stored(1, 1)))
	next, stop := iter.Pull2(l.Watch(t.Context(), key, 0))
	defer stop()
	expect(t, next, 1, "")

	must(t, l.Purge(t.Context(), key))

	if _, err, ok := next(); !ok || !errors.Is(err, runs.ErrPurged) {
		t.Errorf("got %v, want ErrPurged", err)
	}
}

func breakOff(t *testing.T, l runs.Log) {
	must(t, l.Append(t.Context(), key, 0, stored(1, 5)))
	for range l.Read(t.Context(), key) {
		break
	}
	for range l.Watch(t.Context(), key, 0) {
		break
	}
	must(t, l.Append(t.Context(), key, 5, stored(6, 1)))
	if got := read(t, l, key); len(got) != 6 {
		t.Errorf("got %d events, want 6", len(got))
	}
}

func expect(t *testing.T, next func() (agents.Event, error, bool), sequence uint64, text string) {
	t.Helper()
	e, err, ok := next()
	if err != nil || !ok {
		t.Fatalf("the watch ended with %v, want event %d %q", err, sequence, text)
	}
	if e.Sequence != sequence {
		t.Fatalf("got event %d (%v), want %d", e.Sequence, e.Body, sequence)
	}
	if d, live := e.Body.(agents.TextDelta); live && d.Text != text {
		t.Fatalf("got delta %q, want %q", d.Text, text)
	}
}

func read(t *testing.T, l runs.Log, k runs.Key) []agents.Event {
	t.Helper()
	var all []agents.Event
	for e, err := range l.Read(t.Context(), k) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		all = append(all, e)
	}
	return all
}

func inOrder(t *testing.T, after uint64, events []agents.Event) {
	t.Helper()
	for i := range events {
		if want := after + 1 + uint64(i); events[i].Sequence != want {
			t.Fatalf("event at %d has sequence %d, want %d", i, events[i].Sequence, want)
		}
	}
}

// stored makes n events from a sequence on.
func stored(from uint64, n int) []agents.Event {
	var all []agents.Event
	for i := range uint64(n) {
		e := message(from+i, fmt.Sprint("m", from+i), fmt.Sprint("text ", from+i))
		all = append(all, e)
	}
	return all
}

func message(sequence uint64, id, text string) agents.Event {
	return agents.Event{
		Sequence: sequence, Time: time.Unix(1_700_000_000, int64(sequence)).UTC(), RunID: "run_a", SessionID: "ses_a",
		Source: "support", Chain: []string{"support"}, MessageID: id, Body: agents.Message{Role: agents.RoleAssistant, Text: text},
	}
}

func delta(id, text string) agents.Event {
	return agents.Event{RunID: "run_a", SessionID: "ses_a", Source: "support", MessageID: id, Body: agents.TextDelta{Text: text}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
