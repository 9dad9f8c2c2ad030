package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

const day = 24 * time.Hour

// aging is a store that keeps rows for two days. Its clock is the bubble's.
type aging struct {
	*storetest.Running
	path, witness string
}

func newAging(t *testing.T, edit ...func(*store.Config)) *aging {
	t.Helper()
	dir := t.TempDir()
	a := &aging{path: filepath.Join(dir, "behalf.db"), witness: filepath.Join(dir, "witness")}
	a.start(t, edit...)
	return a
}

func (a *aging) start(t *testing.T, edit ...func(*store.Config)) {
	t.Helper()
	cfg := store.Config{DSN: "sqlite://" + a.path, Witness: openWitness(t, a.witness), Clock: time.Now, Retention: 2 * day, CheckpointEvery: 5, CheckpointInterval: 10 * time.Minute}
	for _, f := range edit {
		f(&cfg)
	}
	a.Running = storetest.Start(t, cfg)
}

// calls records finished calls of a tenant, two rows each.
func (a *aging) calls(t *testing.T, tenant string, n int) {
	t.Helper()
	var last *audit.Receipt
	for i := range n {
		r := storetest.Sample(tenant, fmt.Sprintf("run_x/%d_%d", time.Now().UnixNano(), i))
		r.Time = time.Now().UnixNano()
		own := *r
		a.Append(audit.Entry{Record: &own})
		end := storetest.Outcome(r)
		last = a.Append(audit.Entry{Record: end})
	}
	if err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// chain is what Verify says of a tenant, with the store's checkpoints and the witness.
func (a *aging) chain(t *testing.T, tenant string) audit.TenantReport {
	t.Helper()
	r := report(t, a.path, a.witness)
	if !r.OK() {
		t.Errorf("the log does not verify: %+v", r)
	}
	for _, c := range r.Tenants {
		if c.Tenant == tenant {
			return c
		}
	}
	return audit.TenantReport{}
}

func TestOldRowsGoAndTheRestStaysProvable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 700) // more than go in one commit
		a.calls(t, "globex", 3)
		<-time.After(day)
		a.calls(t, "acme", 10)
		if c := a.chain(t, "acme"); c.Removed != 0 || c.Rows != 1420 {
			t.Fatalf("got %+v, want nothing removed yet", c)
		}
		<-time.After(day + 3*time.Hour)

		got, other := a.chain(t, "acme"), a.chain(t, "globex")

		if got.Removed != 1400 || got.Rows != 21 || other.Removed != 6 || other.Rows != 1 {
			t.Errorf("got %+v and %+v, want what is older than two days removed", got, other)
		}
		if said := time.Unix(0, got.RemovedAt); time.Since(said) < time.Hour || time.Since(said) > 4*time.Hour {
			t.Errorf("got removed at %v, want the time of its record", said)
		}
		if live := storetest.Verify(t, a.Reader); live.Tenants[0].Removed != 1400 {
			t.Errorf("the live log: got %+v", live)
		}
		var export bytes.Buffer
		if err := audit.Export(&export, a.Rows(t.Context()), a.Checkpoints(t.Context()), storetest.PublicKey()); err != nil {
			t.Fatal(err)
		}
		x, err := audit.ReadExport(&export)
		if err != nil {
			t.Fatal(err)
		}
		if r := audit.Verify(x.Rows, x.Checkpoints, audit.WitnessFile(a.witness), x.Key); !r.OK() || r.Tenants[0].Removed != 1400 {
			t.Errorf("the export: got %+v", r)
		}
		a.Stop()
		a.start(t) // it goes on from a log that begins late
		a.calls(t, "acme", 1)
		<-time.After(3 * day)
		if c := a.chain(t, "acme"); c.Removed < 1423 || c.Rows == 0 {
			t.Errorf("got %+v, want the next rows removed too", c)
		}
		a.Stop()
	})
}

