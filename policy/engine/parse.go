package engine

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	cedar "github.com/cedar-policy/cedar-go"
)

// maxNesting bounds brackets, because Cedar's parser is recursive and a stack
// overflow cannot be recovered.
const maxNesting = 128

// parse adds the policies of one file. The parser stops at its first error, so
// a broken file is parsed again statement by statement to find all of them.
func (l *loader) parse(file, tenant string, src []byte) {
	stmts, deepest := statements(string(src))
	if deepest > maxNesting {
		l.add(position{file: file}, "brackets are nested too deeply")
		return
	}
	whole, err := parseCedar(src)
	if err == nil {
		l.addPolicies(whole, position{file: file, line: 1, column: 1}, tenant)
		return
	}
	before := len(l.problems)
	for _, s := range stmts {
		s.at.file = file
		list, err := parseCedar([]byte(s.text))
		if err != nil {
			l.addParseError(s.at, err)
			continue
		}
		l.addPolicies(list, s.at, tenant)
	}
	if len(l.problems) == before {
		l.addParseError(position{file: file, line: 1, column: 1}, err)
	}
}

func parseCedar(src []byte) (list cedar.PolicyList, err error) {
	defer recoverTo(&err)
	err = list.UnmarshalCedar(src)
	return list, err
}

func (l *loader) addPolicies(list cedar.PolicyList, origin position, tenant string) {
	for _, p := range list {
		at := origin.shift(p.Position().Line, p.Position().Column)
		if r := l.newRule(p, at, tenant); r != nil {
			l.rules = append(l.rules, r)
		}
	}
}

// parserPlace begins how the parser says where: "<input>:2:14".
const parserPlace = "<input>:"

func (l *loader) addParseError(origin position, err error) {
	text := strings.TrimPrefix(err.Error(), "parser error: ")
	at := origin
	if before, place, ok := strings.Cut(text, parserPlace); ok {
		var line, column int
		_, _ = fmt.Sscanf(place, "%d:%d", &line, &column)
		at = origin.shift(line, column)
		text = strings.TrimPrefix(before, "parse error at ") + strings.TrimLeft(place, "0123456789: ")
	}
	l.add(at, "cannot be parsed: "+plainer(text))
}

// wanted is how the parser says what is missing: `"permit": exact got permit want ;`.
var wanted = regexp.MustCompile(`^".*": exact got (.*) want (.*)$`)

// plainer says it the way a person does.
func plainer(text string) string {
	m := wanted.FindStringSubmatch(text)
	switch {
	case m == nil:
		return "near " + text
	case m[1] == "":
		return fmt.Sprintf("the text ends, and %q is missing", m[2])
	}
	return fmt.Sprintf("%q is missing before %q", m[2], m[1])
}

// shift turns a place inside a statement into a place inside its file.
func (p position) shift(line, column int) position {
	if line <= 1 {
		return position{p.file, p.line, p.column + column - 1}
	}
	return position{p.file, p.line + line - 1, column}
}

type statement struct {
	text string
	at   position
}

// statements splits a source at the semicolons outside of strings and comments.
// It also tells how deep brackets nest.
func statements(src string) (list []statement, deepest int) {
	s := splitter{line: 1, column: 1}
	s.begin()
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRuneInString(src[i:])
		i += size
		s.step(r, i, src)
	}
	if rest := strings.TrimSpace(src[s.start:]); rest != "" {
		s.list = append(s.list, statement{src[s.start:], s.at})
	}
	return s.list, s.deepest
}

type splitter struct {
	line, column, start int
	at                  position
	quoted, comment     bool
	last                rune
	depth, deepest      int
	list                []statement
}

func (s *splitter) begin() { s.at = position{line: s.line, column: s.column} }

// step takes one rune; next is the offset behind it.
func (s *splitter) step(r rune, next int, src string) {
	ends := s.classify(r)
	s.column++
	if r == '\n' {
		s.line, s.column, s.comment = s.line+1, 1, false
	}
	if ends {
		s.list = append(s.list, statement{src[s.start:next], s.at})
		s.start, s.depth = next, 0
		s.begin()
	}
}

// classify keeps track of strings, comments and brackets, and reports whether r
// ends a statement.
func (s *splitter) classify(r rune) bool {
	last := s.last
	s.last = r
	switch {
	case s.comment:
	case s.quoted && last == '\\':
		s.last = 0 // an escaped backslash escapes nothing
	case s.quoted:
		s.quoted = r != '"'
	case r == '"':
		s.quoted, s.last = true, 0
	case r == '/' && last == '/':
		s.comment = true
	case strings.ContainsRune("([{", r):
		s.depth++
		s.deepest = max(s.deepest, s.depth)
	case strings.ContainsRune(")]}", r):
		s.depth--
	case r == ';':
		return true
	}
	return false
}
