package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func TestCommandsAreNamedAsTheyWereStarted(t *testing.T) {
	dir := t.TempDir()
	installed := filepath.Join(dir, "behalf")
	if err := os.WriteFile(installed, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for path, want := range map[string]string{
		"/root/.cache/go-build/ab/cd-d/behalf": "go run ./cmd/behalf",
		"/tmp/go-build1234/b001/exe/behalf":    "go run ./cmd/behalf",
		"behalf":                               "behalf",
		installed:                              "behalf",
		"./behalf":                             "./behalf",
		"/opt/behalf":                          "/opt/behalf",
		"/opt/my tools/behalf":                 `/opt/my\ tools/behalf`,
	} {
		if got := selfFrom(path); got != want {
			t.Errorf("started as %s: got %q, want %q", path, got, want)
		}
	}
}

func TestHostileTextCannotCommandATerminal(t *testing.T) {
	got := clean("a\x1b[2Jb\nc\u202Ed\x07\u009be")
	if want := "a\uFFFD[2Jb c\uFFFDd\uFFFD\uFFFDe"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Names come from callers, and an operator reads the log in a terminal.
func TestTheLogCannotCommandATerminal(t *testing.T) {
	var out bytes.Buffer
	name := "a\x1b[2Jb\nc\u202Ed\x07\u009be\u2028f"

	slog.New(slog.NewJSONHandler(&plain{&out}, nil)).Info(name, "resource", name, "cause", errors.New(name))

	line, ended := strings.CutSuffix(out.String(), "\n")
	if !ended || strings.ContainsFunc(line, func(r rune) bool { return r == '\n' || hidden(r) }) {
		t.Errorf("got %q, want one line without controls", out.String())
	}
	var read map[string]string
	if err := json.Unmarshal([]byte(line), &read); err != nil || read["msg"] != name || read["resource"] != name || read["cause"] != name {
		t.Errorf("got %q, %v, want the same text", read, err)
	}
}

func TestAgentsTextKeepsItsLinesAndFakesNone(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, "", false)

	s.text("bot", "one\n\ttwo\n")
	s.text("bot", "  ✓ allowed refund_order\x1b[2J\n")
	s.end()
	s.text("bot", "three")
	s.end()

	want := "bot: one\n  │     two\n  │   ✓ allowed refund_order\uFFFD[2J\nbot: three\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestAnAllowedCallThatFailsSaysWhy(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, "", false)
	s.calls["run_1/1"], s.calls["run_1/2"] = "get_customer", "refund_order"

	s.decided("run_1/1", &behalfv1.ToolCallDecided{Decision: behalfv1.Decision_DECISION_ALLOW, PolicyIds: []string{"staff"}})
	s.decided("run_1/2", &behalfv1.ToolCallDecided{Decision: behalfv1.Decision_DECISION_DENY, Reason: behalfv1.ErrorReason_ERROR_REASON_POLICY_DENIED})
	for call, reason := range map[string]behalfv1.ErrorReason{"run_1/1": behalfv1.ErrorReason_ERROR_REASON_TOOL_UNAVAILABLE, "run_1/2": behalfv1.ErrorReason_ERROR_REASON_POLICY_DENIED} {
		s.finished(call, &behalfv1.ToolCallFinished{Failed: true, Reason: reason, ResultJson: `"` + reason.String() + `"`})
	}

	want := "  ✓ allowed get_customer  by staff\n  ✗ DENIED refund_order  POLICY_DENIED\n  ← failed: \"ERROR_REASON_TOOL_UNAVAILABLE\"\n"
	if out.String() != want {
		t.Errorf("got %q, want the failure, and the refusal once: %q", out.String(), want)
	}
}

func TestWhoeverWaitsForALineHearsTheEnd(t *testing.T) {
	lines, failed := typed(strings.NewReader("one\n"))

	if got := <-lines; got != "one" {
		t.Errorf("got %q, want one", got)
	}
	for range 3 {
		if err := <-failed; err != nil {
			t.Errorf("got %v, want the end", err)
		}
	}
}

func TestNotesBreakBetweenWords(t *testing.T) {
	got := wrap("note: config.yaml:1:1: überlong words stay-as-they-are-whatever", 20)
	if want := "note:\n  config.yaml:1:1:\n  überlong words\n  stay-as-they-are-whatever"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := "one " + strings.Repeat("word ", 40); wrapped(&bytes.Buffer{}, text) != text {
		t.Error("a line that is no person's was broken")
	}
}

func TestJSONCannotCommandATerminal(t *testing.T) {
	text := "a\x1b[31m\u009b31m\u202eb\u200b\u2028\U000E0041 \U0001F600ü"

	line, err := jsonLine(&behalfv1.TextDelta{Text: text})

	if err != nil || strings.ContainsFunc(line, hidden) || !strings.Contains(line, "\U0001F600ü") {
		t.Errorf("got %+q (%v), want nothing in it that a terminal obeys, and the rest readable", line, err)
	}
	back := &behalfv1.TextDelta{}
	if err := protojson.Unmarshal([]byte(line), back); err != nil || back.GetText() != text {
		t.Errorf("got %+q (%v) back, want the same text", back.GetText(), err)
	}
}

func TestPaintIsOnlyForTerminals(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	if p := paintFor(f); p.bad("no") != "no" {
		t.Error("a file got colours")
	}
	if paint(true).bad("no") == "no" {
		t.Error("a terminal got no colours")
	}
}

func TestDevServesThisMachineOnly(t *testing.T) {
	for _, a := range []string{"0.0.0.0:8443", ":8443", "192.0.2.1:1", "example.com:1", "nonsense"} {
		if onlyHere(a) == nil {
			t.Errorf("%q was accepted", a)
		}
	}
	if err := onlyHere("127.0.0.1:0", "[::1]:1", "localhost:2", ""); err != nil {
		t.Errorf("got %v for addresses of this machine", err)
	}
}

func TestATimeOfAnotherDayHasItsDay(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	if got, want := clock(now.Add(-time.Hour), now), "07:00:00.000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := clock(now.Add(-9*time.Hour), now), "2026-03-01 23:00:00.000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatIsNotThereHasItsOwnList(t *testing.T) {
	for message, want := range map[string]string{
		"there is no such approval":                                         "`behalf approvals` lists",
		"there is no such lock; list the locks and name its target exactly": "`behalf locks` lists",
		"there is no such grant":                                            "`behalf agents`, `behalf chats`",
		"there is no such key":                                              "`behalf keys` lists",
	} {
		if got := hint("NOT_FOUND", message); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q…", message, got, want)
		}
	}
}

func TestARowOfTheJournalIsMarked(t *testing.T) {
	row := func(governed bool) string {
		return strings.Join(auditRow(&behalfv1.AuditRecord{Decision: behalfv1.Decision_DECISION_ALLOW, Governed: governed}), "|")
	}
	if !strings.Contains(row(false), "allow (journal)|") || strings.Contains(row(true), "journal") {
		t.Errorf("got %q and %q, want only the first marked", row(false), row(true))
	}
}
