package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// tamper opens a database as somebody would who has the file and the rights.
func tamper(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	change(t, db, "DROP TRIGGER audit_keeps")
	change(t, db, "DROP TRIGGER audit_holds")
	return db
}

func change(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	res, err := db.Exec(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n == 0 && !strings.HasPrefix(query, "DROP") {
		t.Fatalf("%s changed nothing", query)
	}
}

func report(t *testing.T, path, witness string) audit.Report {
	t.Helper()
	r, err := store.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return audit.Verify(r.Rows(t.Context()), r.Checkpoints(t.Context()), audit.WitnessFile(witness), storetest.PublicKey())
}

// stopped makes a database of n rows with checkpoints and witness, shut down.
func stopped(t *testing.T, n int) (path, witness string) {
	t.Helper()
	dir := t.TempDir()
	path, witness = filepath.Join(dir, "behalf.db"), filepath.Join(dir, "witness")
	w := openWitness(t, witness)
	fill(t, store.Config{DSN: "sqlite://" + path, Witness: w, CheckpointEvery: 3}, n).Stop()
	return path, witness
}

func openWitness(t *testing.T, path string) *audit.Witness {
	t.Helper()
	w, err := audit.OpenWitness(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestVerifyFindsAFlipInEveryStoredByteOfARow(t *testing.T) {
	path, witness := stopped(t, 4)
	db := tamper(t, path)
	var body []byte
	if err := db.QueryRow("SELECT body FROM audit WHERE sequence = 2").Scan(&body); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(body); at += 7 { // every byte of the bytes themselves is the business of package audit
		bad := bytes.Clone(body)
		bad[at] ^= 1 << (at % 8)
		change(t, db, "UPDATE audit SET body = ? WHERE sequence = 2", bad)
		if report(t, path, witness).OK() {
			t.Fatalf("byte %d: not found", at)
		}
	}
	change(t, db, "UPDATE audit SET body = ? WHERE sequence = 2", body)
	if r := report(t, path, witness); !r.OK() {
		t.Fatalf("got %+v after all was put back", r)
	}
}

func TestVerifyFindsEveryChangedColumnAndTable(t *testing.T) {
	for _, query := range []string{
		"UPDATE audit SET tenant = 'globex' WHERE sequence = 4", "UPDATE audit SET sequence = 9 WHERE sequence = 4",
		"UPDATE audit SET time = time + 1 WHERE sequence = 2", "UPDATE audit SET subject = 'bob' WHERE sequence = 2",
		"UPDATE audit SET agent = '' WHERE sequence = 2", "UPDATE audit SET tool = 'x' WHERE sequence = 2",
		"UPDATE audit SET action = 'x' WHERE sequence = 2", "UPDATE audit SET phase = 'outcome' WHERE sequence = 2",
		"UPDATE audit SET decision = 'deny' WHERE sequence = 2", "UPDATE audit SET session = 0 WHERE sequence = 2",
		"UPDATE audit SET run = session WHERE sequence = 2", "UPDATE audit SET call_id = 'x' WHERE sequence = 2",
		"UPDATE audit SET loose_call = 'x' WHERE sequence = 2", "UPDATE audit SET hash = upper(hash) WHERE sequence = 2",
		"UPDATE names SET name = name || 'x' WHERE id = 1", "UPDATE names SET tenant = 'globex' WHERE id = 2", "DELETE FROM names WHERE id = 2",
		"DELETE FROM audit WHERE sequence = 1", "DELETE FROM audit WHERE sequence = 3", "DELETE FROM audit WHERE sequence = 7", "DELETE FROM audit",
		"DELETE FROM checkpoints WHERE number = 1", "DELETE FROM checkpoints WHERE number = 3", "DELETE FROM checkpoints",
		"UPDATE checkpoints SET number = number + 10", "UPDATE checkpoints SET line = (SELECT line FROM checkpoints WHERE number = 1) WHERE number = 2",
	} {
		t.Run(query, func(t *testing.T) {
			path, witness := stopped(t, 7)
			if r := report(t, path, witness); !r.OK() {
				t.Fatalf("got %+v before", r)
			}
			change(t, tamper(t, path), query)
			if r := report(t, path, witness); r.OK() && query != "UPDATE checkpoints SET number = number + 10" { // the number that counts is in the line
				t.Errorf("not found: %+v", r)
			}
		})
	}
}

func TestAuditTableRefusesChanges(t *testing.T) {
	path, _ := stopped(t, 3)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, query := range []string{"UPDATE audit SET tool = 'x'", "DELETE FROM audit"} {
		if _, err := db.Exec(query); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: got %v", query, err)
		}
	}
}

func open(t *testing.T, cfg store.Config) error {
	t.Helper()
	cfg.Key = storetest.Key()
	s, err := store.Open(t.Context(), cfg)
	if err == nil {
		s.Close()
	}
	return err
}

func TestOpenRefusesALogThatWasTamperedWith(t *testing.T) {
	for _, query := range []string{
		"UPDATE audit SET body = substr(body, 2) WHERE sequence = 7", "UPDATE audit SET tool = 'x' WHERE sequence = 7",
		"DELETE FROM audit WHERE sequence > 4", "DELETE FROM checkpoints WHERE number > 1", "DELETE FROM checkpoints",
	} {
		t.Run(query, func(t *testing.T) {
			path, witness := stopped(t, 7)
			change(t, tamper(t, path), query)

			err := open(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)})

			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
		})
	}
}

