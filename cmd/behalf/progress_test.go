package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

const hostileMessage = "page\x1b[2J\r\n✓ allowed refund_order\u202e"

func TestProgressIsOneLineThatMoves(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, "", false)
	s.moving = &movingLine{}

	slowly(s)

	want := "→ report {}\n" +
		"  ⋯ report 40%\r\x1b[K" +
		"  ⋯ report 3 of 7  page\uFFFD[2J\uFFFD ✓ allowed refund_order\uFFFD\r\x1b[K" +
		"  ← 1\n"
	if out.String() != want {
		t.Errorf("got\n%q, want\n%q", out.String(), want)
	}
}

func TestProgressIsPlainLinesWhereNothingMoves(t *testing.T) {
	var out bytes.Buffer

	slowly(newScreen(&out, "", false))

	want := "→ report {}\n  ⋯ report 40%\n  ⋯ report 3 of 7  page\uFFFD[2J\uFFFD ✓ allowed refund_order\uFFFD\n  ← 1\n"
	if out.String() != want {
		t.Errorf("got\n%q, want\n%q", out.String(), want)
	}
}

func TestProgressInJSONCannotCommandATerminal(t *testing.T) {
	var out bytes.Buffer

	slowly(newScreen(&out, "", true))

	if n := strings.Count(out.String(), `"toolCallProgress":`); n != 3 || strings.ContainsFunc(out.String(), hidden) {
		t.Errorf("got %q, want 3 of them and no controls", out.String())
	}
}

// slowly is a call that tells how far it is, even when it is over.
func slowly(s *screen) {
	for _, e := range []*behalfv1.Event{
		{Body: &behalfv1.Event_ToolCallRequested{ToolCallRequested: &behalfv1.ToolCallRequested{Tool: "report", ArgumentsJson: "{}"}}},
		{Body: &behalfv1.Event_ToolCallProgress{ToolCallProgress: &behalfv1.ToolCallProgress{Progress: 40, Total: 100}}},
		{Body: &behalfv1.Event_ToolCallProgress{ToolCallProgress: &behalfv1.ToolCallProgress{Progress: 3, Total: 7, Message: hostileMessage}}},
		{Body: &behalfv1.Event_ToolCallFinished{ToolCallFinished: &behalfv1.ToolCallFinished{ResultJson: "1"}}},
		{Body: &behalfv1.Event_ToolCallProgress{ToolCallProgress: &behalfv1.ToolCallProgress{Progress: 5}}},
	} {
		e.CallId = "run_1/4"
		s.show(e)
	}
}

// A line that wraps could not be taken back, and a long text would fill the screen.
func TestAMovingLineFitsItsLine(t *testing.T) {
	var out bytes.Buffer
	(&movingLine{}).show(&out, strings.Repeat("漢", 200), false)
	if got := out.String(); got != strings.Repeat("漢", 39) {
		t.Errorf("got %d characters, want 39 of two columns each", len([]rune(got)))
	}

	out.Reset()
	(&movingLine{}).show(&out, strings.Repeat("a", 200), true)
	if !regexp.MustCompile(`^\x1b\[2ma{79}\x1b\[0m$`).MatchString(out.String()) {
		t.Errorf("got %q, want 79 characters, dim", out.String())
	}
	if movingFor(io.Discard) != nil {
		t.Error("what is no terminal has a line that moves")
	}
}
