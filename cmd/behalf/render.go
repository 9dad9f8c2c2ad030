package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// screen prints a run's events for a person: text as it comes, and beside it
// what the agents did and what was decided about it.
type screen struct {
	out    io.Writer
	indent string
	json   bool
	paint  paint
	width  int    // of a line of data; 0: all of it
	ids    bool   // name the calls that were denied, for whoever asks the record
	others string // the flags that somebody else needs to decide an approval

	calls  map[string]string // call id -> tool
	shown  map[string]bool   // messages that came as deltas
	denied map[string]bool   // call ids, of which that is all there is to say
	open   bool              // text is being written
	breaks int               // ends of lines in it that nothing has followed yet
	source string
	moving *movingLine
	tally  tally
}

// tally counts what was decided about the calls of a run.
type tally struct {
	allowed, denied int
	because, duties []string
}

// dataWidth keeps a tool's data on a line or two of a terminal; --json shows all.
const dataWidth = 160

func newScreen(out io.Writer, indent string, json bool) *screen {
	s := &screen{
		out: out, indent: indent, json: json, paint: paintFor(out), moving: movingFor(out),
		calls: map[string]string{}, shown: map[string]bool{}, denied: map[string]bool{},
	}
	if onTerminal(out) {
		s.width = dataWidth
	}
	return s
}

func (s *screen) withIDs(others string) *screen {
	s.ids, s.others = true, others
	return s
}

// jsonLine is m as one line of JSON. protojson varies its spaces on purpose.
func jsonLine(m proto.Message) (string, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var line bytes.Buffer
	err = json.Compact(&line, b)
	return escaped(line.String()), err
}