func TestOpenRefusesAnOlderCopyOfTheDatabase(t *testing.T) {
	path, witness := stopped(t, 4)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)}, 2).Stop()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}

	err = open(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)})

	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
	if err := open(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness+"-new")}); err != nil {
		t.Errorf("got %v with another witness", err)
	}
	if r := report(t, path, witness+"-new"); !r.OK() || r.Witnessed != r.Checkpoints {
		t.Errorf("a new witness was not told what was before: %+v", r)
	}
}

func TestWitnessThatMissedSomethingIsTold(t *testing.T) {
	path, witness := stopped(t, 7)
	text, err := os.ReadFile(witness)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	torn := append(bytes.Clone(lines[0]), lines[1][:50]...)
	if err := os.WriteFile(witness, torn, 0o600); err != nil {
		t.Fatal(err)
	}

	fill(t, store.Config{DSN: "sqlite://" + path, Witness: openWitness(t, witness)}, 1).Stop()

	if r := report(t, path, witness); !r.OK() || r.Witnessed != r.Checkpoints || r.Tenants[0].Witnessed != 8 {
		t.Errorf("got %+v", r)
	}
}

func TestReadersDoNotServeATamperedRow(t *testing.T) {
	for what, query := range map[string]string{
		"a column":                 "UPDATE audit SET tool = 'x' WHERE sequence = 2",
		"bytes that no column has": `UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), '"acr":"mfa"', '"acr":"pwd"') AS BLOB) WHERE sequence = 2`,
	} {
		t.Run(what, func(t *testing.T) {
			path, _ := stopped(t, 3)
			change(t, tamper(t, path), query)
			r, err := store.OpenReadOnly(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			n := 0
			for _, err = range r.Query(t.Context(), audit.Filter{Tenant: "acme"}) {
				n++
			}
			if !errors.Is(err, store.ErrDamaged) || n != 2 {
				t.Errorf("got %d elements, %v", n, err)
			}
		})
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "behalf.db")
	fill(t, store.Config{DSN: "sqlite://" + path}, 1)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v", suffix, info.Mode(), err)
		}
	}
	wide := filepath.Join(dir, "wide.db")
	if err := os.WriteFile(wide, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := open(t, store.Config{DSN: "sqlite://" + wide}); !errors.Is(err, audit.ErrMode) {
		t.Errorf("got %v, want ErrMode", err)
	}
}

func TestOpenRefusesAnotherDSN(t *testing.T) {
	for _, dsn := range []string{"", "postgres://u:secret@h/db", "sqlite://", "sqlite://:memory:", "behalf.db"} {
		if err := open(t, store.Config{DSN: dsn}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", dsn, err)
		}
	}
}

func TestFilterUsesItsIndex(t *testing.T) {
	path, _ := stopped(t, 1)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for where, index := range map[string]string{
		"tenant = ?1 AND subject = ?2 AND subject <> ''":                                                    "audit_subject",
		"tenant = ?1 AND tool = ?2 AND tool <> ''":                                                          "audit_tool",
		"tenant = ?1 AND agent = ?2 AND agent <> ''":                                                        "audit_agent",
		"tenant = ?1 AND decision = ?2 AND decision <> 'allow' AND decision <> ''":                          "audit_decision",
		"tenant = ?1 AND run = (SELECT id FROM names WHERE tenant = ?1 AND name = ?2) AND run <> 0":         "audit_run",
		"tenant = ?1 AND session = (SELECT id FROM names WHERE tenant = ?1 AND name = ?2) AND session <> 0": "audit_session",
		"tenant = ?1 AND loose_call = ?2 AND loose_call <> ''":                                              "audit_call",
	} {
		var plan []string
		rows, err := db.Query("EXPLAIN QUERY PLAN SELECT body FROM audit a WHERE "+where+" AND sequence > ?3 ORDER BY sequence LIMIT 10", "t", "x", 0)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var a, b, c int
			var detail string
			if err := rows.Scan(&a, &b, &c, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		rows.Close()
		if got := strings.Join(plan, "; "); !strings.Contains(got, index) || strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("%s: got %s, want %s", where, got, index)
		}
	}
}

// tamperLess opens the database as another process would.
func tamperLess(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
