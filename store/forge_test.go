package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// forger is somebody who may write the database file while the server runs. They
// know the format, and the triggers are back in their place when they are done.
type forger struct {
	*testing.T
	db *sql.DB
	tx *sql.Tx
}

var triggers = []string{
	"CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
	"CREATE TRIGGER audit_holds BEFORE DELETE ON audit WHEN OLD.sequence > (SELECT coalesce(max(through), 0) FROM removals WHERE tenant = OLD.tenant) BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
}

func forge(t *testing.T, path string, f func(forger)) {
	t.Helper()
	g := forger{T: t, db: tamperLess(t, path)}
	var err error
	if g.tx, err = g.db.Begin(); err != nil {
		t.Fatal(err)
	}
	g.do("DROP TRIGGER audit_keeps")
	g.do("DROP TRIGGER audit_holds")
	f(g)
	for _, q := range triggers {
		g.do(q)
	}
	if err := g.tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (g forger) do(query string, args ...any) {
	g.Helper()
	if _, err := g.tx.Exec(query, args...); err != nil {
		g.Fatal(query, err)
	}
}

// record reads a row; the zero record if there is none.
func (g forger) record(tenant string, seq int64) audit.Record {
	g.Helper()
	var body []byte
	err := g.tx.QueryRow("SELECT body FROM audit WHERE tenant = ? AND sequence = ?", tenant, seq).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return audit.Record{}
	}
	if err != nil {
		g.Fatal(err)
	}
	r, err := audit.Parse(body)
	if err != nil {
		g.Fatal(err)
	}
	return r
}

// rewrite makes alice's row bob's and seals it again.
func (g forger) rewrite(tenant string, seq int64) {
	g.Helper()
	r := g.record(tenant, seq)
	before := g.record(tenant, seq-1)
	r.User.Subject = "bob"
	body := audit.Seal(before.Head(), &r)
	g.do("UPDATE audit SET subject = 'bob', hash = ?, body = ? WHERE tenant = ? AND sequence = ?", r.Hash, body, tenant, seq)
}

// invent appends a row that the server never wrote.
func (g forger) invent(tenant string, seq int64) {
	g.Helper()
	before := g.record(tenant, seq-1)
	r := storetest.Sample(tenant, "loose")
	r.RunID, r.SessionID = "", ""
	body := audit.Seal(before.Head(), r)
	c := r.Columns()
	g.do("INSERT INTO audit (tenant, sequence, time, subject, agent, tool, action, phase, decision, session, run, call_id, loose_call, hash, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?)",
		c.Tenant, c.Sequence, c.Time, c.Subject, c.Agent, c.Tool, c.Action, c.Phase, c.Decision, c.CallID, c.LooseCall, r.Hash, body)
}

var forgeries = map[string]func(forger){
	"the last row rewritten": func(g forger) { g.rewrite("acme", 4) },
	"two rows rewritten":     func(g forger) { g.rewrite("acme", 3); g.rewrite("acme", 4) },
	"a row invented":         func(g forger) { g.invent("acme", 5) },
	"a tenant invented":      func(g forger) { g.invent("globex", 1) },
	"the last row cut off":   func(g forger) { g.do("DELETE FROM audit WHERE sequence = 4") },
	"a chain cut off":        func(g forger) { g.do("DELETE FROM audit") },
	"a row that is garbage":  func(g forger) { g.do("UPDATE audit SET body = x'00' WHERE sequence = 4") },
}

// refuses checks that nothing is recorded any more, and that neither Verify nor
// the next start takes the log for whole.
func refuses(t *testing.T, s *storetest.Running, path, witness string) {
	t.Helper()
	for range 2 {
		r := storetest.Sample("acme", "run/next")
		if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); !errors.Is(err, store.ErrDamaged) || r.Hash != "" {
			t.Errorf("got %v, want ErrDamaged", err)
		}
	}
	if err := s.Do(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("closure: got %v, want ErrDamaged", err)
	}
	s.Stop()
	staysRefused(t, path, witness)
}

