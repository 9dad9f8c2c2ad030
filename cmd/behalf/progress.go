package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

// progress shows how far a call is: on a terminal in one line that goes with the next
// thing that is shown, else in a line of its own. Of a call that is not known, or has
// its result, it shows nothing.
func (s *screen) progress(call string, p *behalfv1.ToolCallProgress) {
	tool := s.calls[call]
	if tool == "" {
		return
	}
	text := "  ⋯ " + clean(tool) + " " + howFar(p)
	if p.GetMessage() != "" {
		text += "  " + clean(p.GetMessage())
	}
	if s.moving == nil {
		s.line("%s", text)
		return
	}
	s.end()
	s.moving.show(s.out, s.indent+text, s.paint)
}

// howFar is 40%, 3 of 10 or 3.
func howFar(p *behalfv1.ToolCallProgress) string {
	done, total := p.GetProgress(), p.GetTotal()
	switch {
	case total == 100 && done <= total:
		return number(done) + "%"
	case total > 0:
		return number(done) + " of " + number(total)
	}
	return number(done)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }

// movingLine is a line of a terminal that is written anew again and again. Nil is
// a place where that cannot be done.
type movingLine struct{ open bool }

func movingFor(out io.Writer) *movingLine {
	if !onTerminal(out) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &movingLine{}
}

// show writes the line, cut to what any terminal has: one that wraps could not be
// taken back.
func (m *movingLine) show(out io.Writer, text string, p paint) {
	fmt.Fprint(out, p.dim(fitted(text, lineWidth-1)))
	m.open = true
}

// wipe makes room for what follows.
func (m *movingLine) wipe(out io.Writer) {
	if m != nil && m.open {
		fmt.Fprint(out, "\r\x1b[K")
		m.open = false
	}
}

// fitted cuts a text to so many columns. Beyond Latin a character may need two.
func fitted(text string, columns int) string {
	for i, r := range text {
		width := 1
		if r > 0x2FF && r != '⋯' {
			width = 2
		}
		if columns -= width; columns < 0 {
			return text[:i]
		}
	}
	return text
}
