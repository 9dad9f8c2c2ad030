package runs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/internal/disktest"
)

func TestAFullDiskFailsAppendsAndNothingThatWasStored(t *testing.T) {
	t.Parallel()
	if !disktest.OwnProcess(t) {
		return
	}
	l, k := openLog(t), Key{"acme", "ses_a"}
	fill(t, l, k, 3, 100)
	step := []agents.Event{text(4, 100)}

	mend := disktest.Fill(t, 0)
	if l.Append(t.Context(), k, 3, step) == nil {
		t.Error("got stored on a full disk")
	}
	if err := l.Append(t.Context(), k, 3, step); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want the disk named at once", err)
	}
	if n, err := count(t.Context(), l, k); n != 3 || err != nil {
		t.Errorf("read %d steps while the disk is full, %v", n, err)
	}
	mend()

	if err := l.Append(t.Context(), k, 3, step); err != nil {
		t.Errorf("got %v when there is room again", err)
	}
	if n, err := count(t.Context(), l, k); n != 4 || err != nil {
		t.Errorf("read %d steps, %v, want what was there and the new one", n, err)
	}
	fill(t, l, Key{"acme", "ses_b"}, 2, 100)
	q := l.Queue()
	if err := q.Put(t.Context(), Job{Tenant: "acme", Run: "run_a"}); err != nil {
		t.Errorf("the queue: %v", err)
	}
	if d, err := q.Take(t.Context()); err != nil || d.Job.Run != "run_a" {
		t.Errorf("got %+v, %v from the queue", d.Job, err)
	}
}

// What a power cut leaves of the newest step: it was not synced yet. The steps
// before it are there, and the session goes on behind them.
func TestALogWhoseEndWasWrittenHalfGoesOnBehindTheLastWholeStep(t *testing.T) {
	dir, k := t.TempDir(), Key{"acme", "ses_a"}
	l, err := OpenJetStream(t.Context(), JetStreamConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, k, 3, 100)
	at, err := place(k)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	folder := filepath.Join(dir, "jetstream", "$G", "streams", at.stream, "msgs")
	cut(t, filepath.Join(folder, "1.blk"), 50)
	if err := os.Remove(filepath.Join(folder, "index.db")); err != nil { // written at a shut-down in order
		t.Fatal(err)
	}

	l, err = OpenJetStream(t.Context(), JetStreamConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	if n, err := count(t.Context(), l, k); n != 2 || err != nil {
		t.Errorf("read %d steps, %v, want the two whole ones", n, err)
	}
	if err := l.Append(t.Context(), k, 2, []agents.Event{text(3, 100)}); err != nil {
		t.Error(err)
	}
}

func cut(t *testing.T, path string, bytes int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-bytes); err != nil {
		t.Fatal(err)
	}
}

func TestAppendGivesUpOnALogThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l, k := openLog(t), Key{"acme", "ses_a"}
	fill(t, l, k, 1, 10)
	l.server.Shutdown() // nobody is there any more; the client tries to come back
	began := time.Now()

	err := l.Append(t.Context(), k, 1, []agents.Event{text(2, 10)})

	if err == nil || time.Since(began) > publishLimit+time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}
