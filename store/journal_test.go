package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// journaling is a store with a journal, and the folder of both.
type journaling struct {
	*storetest.Running
	t       *testing.T
	dir     string
	journal *store.Journal
}

func newJournaling(t *testing.T, dir string, most int64) *journaling {
	t.Helper()
	j, err := openJournal(dir, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return &journaling{
		Running: storetest.Start(t, store.Config{DSN: "sqlite://" + filepath.Join(dir, "behalf.db"), Journal: j}),
		t:       t, dir: dir, journal: j,
	}
}

func openJournal(dir string, most int64) (*store.Journal, error) {
	return store.OpenJournal(store.JournalConfig{Path: filepath.Join(dir, "journal"), Key: []byte("key"), Max: most})
}

// again stops everything and opens it anew.
func (j *journaling) again() *journaling {
	j.t.Helper()
	j.Stop()
	if err := j.journal.Close(); err != nil {
		j.t.Fatal(err)
	}
	return newJournaling(j.t, j.dir, 0)
}

func (j *journaling) file() string { return filepath.Join(j.dir, "journal") }

// away takes the database away until back is called.
func (j *journaling) away() (back func()) {
	j.t.Helper()
	db := filepath.Join(j.dir, "behalf.db")
	if err := os.Rename(db, db+".away"); err != nil {
		j.t.Fatal(err)
	}
	return func() {
		j.t.Helper()
		if err := os.Rename(db+".away", db); err != nil {
			j.t.Fatal(err)
		}
	}
}

// read appends the decision of a call that only reads.
func (j *journaling) read(call string) error {
	return j.Append(audit.Entry{Record: storetest.Sample("acme", call), Journal: true}).Wait(j.t.Context())
}

func (j *journaling) ended(call string) error {
	return j.Append(audit.Entry{Record: storetest.Outcome(storetest.Sample("acme", call)), Journal: true}).Wait(j.t.Context())
}

func (j *journaling) must(err error) {
	j.t.Helper()
	if err != nil {
		j.t.Fatal(err)
	}
}

// rows prints the chain of acme: call, phase, and "journal" if it is not governed.
func (j *journaling) rows() string {
	j.t.Helper()
	var rows []string
	for r, err := range j.Query(j.t.Context(), audit.Filter{Tenant: "acme"}) {
		j.must(err)
		text := r.CallID + " " + string(r.Phase)
		if !r.Governed {
			text += " journal"
		}
		rows = append(rows, text)
	}
	return strings.Join(rows, ", ")
}

func (j *journaling) wantRows(want string) {
	j.t.Helper()
	if got := j.rows(); got != want {
		j.t.Errorf("got rows %q, want %q", got, want)
	}
	storetest.Verify(j.t, j.Reader)
}

func (j *journaling) wantFile(want bool) {
	j.t.Helper()
	info, err := os.Stat(j.file())
	if got := err == nil; got != want {
		j.t.Fatalf("the file is there: %v, want %v", got, want)
	}
	if want && info.Mode().Perm() != 0o600 {
		j.t.Errorf("got mode %v", info.Mode())
	}
}

func TestAReadIsJournaledAndComesIntoTheLogOnce(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	j.must(j.read("run_a/1"))
	j.wantFile(false)

	back := j.away()
	j.must(j.ended("run_a/1"))
	j.must(j.read("run_a/2"))
	j.must(j.ended("run_a/2"))
	if err := j.Append(audit.Entry{Record: storetest.Sample("acme", "run_b/1")}).Wait(t.Context()); !errors.Is(err, store.ErrReplaced) {
		t.Errorf("a write: got %v, want ErrReplaced", err)
	}
	j.wantFile(true)
	if s := j.journal.Stats(); s.Rows() != 3 || s.Waiting["acme"] != 3 || s.Kept != 3 {
		t.Errorf("got %+v", s)
	}
	back()
	j.must(j.read("run_a/3"))

	const want = "run_a/1 decision, run_a/1 outcome journal, run_a/2 decision journal, run_a/2 outcome journal, run_a/3 decision"
	j.wantRows(want)
	j.wantFile(false)
	if s := j.journal.Stats(); s.Rows() != 0 || s.Kept != 3 {
		t.Errorf("got %+v", s)
	}
	j = j.again()
	if n, err := j.Abandoned(t.Context(), nil); n != 1 || err != nil { // run_a/3 has no outcome
		t.Errorf("got %d abandoned, %v, want the one that has no outcome", n, err)
	}
	j.wantRows(want + ", run_a/3 abandoned")
}

func TestAJournalIsTakenOverAtTheNextStart(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	back := j.away()
	for i := range 600 { // more than one part
		j.must(j.read(fmt.Sprint("run_a/", i)))
	}
	j.Stop()
	back()

	j = j.again()

	if got := strings.Count(j.rows(), "journal"); got != 600 {
		t.Errorf("got %d rows, want 600", got)
	}
	j.wantFile(false)
	if n, err := j.Abandoned(t.Context(), nil); n != 600 || err != nil {
		t.Errorf("got %d abandoned, %v", n, err)
	}
}

// Between the commit of the rows and the end of the file a process may die.
func TestAJournalWhoseFileCameBackIsNotTakenTwice(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	back := j.away()
	j.must(j.read("run_a/1"))
	j.must(j.ended("run_a/1"))
	text, err := os.ReadFile(j.file())
	j.must(err)
	back()
	j.must(j.read("run_a/2"))
	j.Stop()
	j.must(os.WriteFile(j.file(), text, 0o600))

	j = j.again()

	j.wantRows("run_a/1 decision journal, run_a/1 outcome journal, run_a/2 decision")
	j.wantFile(false)
}

func TestTheEndOfAJournalThatWasWrittenHalfIsCutOff(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	back := j.away()
	for i := range 3 {
		j.must(j.read(fmt.Sprint("run_a/", i)))
	}
	j.Stop()
	back()
	text, err := os.ReadFile(j.file())
	j.must(err)
	j.must(os.WriteFile(j.file(), text[:len(text)-100], 0o600))

	j = j.again()

	j.wantRows("run_a/0 decision journal, run_a/1 decision journal")
	j.wantFile(false)
	for _, err := range j.Query(t.Context(), audit.Filter{Tenant: "system"}) {
		t.Errorf("got a row of a loss (%v); what was never acknowledged is none", err)
	}
}

func TestLinesOfAJournalThatWereTamperedWithAreAnAlarm(t *testing.T) {
	for name, spoil := range map[string]func([][]byte) [][]byte{
		"changed":   func(l [][]byte) [][]byte { l[2] = bytes.Replace(l[2], []byte("alice"), []byte("mallo"), 1); return l },
		"last":      func(l [][]byte) [][]byte { l[3][len(l[3])-3] ^= 1; return l },
		"taken out": func(l [][]byte) [][]byte { return append(l[:2], l[3:]...) },
		"doubled":   func(l [][]byte) [][]byte { return append(l, l[1]) },
		"nameless":  func(l [][]byte) [][]byte { l[0][3] ^= 1; return l },
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournaling(t, t.TempDir(), 0)
			back := j.away()
			for i := range 3 {
				j.must(j.read(fmt.Sprint("run_a/", i)))
			}
			j.Stop()
			back()
			text, err := os.ReadFile(j.file())
			j.must(err)
			lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
			lines[3] = append(lines[3], '\n')
			j.must(os.WriteFile(j.file(), bytes.Join(spoil(lines), nil), 0o600))

			j = j.again()

			if strings.Contains(j.rows(), "mallo") || strings.Count(j.rows(), "run_a/0 decision") > 1 {
				t.Errorf("got %s", j.rows())
			}
			lost := 0
			for r, err := range j.Query(t.Context(), audit.Filter{Tenant: "system"}) {
				j.must(err)
				if r.Action == "lose_journal_lines" {
					lost++
				}
			}
			aside, err := filepath.Glob(j.file() + ".damaged-*")
			if lost != 1 || len(aside) != 1 || err != nil {
				t.Errorf("got %d rows of a loss and %q put aside, want one each", lost, aside)
			}
			j.wantFile(false)
			j.must(j.read("run_b/1"))
			storetest.Verify(t, j.Reader)
		})
	}
}