func staysRefused(t *testing.T, path, witness string) {
	t.Helper()
	r, err := store.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := audit.Verify(r.Rows(t.Context()), r.Checkpoints(t.Context()), nil, storetest.PublicKey()); got.OK() {
		t.Errorf("verifies: %+v", got)
	}
	if report(t, path, witness).OK() {
		t.Error("verifies against the witness")
	}
	for _, cfg := range []store.Config{{DSN: "sqlite://" + path}, {DSN: "sqlite://" + path, Witness: openWitness(t, witness)}} {
		if err := open(t, cfg); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("next start: got %v, want ErrDamaged", err)
		}
	}
}

func TestForgedRowsAreNeitherContinuedNorSigned(t *testing.T) {
	for name, forgery := range forgeries {
		for signed, every := range map[string]int64{"unsigned": 1000, "signed": 1, "half signed": 3} {
			t.Run(name+" "+signed, func(t *testing.T) {
				dir := t.TempDir()
				path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
				var log bytes.Buffer
				s := fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness), CheckpointEvery: every, Log: slog.New(slog.NewTextHandler(&log, nil))}, 4)

				forge(t, path, forgery)

				refuses(t, s, path, witness)
				if n := strings.Count(log.String(), "ALARM"); n != 1 {
					t.Errorf("got %d alarms:\n%s", n, &log)
				}
			})
		}
	}
}

func TestForgedCheckpointsAreNotContinued(t *testing.T) {
	for _, query := range []string{
		"DELETE FROM checkpoints", "DELETE FROM checkpoints WHERE number = 4", "UPDATE checkpoints SET line = x'00' WHERE number = 4",
		"INSERT INTO checkpoints SELECT 5, line FROM checkpoints WHERE number = 1",
	} {
		t.Run(query, func(t *testing.T) {
			dir := t.TempDir()
			path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
			s := fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness), CheckpointEvery: 1}, 4)

			forge(t, path, func(g forger) { g.do(query) })

			if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/next")}).Wait(t.Context()); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
			s.Stop()
			if report(t, path, witness).OK() {
				t.Error("verifies")
			}
		})
	}
}

func TestForgeryIsNoticedWhenNobodyAppends(t *testing.T) {
	for name, forgery := range forgeries {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
			s := fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness), CheckpointEvery: 1}, 4)

			forge(t, path, forgery)
			s.Stop() // at the latest; it looks at each tick too

			staysRefused(t, path, witness)
		})
	}
}

func TestForgeryBehindAFailedCommitIsNoticed(t *testing.T) {
	dir := t.TempDir()
	path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
	s := fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)}, 4)
	if err := s.Do(t.Context(), func(tx *store.Tx) error { var n int; return tx.Row("PRAGMA busy_timeout = 1", nil, &n) }); err != nil {
		t.Fatal(err)
	}
	forge(t, path, func(g forger) {
		g.rewrite("acme", 4)
		if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/locked")}).Wait(t.Context()); err == nil {
			t.Error("got durable while somebody else holds the lock")
		}
	})

	refuses(t, s, path, witness)
}

func TestTestimonyIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	path, witness := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
	s := fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)}, 4)
	forge(t, path, func(g forger) {
		g.rewrite("acme", 4)
		g.do("CREATE TRIGGER silence BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'no'); END")
	})
	if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/next")}).Wait(t.Context()); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
	if report(t, path, witness).OK() {
		t.Error("the witness does not know")
	}
	forge(t, path, func(g forger) { g.do("DROP TRIGGER silence") })

	refuses(t, s, path, witness)
}

func TestWritesThatTouchNoChainAreNoForgery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "behalf.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path}, 4)
	forge(t, path, func(g forger) { g.do("CREATE TABLE notes (text TEXT)") })

	r := storetest.Sample("acme", "run/next")
	if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); err != nil || r.Sequence != 5 {
		t.Errorf("got row %d, %v", r.Sequence, err)
	}
	storetest.Verify(t, s.Reader)
}

func TestCommitThatHappenedAndFailedIsNoForgery(t *testing.T) {
	for _, every := range []int64{1, 1000} {
		s := storetest.Start(t, store.Config{DSN: tempDSN(t), CheckpointEvery: every})
		// The closure ends the transaction: what comes behind it is durable at
		// once, and the COMMIT of it all fails.
		err := s.Do(t.Context(), func(tx *store.Tx) error {
			_ = tx.Row("COMMIT", nil)
			return tx.Append(audit.Entry{Record: storetest.Sample("acme", "run/1")})
		})
		if err == nil {
			t.Error("got durable, want the failure of COMMIT")
		}

		r := storetest.Sample("acme", "run/2")
		if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); err != nil || r.Sequence != 2 {
			t.Errorf("got row %d, %v, want it behind the one that is there", r.Sequence, err)
		}
		storetest.Verify(t, s.Reader)
	}
}