func TestWhatIsRemovedIsOnRecordOnceAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 10)
		<-time.After(12 * day)

		var records []audit.Record
		for r, err := range a.Query(t.Context(), audit.Filter{Tenant: "acme"}) {
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}

		if len(records) != 1 || records[0].Sequence != 21 || records[0].Action != audit.ActionRemove {
			t.Fatalf("got %+v, want only the row that says what was removed", records)
		}
		if m, ok := audit.RemovalOf(&records[0]); !ok || m.Through != 20 || m.Hash == "" || m.Checkpoint == 0 {
			t.Errorf("got %+v, want the head of what was removed", m)
		}
		if c := a.chain(t, "acme"); c.Removed != 20 || c.Signed != 21 {
			t.Errorf("got %+v", c)
		}
		a.Stop()
	})
}

func TestNothingGoesWithoutAKeyOrBeforeTheWitnessKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 5)
		if err := os.Rename(a.witness, a.witness+".away"); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * day)
		if r := storetest.Verify(t, a.Reader); r.Tenants[0].Removed != 0 || r.Tenants[0].Rows != 11 {
			t.Errorf("got %+v, want the removal on record and every row there while the witness does not know", r)
		}
		if err := os.Rename(a.witness+".away", a.witness); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		if c := a.chain(t, "acme"); c.Removed != 10 {
			t.Errorf("got %+v, want the rows gone when it does", c)
		}
		a.Stop()
	})
}

// snapshot copies the files of a database, as a crash would leave them.
func (a *aging) snapshot(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "behalf.db")
	for _, suffix := range []string{"", "-wal"} {
		text, err := os.ReadFile(a.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestACrashWhileRowsGoLeavesALogThatVerifiesAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 2000)
		<-time.After(2*day + time.Millisecond) // just after a tick
		crashed := map[int64]string{}          // by how many rows were left
		for range 3 * 60 * 60 {
			r := storetest.Verify(t, a.Reader)
			if n := r.Tenants[0].Rows; crashed[n] == "" {
				crashed[n] = a.snapshot(t)
			}
			if r.Tenants[0].Removed == 4000 {
				break
			}
			if r.Tenants[0].Removed == 0 {
				<-time.After(10 * time.Minute)
			} else {
				<-time.After(50 * time.Millisecond)
			}
		}
		a.Stop()
		if len(crashed) < 8 {
			t.Fatalf("got %d states, want one of each step", len(crashed))
		}

		for n, path := range crashed {
			b := &aging{path: path, witness: a.witness}
			own, err := os.ReadFile(a.witness)
			if err != nil {
				t.Fatal(err)
			}
			b.witness = path + ".witness"
			lines := bytes.SplitAfter(own, []byte("\n"))
			if err := os.WriteFile(b.witness, lines[0], 0o600); err != nil { // what it missed it gets
				t.Fatal(err)
			}
			b.start(t)
			<-time.After(4 * time.Hour)
			if c := b.chain(t, "acme"); c.Removed != 4000 {
				t.Errorf("crashed with %d rows: got %+v, want the rest removed", n, c)
			}
			b.Stop()
		}
	})
}

func TestVerifyingWhileRowsGoRaisesNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAging(t)
		a.calls(t, "acme", 2000)
		<-time.After(2*day + time.Millisecond) // just after a tick
		for storetest.Verify(t, a.Reader).Tenants[0].Removed == 0 {
			<-time.After(10 * time.Minute) // until the first rows go
		}

		slow := func(yield func(audit.Row, error) bool) {
			for row, err := range a.Rows(t.Context()) {
				if row.Sequence%256 == 0 {
					<-time.After(60 * time.Millisecond) // more go meanwhile
				}
				if !yield(row, err) {
					return
				}
			}
		}
		r := audit.Verify(slow, a.Checkpoints(t.Context()), audit.WitnessFile(a.witness), storetest.PublicKey())

		if !r.OK() || r.Tenants[0].Removed == 0 {
			t.Errorf("got %+v, want a log that verifies", r)
		}
		a.Stop()
	})
}