func TestAFullJournalRefuses(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 8<<10)
	back := j.away()
	n := 0
	for ; n < 100; n++ {
		if err := j.read(fmt.Sprint("run_a/", n)); err != nil {
			if !errors.Is(err, store.ErrJournalFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if info, err := os.Stat(j.file()); err != nil || info.Size() > 8<<10 || n == 0 || n == 100 {
		t.Errorf("got %d rows in %v, %v", n, info, err)
	}

	back()
	j.must(j.read("run_b/1"))

	if got := strings.Count(j.rows(), "journal"); got != n {
		t.Errorf("got %d rows, want the %d that were acknowledged", got, n)
	}
}

func TestAJournalOnAFullDiskRefusesAndGoesOn(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	j := newJournaling(t, t.TempDir(), 0)
	back := j.away()
	j.must(j.read("run_a/1"))
	info, err := os.Stat(j.file())
	j.must(err)

	mend := disktest.Fill(t, uint64(info.Size()+100)) // the next line fits only in part
	if j.read("run_a/2") == nil {
		t.Error("got durable on a full disk")
	}
	mend()
	j.must(j.read("run_a/3"))
	back()
	j = j.again()

	j.wantRows("run_a/1 decision journal, run_a/3 decision journal")
}

func TestAJournalThatWasMovedAwayRefuses(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	back := j.away()
	j.must(j.read("run_a/1"))
	j.must(os.Rename(j.file(), j.file()+".away"))

	if j.read("run_a/2") == nil {
		t.Error("got durable in a file that no name leads to")
	}
	j.must(os.WriteFile(j.file(), nil, 0o600))
	if j.read("run_a/2") == nil {
		t.Error("got durable in a file whose name leads to another")
	}
	back()
	j.must(j.read("run_a/3"))

	j.wantRows("run_a/1 decision journal, run_a/3 decision")
}

func TestAForgedLogIsNotReplacedByAJournal(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	j.must(j.read("run_a/1"))
	forge(t, filepath.Join(j.dir, "behalf.db"), func(g forger) { g.rewrite("acme", 1) })

	if err := j.read("run_a/2"); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
	j.wantFile(false)
}

func TestAWriterThatHangsLosesItsReadsToTheJournalInOrder(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	j.must(j.read("run_a/1"))
	conn, err := tamperLess(t, filepath.Join(j.dir, "behalf.db")).Conn(t.Context())
	j.must(err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE") // the writer waits for it, up to 5 s
	j.must(err)
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	outcome := j.Append(audit.Entry{Record: storetest.Outcome(storetest.Sample("acme", "run_a/1")), Journal: true})
	write := j.Append(audit.Entry{Record: storetest.Sample("acme", "run_b/1")})
	decision := j.Append(audit.Entry{Record: storetest.Sample("acme", "run_a/2"), Journal: true})
	if err := decision.Wait(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the writer to hang", err)
	}
	if !decision.Divert(t.Context()) || write.Divert(t.Context()) {
		t.Error("the read is not in the journal, or the write is")
	}
	if !outcome.Settled() {
		t.Error("what the run did before is not durable")
	}
	if s := j.journal.Stats(); s.Rows() != 2 {
		t.Errorf("got %+v, want both rows", s)
	}
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	j.must(err)
	j.must(write.Wait(t.Context()))
	j.must(j.read("run_a/3"))

	j.wantRows("run_a/1 decision, run_b/1 decision, run_a/1 outcome journal, run_a/2 decision journal, run_a/3 decision")
}

func TestAJournalIsOneProcessesAlone(t *testing.T) {
	j := newJournaling(t, t.TempDir(), 0)
	if _, err := openJournal(j.dir, 0); !errors.Is(err, store.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	j.Stop()
	j.must(j.journal.Close())
	j.must(os.WriteFile(j.file(), nil, 0o644))
	if _, err := openJournal(j.dir, 0); !errors.Is(err, audit.ErrMode) {
		t.Errorf("got %v, want ErrMode", err)
	}
}
