package store_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// older changes a store's file while nobody has it open.
func older(t *testing.T, dsn string, do ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(dsn, "sqlite://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, text := range do {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnOlderStoreIsBroughtUpToDate by a start (docs/operating.md).
func TestAnOlderStoreIsBroughtUpToDate(t *testing.T) {
	dsn := tempDSN(t)
	s := storetest.Start(t, store.Config{DSN: dsn})
	s.Stop()
	older(t, dsn, "DROP TABLE tool_names", "DELETE FROM goose_db_version WHERE version_id > 1")

	s = storetest.Start(t, store.Config{DSN: dsn})
	if _, err := s.ToolNames(t.Context()); err != nil {
		t.Errorf("got %v, want no start refused for it", err)
	}
}

// TestAnAnswerOfBeforeStillSaysWhose: else a lock on whoever gave it does not find it.
func TestAnAnswerOfBeforeStillSaysWhose(t *testing.T) {
	dsn, clock := tempDSN(t), &watch{}
	s := storetest.Start(t, store.Config{DSN: dsn, Clock: clock.Now})
	if err := ask(t, s, question("apr_1", "run_1/1", clock.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DecideApproval(t.Context(), "acme", "apr_1", true, audit.Answer{Approver: audit.User{Issuer: "idp", Subject: "bob"}, ApproverName: "Bob"}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	older(t, dsn, `UPDATE approvals SET answer = '{"By":{"Issuer":"idp","Subject":"bob","Email":""},"Name":"Bob","Comment":""}'`, "DROP TABLE tool_names", "DELETE FROM goose_db_version WHERE version_id > 1")

	s = storetest.Start(t, store.Config{DSN: dsn, Clock: clock.Now})
	a, err := s.Approval(t.Context(), "acme", "apr_1")
	if err != nil || a.State != audit.Approved || a.Approver.Subject != "bob" {
		t.Errorf("got %q by %q, %v", a.State, a.Approver.Subject, err)
	}
}
