package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
	"go.uber.org/goleak"
)

const crashEnv = "BEHALF_STORE_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		appendForEver(dir)
	}
	if dir := os.Getenv(journalCrashEnv); dir != "" {
		journalForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

// appendForEver is the child of the crash test: it prints what is durable.
func appendForEver(dir string) {
	witness, err := audit.OpenWitness(filepath.Join(dir, "witness"))
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
	s, err := store.Open(context.Background(), store.Config{DSN: "sqlite://" + filepath.Join(dir, "behalf.db"), Key: storetest.Key(), Witness: witness, CheckpointEvery: 20})
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				r := storetest.Sample("acme", fmt.Sprintf("run_%d_%d/%d", os.Getpid(), w, i))
				if err := s.Append(audit.Entry{Record: r}).Wait(context.Background()); err != nil {
					fmt.Fprintln(os.Stdout, "error", err)
				}
				fmt.Fprintln(os.Stdout, r.Sequence, r.Hash)
			}
		}()
	}
	select {}
}

func TestNothingDurableIsLostWhenTheProcessIsKilled(t *testing.T) {
	dir := t.TempDir()
	durable := map[int64]string{}
	for range 3 {
		crash(t, dir, durable, 150)
	}
	path := filepath.Join(dir, "behalf.db")
	if r := report(t, path, filepath.Join(dir, "witness")); !r.OK() {
		t.Fatalf("after the crash: %+v", r)
	}

	s := storetest.Start(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, filepath.Join(dir, "witness"))})

	found := map[int64]string{}
	for row, err := range s.Rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Tenant == "acme" {
			found[row.Sequence] = row.Hash
		}
	}
	for seq, hash := range durable {
		if found[seq] != hash {
			t.Errorf("row %d was durable as %s, found %q", seq, hash, found[seq])
		}
	}
	n, err := s.Abandoned(t.Context(), nil)
	if err != nil || n != len(found) {
		t.Errorf("got %d abandoned calls, %v, want %d", n, err, len(found))
	}
	s.Stop()
	if r := report(t, path, filepath.Join(dir, "witness")); !r.OK() {
		t.Errorf("after going on: %+v", r)
	}
}

// crash lets a child append until it printed n rows, and kills it.
func crash(t *testing.T, dir string, durable map[int64]string, n int) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), crashEnv+"="+dir)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for seen := 0; lines.Scan(); seen++ {
		first, hash, ok := strings.Cut(lines.Text(), " ")
		seq, err := strconv.ParseInt(first, 10, 64)
		if err != nil || !ok {
			if seen >= n {
				break // a line that the kill cut
			}
			t.Fatalf("child: %s", lines.Text())
		}
		if len(hash) == 64 {
			durable[seq] = hash
		}
		if seen == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
}

func TestFullDiskFailsTheReceiptsAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "behalf.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path}, 3)
	limit := func(pages int) {
		t.Helper()
		err := s.Do(t.Context(), func(tx *store.Tx) error {
			var n int
			return tx.Row("PRAGMA max_page_count = "+strconv.Itoa(pages), nil, &n)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // as many as there are already

	var receipts []*audit.Receipt
	var records []*audit.Record
	for i := range 200 {
		r := storetest.Sample([]string{"acme", "globex"}[i%2], fmt.Sprint("run_x/", i))
		records = append(records, r)
		receipts = append(receipts, s.Append(audit.Entry{Record: r}))
	}
	durable, failed := map[string]int64{"acme": 3}, 0
	for i, r := range receipts {
		switch err := r.Wait(t.Context()); {
		case err == nil:
			durable[records[i].Tenant] = max(durable[records[i].Tenant], records[i].Sequence)
		case records[i].Sequence != 0 || records[i].Hash != "":
			t.Errorf("row %d failed and looks sealed", i)
		default:
			failed++
		}
	}

	if failed == 0 {
		t.Fatal("the disk was not full")
	}
	// The failure threw the connection away, and its page limit with it: there
	// is room again.
	for tenant, n := range durable {
		r := storetest.Sample(tenant, "run/after")
		if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); err != nil || r.Sequence != n+1 {
			t.Errorf("%s: got row %d, %v, want %d", tenant, r.Sequence, err, n+1)
		}
	}
	storetest.Verify(t, s.Reader)
}

// Nobody waits for the state of a run, so nobody would say it again.
func TestAStateThatCouldNotBeStoredIsStoredLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "behalf.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path}, 1)
	run := runs.RunRecord{Tenant: "acme", RunID: "run_1", SessionID: "ses_1", Owner: runs.Owner{Issuer: "i", Subject: "ann"}, Target: "a", State: runs.StateRunning, Created: 1}
	session := runs.SessionRecord{Tenant: "acme", SessionID: "ses_1", Owner: run.Owner, Target: "a", Created: 1}
	if err := s.Begin(t.Context(), session, run, nil, runs.Room{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateRunState(t.Context(), "acme", "run_1", runs.StateFailed, "failed"); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/2")}).Wait(t.Context()); err == nil {
		t.Fatal("the row was stored nowhere")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}

	for n := range 2 { // the first commit that succeeds has the state stored with the next
		if err := s.Append(audit.Entry{Record: storetest.Sample("acme", fmt.Sprint("run/", 3+n))}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	again := opened(t, store.Config{DSN: "sqlite://" + path})
	defer func() { _ = again.Close() }()
	left, err := again.OpenRuns(t.Context())
	if err != nil || len(left) > 0 {
		t.Errorf("got %v, %v as open, want the run failed", left, err)
	}
}

func TestDeletedDatabaseIsNotWrittenTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "behalf.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path}, 1)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}

	err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/2")}).Wait(t.Context())

	if !errors.Is(err, store.ErrReplaced) {
		t.Errorf("got %v, want ErrReplaced", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/3")}).Wait(t.Context()); err != nil {
		t.Errorf("got %v after it came back", err)
	}
}

func TestLockedDatabaseFailsTheReceipt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "behalf.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path}, 1)
	db := tamperLess(t, path)
	if err := s.Do(t.Context(), func(tx *store.Tx) error { var n int; return tx.Row("PRAGMA busy_timeout = 1", nil, &n) }); err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}

	err = s.Append(audit.Entry{Record: storetest.Sample("acme", "run/2")}).Wait(t.Context())

	if err == nil {
		t.Error("got durable while somebody else holds the lock")
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/3")}).Wait(t.Context()); err != nil {
		t.Errorf("got %v after the lock was gone", err)
	}
	storetest.Verify(t, s.Reader)
}

func TestDamagedPagesFailTheReceiptAndTheReader(t *testing.T) {
	path, _ := stopped(t, 7)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(text); i++ {
		text[i] = 0xff
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}

	if err := open(t, store.Config{DSN: "sqlite://" + path}); err == nil {
		t.Error("got an open store of a damaged file")
	}
	r, err := store.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := audit.Verify(r.Rows(t.Context()), r.Checkpoints(t.Context()), nil, storetest.PublicKey()); got.OK() {
		t.Error("a damaged file verifies")
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	s := fill(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")}, 1)
	s.Stop()

	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/2")}).Wait(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if err := s.Do(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// opened opens a store whose writer does not run.
func opened(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.DSN == "" {
		cfg.DSN = "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFullQueueAnswersAtOnce(t *testing.T) {
	s := opened(t, store.Config{Queue: 2})
	var receipts []*audit.Receipt
	for range 3 {
		receipts = append(receipts, s.Append(audit.Entry{Record: storetest.Sample("acme", "run/1")}))
	}

	if err := receipts[2].Wait(t.Context()); !errors.Is(err, store.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, r := range receipts[:2] {
		if err := r.Wait(t.Context()); !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}

func TestClosureThatWasGivenUpDoesNotRun(t *testing.T) {
	s := opened(t, store.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	err := s.Do(ctx, func(*store.Tx) error { ran = true; return nil })
	stop, end := context.WithCancel(context.Background())
	end()

	if err2 := s.Run(stop); !errors.Is(err, context.Canceled) || err2 != nil || ran {
		t.Errorf("got %v, %v, ran %v", err, err2, ran)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestRunWritesWhatIsQueuedBeforeItEnds(t *testing.T) {
	s := opened(t, store.Config{Key: storetest.Key(), Batch: 3})
	var receipts []*audit.Receipt
	for i := range 10 {
		receipts = append(receipts, s.Append(audit.Entry{Record: storetest.Sample("acme", fmt.Sprint("run/", i))}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if err := r.Wait(t.Context()); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if r := storetest.Verify(t, s.Reader); r.Tenants[0].Signed != 10 {
		t.Errorf("got %+v, want a checkpoint at the end", r)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSlowWitnessReaderDoesNotHoldTheLog(t *testing.T) {
	s := fill(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")}, 300)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n := 0
	for _, err := range s.Query(ctx, audit.Filter{Tenant: "acme"}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%100 == 0 { // the consumer writes while it reads
			if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/more")}).Wait(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n < 300 {
		t.Errorf("got %d records", n)
	}
}
