package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// onTerminal says whether a person looks at out while it is written.
func onTerminal(out any) bool {
	f, ok := out.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// paint puts colours around text, or leaves it alone.
type paint bool

// paintFor is colour on a terminal, unless the person does not want it
// (https://no-color.org) or the terminal cannot.
func paintFor(out io.Writer) paint {
	return paint(onTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (p paint) wrap(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) bold(text string) string   { return p.wrap("1", text) }
func (p paint) dim(text string) string    { return p.wrap("2", text) }
func (p paint) good(text string) string   { return p.wrap("32", text) }
func (p paint) bad(text string) string    { return p.wrap("1;31", text) }
func (p paint) marked(text string) string { return p.wrap("33", text) }
func (p paint) name(text string) string   { return p.wrap("1;36", text) }

// lineWidth is what any terminal has.
const lineWidth = 80

// wrapped breaks a line between words for a person, with the rest under its
// beginning; what is read by programs stays one line.
func wrapped(out any, text string) string {
	if !onTerminal(out) {
		return text
	}
	return wrap(text, lineWidth)
}

func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i > 0 && column+1+n > width:
			b.WriteString("\n  ")
			column = 2
		case i > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// self is how the person started this program, so that the commands we print
// can be pasted.
func self() string { return selfFrom(os.Args[0]) }

func selfFrom(path string) string {
	if strings.Contains(path, "go-build") { // `go run` compiles into its cache
		return "go run ./cmd/behalf"
	}
	base := filepath.Base(path)
	if found, err := exec.LookPath(base); err == nil && (base == path || found == path) {
		return base
	}
	return strings.ReplaceAll(path, " ", `\ `)
}
