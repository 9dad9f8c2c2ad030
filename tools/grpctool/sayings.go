package grpctool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/tools"
)

// What is kept of what is wrong with a backend. Each saying is a line of a log, and
// the names in it are the backend's.
const (
	maxSayings = 64
	maxSaying  = 1 << 10
)

// sayings are texts about a backend, few and short.
type sayings struct {
	kept []string
	more int
}

func (s *sayings) add(text string) {
	if len(s.kept) == maxSayings {
		s.more++
		return
	}
	s.kept = append(s.kept, oneLine(text, maxSaying))
}

// oneLine is a text of at most n bytes made fit for a log. What errors.Join put below
// each other stays apart.
func oneLine(text string, n int) string {
	return tools.Clean(strings.ReplaceAll(text, "\n", "; "), n)
}

func (s *sayings) list() []string {
	if s.more == 0 {
		return s.kept
	}
	return append(s.kept, fmt.Sprintf("and %d more", s.more))
}

func (s *sayings) err() error {
	var all []error
	for _, text := range s.list() {
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}