func TestUnsignedRowsAreAdoptedInTheOpen(t *testing.T) {
	dir := t.TempDir()
	path, crashed := filepath.Join(dir, "behalf.db"), filepath.Join(dir, "crashed.db")
	s := fill(t, store.Config{DSN: "sqlite://" + path, CheckpointEvery: 3}, 5)
	for i := range 2 * 64 { // checkpoints that do not name acme
		if err := s.Append(audit.Entry{Record: storetest.Sample("busy", fmt.Sprint("run/", i))}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*audit.Record{storetest.Sample("acme", "run/x"), storetest.Sample("acme", "run/y"), storetest.Sample("new", "run/z")} {
		if err := s.Append(audit.Entry{Record: r}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := storetest.Verify(t, s.Reader)
	for _, suffix := range []string{"", "-wal"} {
		text, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(crashed+suffix, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for _, tr := range before.Tenants {
		if n := tr.Rows - tr.Signed; n > 0 {
			want = append(want, fmt.Sprintf(`{"tenant":%q,"rows":%d}`, tr.Tenant, n))
		}
	}
	if len(want) == 0 {
		t.Fatal("all is signed")
	}
	var log bytes.Buffer

	for range 2 { // the second start has nothing to adopt
		storetest.Start(t, store.Config{DSN: "sqlite://" + crashed, Log: slog.New(slog.NewTextHandler(&log, nil))}).Stop()
	}

	r, err := store.OpenReadOnly(crashed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for rec, err := range r.Query(t.Context(), audit.Filter{Tenant: "system"}) {
		if err != nil || rec.Action != "adopt_unsigned_rows" {
			t.Fatalf("got %+v, %v", rec, err)
		}
		got = append(got, rec.RedactedArguments)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || strings.Count(log.String(), "level=WARN") != len(want) {
		t.Errorf("got %s, want %s; log:\n%s", got, want, &log)
	}
	after := storetest.Verify(t, r)
	if after.Checkpoints != before.Checkpoints+1 {
		t.Errorf("got %d checkpoints, want one more than %d", after.Checkpoints, before.Checkpoints)
	}
	for _, tr := range after.Tenants {
		if tr.Signed != tr.Rows {
			t.Errorf("%s: %d of %d rows are signed", tr.Tenant, tr.Signed, tr.Rows)
		}
	}
}

func TestAdoptedRowsAreSignedBeforeAnythingElse(t *testing.T) {
	path, _ := stopped(t, 7)
	forge(t, path, func(g forger) { g.invent("acme", 8) }) // as a crash, or somebody offline, leaves it

	s := opened(t, store.Config{DSN: "sqlite://" + path, Key: storetest.Key()})

	if got := storetest.Verify(t, s.Reader); got.Tenants[0].Signed != 8 {
		t.Errorf("got %+v", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesASignedRowThatWasReplaced(t *testing.T) {
	for name, f := range map[string]func(forger){
		"replaced":    func(g forger) { g.rewrite("acme", 7) },
		"cut off":     func(g forger) { g.do("DELETE FROM audit WHERE sequence = 7") },
		"all cut off": func(g forger) { g.do("DELETE FROM audit") },
		"and a checkpoint made up": func(g forger) {
			g.rewrite("acme", 7)
			r := g.record("acme", 7)
			var line []byte
			if err := g.tx.QueryRow("SELECT line FROM checkpoints ORDER BY number DESC LIMIT 1").Scan(&line); err != nil {
				g.Fatal(err)
			}
			c, err := audit.ParseCheckpoint(line)
			if err != nil {
				g.Fatal(err)
			}
			g.do("UPDATE checkpoints SET line = ? WHERE number = ?", bytes.Replace(line, []byte(c.Heads[0].Hash), []byte(r.Hash), 1), c.Number)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := stopped(t, 7)
			forge(t, path, f)

			if err := open(t, store.Config{DSN: "sqlite://" + path}); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("got %v without a witness, want ErrDamaged", err)
			}
		})
	}
}
