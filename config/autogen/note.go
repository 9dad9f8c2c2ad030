package autogen

import "github.com/behalf-dev/behalf/config"

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

// log collects what there is to say about a file.
type log struct {
	file  string
	notes []Note
	found []config.Problem
}

func (l *log) note(k Kind, at, text string) {
	n := Note{k, at, text}
	for _, old := range l.notes {
		if old == n {
			return
		}
	}
	l.notes = append(l.notes, n)
}

func (l *log) bad(at, message, fix string) {
	if at != "" {
		message = at + ": " + message
	}
	l.found = append(l.found, config.Problem{File: l.file, Message: message, Fix: fix})
}

func (l *log) err() error {
	if len(l.found) == 0 {
		return nil
	}
	return &config.Problems{List: l.found}
}
