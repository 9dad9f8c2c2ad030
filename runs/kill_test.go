package runs_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/runs"
)

const killedChild = "BEHALF_RUNS_KILLED_CHILD"

// TestKilledChild is the process that is killed: it has one attached and one
// detached run at work, says so, and hangs. Its answer is in the log only.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killedChild)
	if dir == "" {
		t.Skip("only as a child of TestSessionsSurviveAKill")
	}
	log := openJetStream(t, dir)
	reached := make(chan struct{}, 2)
	d := newDesk(t, log, patient(func() { reached <- struct{}{} }, nil), withQueue(log))
	d.work(t)
	behind := d.start(t, ana(t), "", detached)
	<-reached
	attached := d.start(t, ana(t), "")
	for e := range attached.Events(t.Context()) {
		if e.Live() {
			fmt.Fprintf(os.Stdout, "at work: %s %s %s %s\n", attached.ID, attached.SessionID, behind.ID, behind.SessionID)
		}
	}
}

func TestSessionsSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	attached, behind := killAtWork(t, dir)

	log := openJetStream(t, dir)
	gate := make(chan struct{})
	close(gate)
	d := newDesk(t, log, patient(func() {}, gate), withQueue(log))
	for _, rec := range []runs.RunRecord{attached, behind} { // the index is another store; here it is written again
		if err := d.index.PutRun(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		if err := d.index.PutSession(t.Context(), runs.SessionRecord{Tenant: "acme", SessionID: rec.SessionID, Owner: rec.Owner, Target: rec.Target}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.index.PutGrant(t.Context(), runs.RecordOf(grantOf("ana", "acme", 1<<40), time.Now())); err != nil {
		t.Fatal(err)
	}
	d.work(t)

	got, err := collect(d.Watch(t.Context(), "acme", behind.RunID, 0))
	if err != nil || end(t, got).StopReason != agents.StopCompleted || len(got) != 5 {
		t.Errorf("the detached run went on to %v with %v: %+v", len(got), err, bodies(got))
	}
	got, err = collect(d.Watch(t.Context(), "acme", attached.RunID, 0))
	if err != nil || end(t, got).StopReason != agents.StopCancelled || len(got) != 4 {
		t.Errorf("the attached run ended with %v: %+v", err, bodies(got))
	}
	next := d.start(t, ana(t), attached.SessionID)
	if got, err := collect(next.Events(t.Context())); err != nil || end(t, got).StopReason != agents.StopCompleted {
		t.Errorf("the session went on to %v, %+v", err, bodies(got))
	}
}

// killAtWork starts the child and kills it with -9 while both runs are at work.
func killAtWork(t *testing.T, dir string) (attached, behind runs.RunRecord) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$", "-test.v")
	child.Env = append(os.Environ(), killedChild+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	rec := runs.RunRecord{Tenant: "acme", Owner: runs.Owner{Issuer: "https://idp.example", Subject: "ana"}, Target: "support", Kind: runs.KindAgent, State: runs.StateRunning, Created: 1}
	attached, behind = rec, rec
	behind.Detached = true
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, line, ok := strings.Cut(lines.Text(), "at work: "); ok {
			if _, err := fmt.Sscan(line, &attached.RunID, &attached.SessionID, &behind.RunID, &behind.SessionID); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it says that it was killed
	if attached.RunID == "" {
		t.Fatal("the child never got to work")
	}
	return attached, behind
}
