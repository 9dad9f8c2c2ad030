package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/internal/typo"
)

// Problem is one thing that is wrong, where, and what to do about it. Line and
// Column count from 1; 0 means the file or the line as a whole.
type Problem struct {
	File    string
	Line    int
	Column  int
	Message string
	Fix     string
}

// String gives "file:line:column: message; fix", without what is not known.
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where += fmt.Sprintf(":%d", p.Line)
	}
	if p.Line > 0 && p.Column > 0 {
		where += fmt.Sprintf(":%d", p.Column)
	}
	if p.Fix == "" {
		return where + ": " + p.Message
	}
	return where + ": " + p.Message + "; " + p.Fix
}

// Problems is the error of a configuration that cannot be used. List is never
// empty and in the order of the file.
type Problems struct { //nolint:errname // it is several; each is a Problem
	List []Problem

	// Rest is what could be read, to look for more problems in what it names and
	// never to run it; nil if nothing could. What the list names is taken out:
	// ask Spoilt and Lost before holding its absence against anything.
	Rest *Config
}

// Error gives one problem per line.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, one := range p.List {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// In are those that are about one of the sections, such as "identity.workload", or
// about the file as a whole.
func (p *Problems) In(sections ...string) (found []Problem) {
	for _, one := range p.List {
		within := func(section string) bool {
			rest, in := strings.CutPrefix(one.Message, section)
			return in && rest != "" && strings.ContainsRune(":.[", rune(rest[0]))
		}
		if one.Line == 0 || slices.ContainsFunc(sections, within) {
			found = append(found, one)
		}
	}
	return found
}

// mostProblems are reported at once: more are no help, and cost time to find and
// to read.
const mostProblems = 100

// findings collects what is wrong, as far as somebody wants to read it.
type findings struct {
	found []Problem
	more  int // found and not kept
}

func (l *findings) report(p Problem) {
	if l.full() {
		l.more++
		return
	}
	l.found = append(l.found, p)
}

// full reports whether there are so many that nobody needs to hear of another.
func (l *findings) full() bool { return len(l.found) >= mostProblems }

// list is what was found, in the order of the file.
func (l *findings) list(file string) []Problem {
	list := sorted(l.found)
	if l.more > 0 {
		list = append(list, Problem{File: file, Message: fmt.Sprintf("has %d more problems at least", l.more), Fix: "mend these first"})
	}
	return list
}

// suggest is didYouMean, as long as anybody wants to know.
func (l *findings) suggest(word string, words func() []string) string {
	if l.full() {
		return ""
	}
	return didYouMean(word, words())
}

// these are words that are at hand.
func these(words []string) func() []string { return func() []string { return words } }

func sorted(list []Problem) []Problem {
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Fix, b.Fix))
	})
	return slices.Compact(list)
}

// mostListed bounds what is said about one wrong word.
const mostListed = 100

// didYouMean suggests the nearest of the words, else lists them.
func didYouMean(word string, words []string) string {
	if s := typo.Meant(word, words); s != "" {
		return "did you mean " + s + "?"
	}
	switch {
	case len(words) == 0:
		return "remove it"
	case len(words) > mostListed:
		return "it is none of the " + strconv.Itoa(len(words)) + " that are known here"
	}
	return "known here: " + strings.Join(slices.Compact(slices.Sorted(slices.Values(words))), ", ")
}

// list joins words as a sentence does.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
