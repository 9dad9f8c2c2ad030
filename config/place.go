package config

import (
	"iter"
	"strconv"
	"strings"
)

// place is where a value is: "agents.support.tools[0]". What is not a plain word
// is quoted: `identity.workload.tenants["corp.example"]`.
type place string

func (p place) key(k string) place {
	switch {
	case !isWord(k):
		return p + place("["+quote(k)+"]")
	case p == "":
		return place(k)
	}
	return p + "." + place(k)
}

func (p place) item(i int) place { return p + place("["+strconv.Itoa(i)+"]") }

// around yields p and what it is in, from the inside out.
func (p place) around() iter.Seq[place] {
	return func(yield func(place) bool) {
		for i := len(p); i > 0; i-- {
			if (i == len(p) || p[i] == '.' || p[i] == '[') && !yield(p[:i]) {
				return
			}
		}
	}
}

func isWord(k string) bool {
	if k == "" || len(k) > 64 {
		return false
	}
	for _, c := range []byte(k) {
		if !isLower(c) && !isDigit(c) && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// quote shows text that somebody wrote: on one line and not too long.
func quote(text string) string {
	const most = 60
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}

type mark struct{ line, column int }

// places says where the file has what: a scalar's own place, a key's for the
// mapping or list behind it.
type places struct {
	file   string
	marks  map[place]mark
	spoilt map[place]bool // reported and taken out: no further problems there
}

// isSpoilt reports whether p or what it is in was taken out.
func (s places) isSpoilt(p place) bool {
	for q := range p.around() {
		if s.spoilt[q] {
			return true
		}
	}
	return s.spoilt[""]
}

// isThin reports whether something in p was taken out.
func (s places) isThin(p place) bool {
	for q := range s.spoilt {
		if strings.HasPrefix(string(q), string(p)+"[") || strings.HasPrefix(string(q), string(p)+".") {
			return true
		}
	}
	return false
}

// lost reports whether p or something directly in it was taken out. What is
// quoted is a key that is no name, and nothing is below it.
func (s places) lost(p place) bool {
	for q := range s.spoilt {
		rest, in := strings.CutPrefix(string(q), string(p))
		if in && rest != "" && (rest[0] == '[' || rest[0] == '.' && !strings.ContainsAny(rest[1:], ".[")) {
			return true
		}
	}
	return s.isSpoilt(p)
}

func (s places) has(p place) bool {
	_, ok := s.marks[p]
	return ok
}

// nearest is the mark of p, or of what is around it.
func (s places) nearest(p place) mark {
	for q := range p.around() {
		if m, ok := s.marks[q]; ok {
			return m
		}
	}
	return mark{}
}

func (s places) problem(p place, message, fix string) Problem {
	m := s.nearest(p)
	if p != "" {
		message = string(p) + ": " + message
	}
	return Problem{File: s.file, Line: m.line, Column: m.column, Message: message, Fix: fix}
}
