package runs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

func openLog(t *testing.T) *JetStream {
	t.Helper()
	l, err := OpenJetStream(t.Context(), JetStreamConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// fill appends steps of one event each.
func fill(t *testing.T, l *JetStream, k Key, steps, size int) {
	t.Helper()
	for i := range uint64(steps) {
		if err := l.Append(t.Context(), k, i, []agents.Event{text(i+1, size)}); err != nil {
			t.Fatal(err)
		}
	}
}

func text(sequence uint64, size int) agents.Event {
	return agents.Event{Sequence: sequence, Time: time.Unix(1, 0).UTC(), Body: agents.Message{Role: agents.RoleUser, Text: strings.Repeat("x", size)}}
}

func count(ctx context.Context, l *JetStream, k Key) (n int, last error) {
	for _, err := range l.Read(ctx, k) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestCrowdOfReadersReadsAllWhileOthersAppend(t *testing.T) {
	const readers = 60
	steps := 200 // 20 MiB
	if raced {
		steps = 50 // the detector makes each copied byte twenty times as dear
	}
	l := openLog(t)
	l.reads.limit, l.fences.limit = time.Minute, time.Minute // how fast the machine is does not matter here
	big := Key{"acme", "ses_big"}
	fill(t, l, big, steps, 100<<10)
	at, err := place(big)
	if err != nil {
		t.Fatal(err)
	}
	var beside Key // in the same stream, where the readers are most in the way
	for i, found := 0, false; !found; i++ {
		beside = Key{"acme", fmt.Sprint("ses_", i)}
		other, _ := place(beside)
		found = other.bucket == at.bucket
	}
	var group sync.WaitGroup
	done := make(chan struct{})
	for range readers {
		group.Go(func() {
			if n, err := count(t.Context(), l, big); err != nil || n != steps {
				t.Errorf("read %d of %d steps: %v", n, steps, err)
			}
		})
	}
	go func() { group.Wait(); close(done) }()

	for after, over := uint64(0), false; !over; after++ {
		if err := l.Append(t.Context(), beside, after, []agents.Event{text(after+1, 10)}); err != nil {
			t.Errorf("append: %v", err)
		}
		if after%5 == 0 {
			l.setTail(beside, tail{}) // so that the next one asks where the end is
		}
		select {
		case <-done:
			over = true
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// As with a crowd of readers at its worst: no slot comes free, and what reads come
// over brings nothing any more.
func TestReadersThatGetNoAnswerHoldUpNoAppend(t *testing.T) {
	l, k := openLog(t), Key{"acme", "ses_a"}
	for range readSlots {
		l.reads.slots <- struct{}{}
	}
	l.reads.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), publishLimit)
	defer cancel()

	for after := range uint64(3) {
		l.setTail(k, tail{}) // so that it asks where the end is
		if err := l.Append(ctx, k, after, []agents.Event{text(after+1, 10)}); err != nil {
			t.Fatalf("append behind event %d: %v", after, err)
		}
	}
}

func TestSessionThatLostAStepIsNeverReadAsWhole(t *testing.T) {
	for name, lost := range map[string]uint64{"the first": 1, "one in the middle": 2, "the last": 3} {
		t.Run(name, func(t *testing.T) {
			l, k := openLog(t), Key{"acme", "ses_a"}
			fill(t, l, k, 3, 10)
			at, _ := place(k)
			if err := l.streams[at.bucket].DeleteMsg(t.Context(), lost); err != nil {
				t.Fatal(err)
			}
			if n, err := count(t.Context(), l, k); !errors.Is(err, errHole) {
				t.Errorf("read %d events and then %v, want errHole", n, err)
			}
		})
	}
}

func TestSessionThatIsDeletedWhileItIsReadSaysSo(t *testing.T) {
	l, k := openLog(t), Key{"acme", "ses_a"}
	fill(t, l, k, 2*batchMessages, 10)
	var last error
	n := 0
	for _, err := range l.Read(t.Context(), k) {
		if last = err; err != nil {
			break
		}
		if n++; n == 1 {
			if err := l.Purge(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !errors.Is(last, ErrPurged) {
		t.Errorf("%d events and then %v, want ErrPurged", n, last)
	}
}

func TestReadGivesUpOnALogThatDoesNotAnswer(t *testing.T) {
	l, k := openLog(t), Key{"acme", "ses_a"}
	fill(t, l, k, 2, 10)
	for range readSlots {
		l.reads.slots <- struct{}{}
	}
	why := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer cancel()
	if _, err := count(ctx, l, k); !errors.Is(err, why) {
		t.Errorf("waiting for a slot ended with %v, want the cause of the context", err)
	}
	for range readSlots {
		<-l.reads.slots
	}
	l.reads.limit = 200 * time.Millisecond
	l.server.Shutdown() // nobody is there any more; the client tries to come back
	began := time.Now()
	if _, err := count(t.Context(), l, k); err == nil || time.Since(began) > batchLimit {
		t.Errorf("got %v after %v, want an error at once", err, time.Since(began))
	}
}