// escaped is JSON that cannot command a terminal or turn its text around. What
// could is in a string if it is anywhere, where JSON has another way to write it.
func escaped(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !hidden(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// plain writes JSON that is escaped.
type plain struct{ io.Writer }

func (w *plain) Write(b []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, escaped(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

func hidden(r rune) bool {
	return r != '\n' && unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

func (s *screen) show(e *behalfv1.Event) {
	if s.json {
		if line, err := jsonLine(e); err == nil {
			fmt.Fprintln(s.out, line)
		}
		return
	}
	switch b := e.GetBody().(type) {
	case *behalfv1.Event_TextDelta:
		s.shown[e.GetMessageId()] = true
		s.text(e.GetSource(), b.TextDelta.GetText())
	case *behalfv1.Event_Message:
		s.message(e, b.Message)
	case *behalfv1.Event_ToolCallRequested:
		s.calls[e.GetCallId()] = b.ToolCallRequested.GetTool()
		if !strings.HasPrefix(b.ToolCallRequested.GetTool(), "transfer_to_") {
			s.line("→ %s %s", clean(b.ToolCallRequested.GetTool()), s.data(b.ToolCallRequested.GetArgumentsJson()))
		}
	case *behalfv1.Event_ToolCallDecided:
		s.decided(e.GetCallId(), b.ToolCallDecided)
	case *behalfv1.Event_ToolCallProgress:
		s.progress(e.GetCallId(), b.ToolCallProgress)
	case *behalfv1.Event_ToolCallFinished:
		s.finished(e.GetCallId(), b.ToolCallFinished)
		delete(s.calls, e.GetCallId()) // what comes of its progress is late
	case *behalfv1.Event_ApprovalRequested:
		s.approval(b.ApprovalRequested)
	case *behalfv1.Event_ApprovalDecided:
		s.answered(b.ApprovalDecided)
	case *behalfv1.Event_InputRequested:
		s.line("? %s asks you: %s", clean(b.InputRequested.GetFrom()), clean(b.InputRequested.GetPrompt()))
	case *behalfv1.Event_HandedOff:
		if e.GetThread() != "" {
			return // the team says it once more
		}
		s.line("%s", s.paint.dim("⇢ "+clean(e.GetSource())+" hands over to "+clean(b.HandedOff.GetTo())))
	case *behalfv1.Event_RunFinished:
		s.end()
		if r := b.RunFinished.GetStopReason(); r != "completed" && e.GetThread() == "" {
			s.ended(b.RunFinished)
		}
	}
}

func (s *screen) decided(call string, d *behalfv1.ToolCallDecided) {
	tool, because := clean(s.calls[call]), strings.Join(d.GetPolicyIds(), ", ")
	if d.GetDecision() == behalfv1.Decision_DECISION_ALLOW {
		s.tally.allowed++
		s.tally.duties = append(s.tally.duties, d.GetDuties()...)
		duties := ""
		if len(d.GetDuties()) > 0 {
			duties = "  " + s.paint.marked("["+strings.Join(d.GetDuties(), ", ")+"]")
		}
		s.line("  %s %s  by %s%s", s.paint.good("✓ allowed"), tool, because, duties)
		return
	}
	if d.GetDecision() == behalfv1.Decision_DECISION_WAIT {
		s.line("  %s %s  by %s", s.paint.marked("… waits"), tool, because)
		return
	}
	s.tally.denied++
	s.denied[call] = true
	s.tally.because = append(s.tally.because, d.GetPolicyIds()...)
	if because != "" {
		because = "  by " + s.paint.bold(because)
	}
	if s.ids {
		because += "  " + s.paint.dim(clean(call))
	}
	s.line("  %s %s  %s%s", s.paint.bad("✗ DENIED"), tool, word(d.GetReason().String(), "ERROR_REASON_"), because)
}

func (s *screen) approval(q *behalfv1.ApprovalRequested) {
	s.line("? %s must be approved by %s: %s approvals approve %s%s", clean(q.GetTool()), clean(strings.Join(q.GetApproverRoles(), " and ")), self(), clean(q.GetApprovalId()), s.others)
	s.line("  %s", s.paint.dim("the run waits for it, also without you: Ctrl-C leaves"))
}

func (s *screen) answered(d *behalfv1.ApprovalDecided) {
	comment := ""
	if d.GetComment() != "" {
		comment = ": " + clean(d.GetComment())
	}
	switch {
	case d.GetExpired():
		s.line("! nobody approved in time")
	case d.GetDecision() == behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE:
		s.line("! approved by %s%s", clean(d.GetApprover().GetSubject()), comment)
	default:
		s.line("! refused by %s%s", clean(d.GetApprover().GetSubject()), comment)
	}
}

func (s *screen) finished(call string, f *behalfv1.ToolCallFinished) {
	if strings.HasPrefix(s.calls[call], "transfer_to_") || s.denied[call] {
		return
	}
	mark := "←"
	if f.GetFailed() {
		mark = "← failed:"
	}
	s.line("  %s", s.paint.dim(mark+" "+s.data(f.GetResultJson())))
}

// data is a tool's JSON, cut to what a terminal shows well.
func (s *screen) data(text string) string {
	r := []rune(clean(text))
	if s.width == 0 || len(r) <= s.width {
		return string(r)
	}
	return string(r[:s.width]) + "…"
}

// ended says why a run stopped before it was complete, or by which condition.
func (s *screen) ended(f *behalfv1.RunFinished) {
	text := "■ the run ended: " + ending(f)
	if f.GetState() == behalfv1.RunState_RUN_STATE_FINISHED {
		s.line("%s", s.paint.dim(text))
		return
	}
	s.line("%s", s.paint.bad(text))
}

// message shows what an agent said without deltas, such as an orchestrator's
// last word. Copies of a message, in other threads, have its id.
func (s *screen) message(e *behalfv1.Event, m *behalfv1.Message) {
	if m.GetRole() != behalfv1.Role_ROLE_ASSISTANT || m.GetText() == "" || s.shown[e.GetMessageId()] || e.GetThread() != "" {
		return
	}
	s.shown[e.GetMessageId()] = true
	s.text(e.GetSource(), m.GetText())
	s.end()
}

// gutter stands before each further line of an agent's text, which could else
// look like a line of ours.
const gutter = "  │ "

// text writes a piece of an agent's reply, with its name in front of the first.
func (s *screen) text(source, piece string) {
	if !s.open || s.source != source {
		s.end()
		fmt.Fprintf(s.out, "%s%s ", s.indent, s.paint.name(clean(source)+":"))
		s.open, s.source = true, source
	}
	for i, part := range strings.Split(strings.ReplaceAll(piece, "\t", "    "), "\n") {
		if i > 0 {
			s.breaks++
		}
		if part != "" {
			fmt.Fprint(s.out, strings.Repeat("\n"+s.indent+gutter, s.breaks), clean(part))
			s.breaks = 0
		}
	}
}

func (s *screen) line(format string, args ...any) {
	s.end()
	fmt.Fprintf(s.out, s.indent+format+"\n", args...)
}

func (s *screen) end() {
	s.moving.wipe(s.out)
	if s.open {
		fmt.Fprintln(s.out)
		s.open, s.breaks = false, 0
	}
}

// clean takes out what could command a terminal or turn the text around: what
// models and tools say is hostile (SECURITY 7.4).
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, text)
}

func word(name, prefix string) string { return strings.TrimPrefix(name, prefix) }
