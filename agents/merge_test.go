package agents

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// plan says what a stream does, step by step: "pause", "error", "wait" (for the
// context), "1ms" (or another duration), or the text of an event.
func plan(live *atomic.Int32, steps ...string) Stream {
	return func(ctx context.Context) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			live.Add(1)
			defer live.Add(-1)
			for _, step := range steps {
				d, err := time.ParseDuration(step)
				ok := true
				switch {
				case err == nil:
					<-time.After(d)
				case step == "wait":
					<-ctx.Done()
				case step == "pause":
					ok = yield(Event{Body: ApprovalRequested{ApprovalID: steps[0]}}, nil)
				case step == "error":
					ok = yield(Event{}, errors.New("broken"))
				default:
					ok = yield(Event{Body: TextDelta{step}}, nil)
				}
				if !ok {
					return
				}
			}
		}
	}
}

// collect ranges over a merge, up to n events.
func collect(n, limit int, streams ...Stream) []string {
	var got []string
	for ev, err := range Merge(context.Background(), limit, streams) {
		switch b := ev.Body.(type) {
		case TextDelta:
			got = append(got, b.Text)
		case ApprovalRequested:
			got = append(got, "pause of "+b.ApprovalID)
		}
		if err != nil {
			got = append(got, err.Error())
		}
		if len(got) == n {
			break
		}
	}
	return got
}

func TestMerge(t *testing.T) {
	var live atomic.Int32
	for _, c := range []struct {
		name    string
		limit   int
		streams []Stream
		want    string
	}{
		{"nothing", 2, nil, ""},
		{"one", 2, []Stream{plan(&live, "a", "b")}, "a b"},
		{"silent", 2, []Stream{plan(&live), plan(&live, "a")}, "a"},
		{"together", 2, []Stream{plan(&live, "2ms", "b", "2ms", "d"), plan(&live, "1ms", "a", "2ms", "c")}, "a b c d"},
		{"one at a time", 1, []Stream{plan(&live, "5ms", "a"), plan(&live, "b"), plan(&live, "c")}, "a b c"},
		{"pauses come last", 2, []Stream{plan(&live, "a", "pause"), plan(&live, "5ms", "b", "pause"), plan(&live, "9ms", "c")}, "a b c,pause of a,pause of 5ms"},
		{"a pause takes no place", 1, []Stream{plan(&live, "a", "pause"), plan(&live, "b")}, "a b,pause of a"},
		{"error is last", 3, []Stream{plan(&live, "1ms", "error"), plan(&live, "a", "wait", "b", "2ms", "c"), plan(&live, "pause")}, "a b c broken"},
		{"error starts no more", 1, []Stream{plan(&live, "error"), plan(&live, "a")}, "broken"},
		{"first error wins", 2, []Stream{plan(&live, "error"), plan(&live, "wait", "1ms", "error")}, "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := strings.Join(collect(-1, c.limit, c.streams...), " ")

				if want := strings.ReplaceAll(c.want, ",", " "); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if n := live.Load(); n != 0 {
					t.Errorf("got %d streams left, want none", n)
				}
			})
		})
	}
}

func TestMergeKeepsToTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var live, most atomic.Int32
		var streams []Stream
		for i := range 20 {
			inner := plan(&live, fmt.Sprintf("%dms", i%3+1), "a")
			streams = append(streams, func(ctx context.Context) iter.Seq2[Event, error] {
				return func(yield func(Event, error) bool) {
					for ev, err := range inner(ctx) {
						most.Store(max(most.Load(), live.Load()))
						if !yield(ev, err) {
							return
						}
					}
				}
			})
		}

		got := collect(-1, 4, streams...)

		if len(got) != 20 || most.Load() != 4 {
			t.Errorf("got %d events, %d at the same time; want 20, 4", len(got), most.Load())
		}
	})
}

func TestMergeWaitsForItsStreamsWhenTheConsumerBreaks(t *testing.T) {
	for n := 1; n <= 5; n++ {
		synctest.Test(t, func(t *testing.T) {
			var live atomic.Int32
			got := collect(n, 2,
				plan(&live, "a", "b", "wait", "3ms", "late"),
				plan(&live, "1ms", "pause", "late"),
				plan(&live, "1ms", "c", "d", "e", "wait", "late"))

			if live.Load() != 0 || slices.Contains(got, "late") {
				t.Errorf("break after %d: got %d streams left, events %v", n, live.Load(), got)
			}
		})
	}
}

// TestMergeCommitsBeforeTheEffect holds each stream until its event was consumed.
func TestMergeCommitsBeforeTheEffect(t *testing.T) {
	var committed [4]atomic.Bool
	var streams []Stream
	for i := range committed {
		streams = append(streams, func(context.Context) iter.Seq2[Event, error] {
			return func(yield func(Event, error) bool) {
				if yield(Event{Sequence: uint64(i)}, nil) && !committed[i].Load() {
					t.Errorf("stream %d went on before its event was committed", i)
				}
			}
		})
	}
	for ev := range Merge(t.Context(), 4, streams) {
		committed[ev.Sequence].Store(true)
	}
}
