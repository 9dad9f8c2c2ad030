package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/internal/disktest"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// told is a store that tells its witness of every row.
func told(t *testing.T, dir string, w *audit.Witness) *storetest.Running {
	t.Helper()
	return fill(t, store.Config{DSN: "sqlite://" + filepath.Join(dir, "behalf.db"), Witness: w, CheckpointEvery: 1}, 2)
}

func one(t *testing.T, s *storetest.Running, call string) error {
	t.Helper()
	return s.Append(audit.Entry{Record: storetest.Sample("acme", call)}).Wait(t.Context())
}

// idle waits until the writer is done with the witness, whom it tells after the
// receipts.
func idle(t *testing.T, s *storetest.Running) {
	t.Helper()
	if err := s.Do(t.Context(), func(*store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

func TestAWitnessThatWasMovedAwayIsToldWhenItIsBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "witness")
	s := told(t, dir, openWitness(t, path))
	idle(t, s)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := one(t, s, "run/away"); err != nil {
		t.Errorf("got %v: the caller has nothing to do with the witness", err)
	}
	idle(t, s)
	if n := lines(t, path+".away"); n != 2 {
		t.Errorf("got %d lines where no name leads to, want none more", n)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}

	if err := one(t, s, "run/back"); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	if r := report(t, filepath.Join(dir, "behalf.db"), path); !r.OK() || r.Witnessed != 4 {
		t.Errorf("got %+v, want all four checkpoints witnessed", r)
	}
}

func TestAWitnessOnAFullDiskIsToldWhenThereIsRoom(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	dir := t.TempDir()
	path, db := filepath.Join(dir, "witness"), filepath.Join(dir, "behalf.db")
	told(t, dir, openWitness(t, path)).Stop()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte("of earlier logs, and longer than this one's files will be\n"), 100_000)
	if err := os.WriteFile(path, append(long, text...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := storetest.Start(t, store.Config{DSN: "sqlite://" + db, CheckpointEvery: 1, Witness: openWitness(t, path)})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	mend := disktest.Fill(t, uint64(info.Size()+50))
	if err := one(t, s, "run/full"); err != nil {
		t.Errorf("got %v: the caller has nothing to do with the witness", err)
	}
	idle(t, s)
	mend()
	if err := one(t, s, "run/after"); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	if got := lines(t, path); got != 100_000+4 {
		t.Errorf("got %d checkpoints in the witness, want all four", got-100_000)
	}
}

// A reader of stdout that reads no more: the pipe is full, and a write hangs.
func TestAWitnessThatHangsHoldsUpNobody(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 64<<10)); err != nil { // all that it holds
		t.Fatal(err)
	}
	s := told(t, t.TempDir(), audit.NewWitness(w))

	began := time.Now()
	for i := range 20 {
		if err := one(t, s, fmt.Sprint("run/", i)); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("twenty rows took %v", took)
	}

	heard := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		heard <- string(text)
	}()
	again := time.Now()
	for i := 0; ; i++ { // the first line is through some time after it reads again
		if err := one(t, s, fmt.Sprint("run/again/", i)); err != nil {
			t.Fatal(err)
		}
		if time.Since(again) > 4*time.Second || i > 200 {
			break
		}
	}
	s.Stop()
	w.Close()
	if got := strings.Count(<-heard, "\n"); got < 22 {
		t.Errorf("the witness heard %d lines, want those that it missed too", got)
	}
}

// What a power cut may leave of the write-ahead log.
func TestAStoreWhoseWALWasWrittenHalfHasWhatIsWholeOrSaysSo(t *testing.T) {
	dir := t.TempDir()
	path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
	s := fill(t, store.Config{DSN: "sqlite://" + path, CheckpointEvery: 1000}, 20)
	crashed := filepath.Join(t.TempDir(), "behalf.db")
	for _, end := range []string{"", "-wal"} {
		text, err := os.ReadFile(path + end)
		if err != nil {
			t.Fatal(err)
		}
		if end == "-wal" {
			text = text[:len(text)*3/4]
		}
		if err := os.WriteFile(crashed+end, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()

	after := storetest.Start(t, store.Config{DSN: "sqlite://" + crashed, Witness: openWitness(t, witness)})

	r := storetest.Verify(t, after.Reader)
	if rows := r.Tenants[0].Rows; rows == 0 || rows >= 20 {
		t.Errorf("got %d rows, want those that were whole", rows)
	}
	if err := one(t, after, "run/after"); err != nil {
		t.Error(err)
	}
	after.Stop()

	// The witness of the longer log does not accept the shorter one.
	full := filepath.Join(dir, "of-the-whole")
	storetest.Start(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, full)}).Stop()
	if err := open(t, store.Config{DSN: "sqlite://" + crashed, Witness: openWitness(t, full)}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

// The write-ahead log is cut, or taken away, under a server that runs. SQLite would
// go on writing behind what is not there.
func TestAStoreThatIsCutWhileItRunsAcknowledgesNothingThatIsLost(t *testing.T) {
	for name, spoil := range map[string]func(wal string, size int64) error{
		"cut":     func(wal string, size int64) error { return os.Truncate(wal, size/2) },
		"emptied": func(wal string, _ int64) error { return os.Truncate(wal, 0) },
		"removed": func(wal string, _ int64) error { return os.Remove(wal) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "behalf.db")
			s := fill(t, store.Config{DSN: "sqlite://" + path}, 20)
			info, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(path+"-wal", info.Size()); err != nil {
				t.Fatal(err)
			}

			var acknowledged []string
			for i := range 5 {
				if call := fmt.Sprint("run/", i); one(t, s, call) == nil {
					acknowledged = append(acknowledged, call)
				}
			}
			s.Stop()

			found := calls(t, path)
			for _, call := range acknowledged {
				if !found[call] {
					t.Errorf("%s was acknowledged and is not there", call)
				}
			}
			if len(acknowledged) > 0 && len(found) != 20+len(acknowledged) {
				t.Errorf("got %d rows: it went on without those from before", len(found))
			}
		})
	}
}

// Bytes of the write-ahead log that another changes in their place are not seen by a
// server that runs; the next start holds what is left against the witness.
func TestAWALThatWasGarbledIsNoticedAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
	s := told(t, dir, openWitness(t, witness))
	idle(t, s)
	info, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"-wal", bytes.Repeat([]byte{0xff}, int(info.Size())), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	if err := open(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)}); err == nil {
		t.Error("got an open store of a log that lost rows")
	}
}

// calls are those that a database holds, as far as it can be read.
func calls(t *testing.T, path string) map[string]bool {
	t.Helper()
	r, err := store.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	found := map[string]bool{}
	for row, err := range r.Rows(t.Context()) {
		if err == nil {
			found[row.CallID] = true
		}
	}
	return found
}
