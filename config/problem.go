package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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

func sorted(list []Problem) []Problem {
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Fix, b.Fix))
	})
	return slices.Compact(list)
}

// didYouMean suggests the nearest of the words, else lists them.
func didYouMean(word string, words []string) string {
	if s := nearest(word, words); s != "" {
		return "did you mean " + s + "?"
	}
	if len(words) == 0 {
		return "remove it"
	}
	return "known here: " + strings.Join(slices.Compact(slices.Sorted(slices.Values(words))), ", ")
}

// nearest is the word at the smallest distance, if that is small for its length.
func nearest(word string, words []string) string {
	best, found := 1+max(1, min(len(word), 24)/3), ""
	if len(word) > 64 {
		return ""
	}
	for _, w := range slices.Sorted(slices.Values(words)) {
		if d := distance(word, w); d < best && d < len(w) {
			best, found = d, w
		}
	}
	return found
}

// distance is the number of bytes to insert, delete, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			step := 1
			if a[i-1] == b[j-1] {
				step = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+step)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// list joins words as a sentence does.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