func TestALossThatRetentionDidNotMakeIsFound(t *testing.T) {
	forged := func(g forger, through int64) audit.Record {
		var last int64
		if err := g.tx.QueryRow("SELECT max(sequence) FROM audit").Scan(&last); err != nil {
			g.Fatal(err)
		}
		before := g.record("acme", last)
		r := audit.Removal{Through: through, Hash: g.record("acme", through).Hash, Checkpoint: 1}.Record("acme", time.Now().UnixNano())
		body := audit.Seal(before.Head(), r)
		c := r.Columns()
		g.do("INSERT INTO audit (tenant, sequence, time, subject, agent, tool, action, phase, decision, session, run, call_id, loose_call, hash, body) VALUES (?, ?, ?, '', '', '', ?, ?, ?, 0, 0, '', '', ?, ?)",
			c.Tenant, c.Sequence, c.Time, c.Action, c.Phase, c.Decision, r.Hash, body)
		g.do("INSERT OR REPLACE INTO removals VALUES ('acme', ?, ?, 1)", through, r.Sequence)
		return *r
	}
	for name, f := range map[string]func(forger){
		"the next row": func(g forger) { g.do("DELETE FROM audit WHERE sequence = 21") },
		"the next rows, and the table says": func(g forger) {
			g.do("DELETE FROM audit WHERE sequence <= 23")
			g.do("UPDATE removals SET through = 23")
		},
		"the row that says what was removed":  func(g forger) { g.do("DELETE FROM audit WHERE sequence = (SELECT record FROM removals)") },
		"all rows":                            func(g forger) { g.do("DELETE FROM audit"); g.do("DELETE FROM removals") },
		"more, with a removal that is forged": func(g forger) { forged(g, 23); g.do("DELETE FROM audit WHERE sequence <= 23") },
		"none yet, but a removal is forged":   func(g forger) { forged(g, 23) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAging(t)
				a.calls(t, "acme", 10)
				<-time.After(day)
				a.calls(t, "acme", 10)
				<-time.After(day + 4*time.Hour)
				if c := a.chain(t, "acme"); c.Removed != 20 {
					t.Fatalf("got %+v, want 20 rows removed", c)
				}
				a.Stop()

				forge(t, a.path, f)

				if r := report(t, a.path, a.witness); r.OK() && name != "none yet, but a removal is forged" {
					t.Errorf("verifies: %+v", r)
				}
				if name == "the next row" {
					return // in the middle: Open reads the ends
				}
				if err := open(t, store.Config{DSN: "sqlite://" + a.path, Retention: 2 * day, Clock: time.Now}); !errors.Is(err, store.ErrDamaged) {
					t.Errorf("the next start: got %v, want ErrDamaged", err)
				}
				if name == "none yet, but a removal is forged" {
					return // nothing is missing, and who has no key signs nothing
				}
				s, err := store.Open(t.Context(), store.Config{DSN: "sqlite://" + a.path, Clock: time.Now})
				if !errors.Is(err, store.ErrDamaged) {
					t.Errorf("a start without a key: got %v, want ErrDamaged", err)
				}
				if err == nil {
					s.Close()
				}
			})
		})
	}
}

func TestOpenRefusesALogWithoutItsBeginning(t *testing.T) {
	path, witness := stopped(t, 7)
	forge(t, path, func(g forger) { g.do("DELETE FROM audit WHERE sequence <= 3") })

	if report(t, path, witness).OK() {
		t.Error("verifies")
	}
	if err := open(t, store.Config{DSN: "sqlite://" + path}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

func TestNobodyButTheLogRemovesRows(t *testing.T) {
	s := fill(t, store.Config{DSN: tempDSN(t)}, 3)
	r := audit.Removal{Through: 2, Hash: "x", Checkpoint: 1}.Record("acme", 1)

	if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); !errors.Is(err, audit.ErrEntry) {
		t.Errorf("got %v, want ErrEntry", err)
	}
	if err := s.Do(t.Context(), func(tx *store.Tx) error { return tx.Append(audit.Entry{Record: r}) }); !errors.Is(err, audit.ErrEntry) {
		t.Errorf("in a closure: got %v, want ErrEntry", err)
	}
	if err := s.Do(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec("DELETE FROM audit WHERE sequence = 1"); return err }); err == nil {
		t.Error("a closure removed a row")
	}
}
