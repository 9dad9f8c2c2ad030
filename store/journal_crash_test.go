package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

const journalCrashEnv = "BEHALF_STORE_JOURNAL_CRASH_DIR"

// journalForEver is the child of the crash test. It loses its database and gets it
// back all the time, and prints the calls whose rows are durable somewhere.
func journalForEver(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stdout, "error", err)
			os.Exit(1)
		}
	}
	db := filepath.Join(dir, "behalf.db")
	j, err := openJournal(dir, 0)
	fail(err)
	s, err := store.Open(context.Background(), store.Config{DSN: "sqlite://" + db, Key: storetest.Key(), Journal: j, CheckpointEvery: 100})
	fail(err)
	go s.Run(context.Background())
	for n := 0; ; n++ {
		fail(os.Rename(db, db+".away"))
		var all sync.WaitGroup
		for i := range 300 { // a part and a bit
			all.Go(func() {
				call := fmt.Sprintf("run_%d_%d/%d", os.Getpid(), n, i)
				if s.Append(audit.Entry{Record: storetest.Sample("acme", call), Journal: true}).Wait(context.Background()) == nil {
					fmt.Fprintln(os.Stdout, call)
				}
			})
		}
		all.Wait()
		fmt.Fprintln(os.Stdout, "back")
		fail(os.Rename(db+".away", db))
		_ = s.Append(audit.Entry{Record: storetest.Sample("acme", fmt.Sprintf("run_%d_%d/x", os.Getpid(), n))}).Wait(context.Background())
	}
}

// The child is killed wherever it is: journaling, taking over, removing the file.
func TestNoJournaledRowIsLostOrDoubledWhenTheProcessIsKilled(t *testing.T) {
	dir, durable := t.TempDir(), map[string]bool{}
	for _, after := range []int{50, 299, 301, 301, 301, 650, 903} {
		killJournaling(t, dir, after, durable)
		if away := filepath.Join(dir, "behalf.db.away"); exists(away) {
			if err := os.Rename(away, filepath.Join(dir, "behalf.db")); err != nil {
				t.Fatal(err)
			}
		}
	}

	j := newJournaling(t, dir, 0)

	found := map[string]int{}
	for r, err := range j.Query(t.Context(), audit.Filter{Tenant: "acme"}) {
		j.must(err)
		found[r.CallID]++
	}
	for call := range durable {
		if found[call] == 0 {
			t.Errorf("%s was durable and is lost", call)
		}
	}
	for call, n := range found {
		if n > 1 {
			t.Errorf("%s is there %d times", call, n)
		}
	}
	if len(durable) < 2000 {
		t.Errorf("only %d rows were tried", len(durable))
	}
	storetest.Verify(t, j.Reader)
	j.wantFile(false)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// killJournaling kills the child when it has printed so many lines.
func killJournaling(t *testing.T, dir string, after int, durable map[string]bool) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), journalCrashEnv+"="+dir)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // killed; half a line was not printed in time
		}
		if strings.HasPrefix(line, "error") {
			t.Fatal(line)
		}
		if strings.HasPrefix(line, "run_") {
			durable[strings.TrimSpace(line)] = true
		}
		if n == after {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
}
