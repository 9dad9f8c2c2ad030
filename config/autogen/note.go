package autogen

import (
	"fmt"

	"github.com/behalf-dev/behalf/config"
)

// Kind says what became of something that could not be kept as it was.
type Kind string

// Kinds of notes.
const (
	Lost    Kind = "lost"    // it is not in the result
	Unbound Kind = "unbound" // the result names it, and nobody brings it yet: the server does not start
	Secret  Kind = "secret"  // a variable that must be set
	Renamed Kind = "renamed" // it has another name in the result
	Check   Kind = "check"   // it may have been lost before, or works differently
)

// Note is one spot where the result is not the same as what was read.
type Note struct {
	Kind Kind
	At   string // place in what was read, such as "participants[1].model_client"
	Text string // may quote what was read
}

// String gives "kind: place: text".
func (n Note) String() string {
	if n.At == "" {
		return string(n.Kind) + ": " + n.Text
	}
	return string(n.Kind) + ": " + n.At + ": " + n.Text
}

// A file is somebody else's: what is said about it is bounded.
const (
	mostNotes    = 1000
	mostProblems = 100
)

// log collects what there is to say about a file.
type log struct {
	file    string
	notes   []Note
	said    map[Note]bool
	unsaid  int // notes that were too many
	found   []config.Problem
	unfound int // problems that were too many
}

func (l *log) note(k Kind, at, text string) {
	n := Note{k, at, text}
	switch {
	case l.said[n]:
		return
	case len(l.notes) >= mostNotes:
		l.unsaid++
		return
	case l.said == nil:
		l.said = map[Note]bool{}
	}
	l.said[n] = true
	l.notes = append(l.notes, n)
}

// all are the notes, and how many there are no words for.
func (l *log) all() []Note {
	if l.unsaid == 0 {
		return l.notes
	}
	return append(l.notes, Note{Check, "", fmt.Sprintf("and %d more notes", l.unsaid)})
}

func (l *log) bad(at, message, fix string) {
	if at != "" {
		message = at + ": " + message
	}
	if len(l.found) >= mostProblems {
		l.unfound++
		return
	}
	l.found = append(l.found, config.Problem{File: l.file, Message: message, Fix: fix})
}

func (l *log) err() error {
	if len(l.found) == 0 {
		return nil
	}
	list := l.found
	if l.unfound > 0 {
		list = append(list, config.Problem{File: l.file, Message: fmt.Sprintf("has %d more problems", l.unfound), Fix: "mend these first"})
	}
	return &config.Problems{List: list}
}
