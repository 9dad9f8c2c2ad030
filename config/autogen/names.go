package autogen

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// longest leaves room for "transfer_to_" in the name of a tool.
const longest = 52

// clean makes a name of ours: a-z, 0-9, _ and -, beginning with a letter.
// "WebSurfer" becomes web_surfer.
func clean(said string) string {
	var b strings.Builder
	last := byte('_')
	for i := 0; i < len(said); i++ {
		c := said[i]
		upper := c >= 'A' && c <= 'Z'
		switch {
		case upper && last != '_' && last != '-' && (said[i-1] < 'A' || said[i-1] > 'Z'):
			b.WriteByte('_')
			fallthrough
		case upper:
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
		default:
			c = '_'
		}
		if c != '_' || last != '_' {
			b.WriteByte(c)
		}
		last = c
	}
	name := strings.TrimRight(strings.TrimLeft(b.String(), "0123456789_-"), "_")
	return name[:min(len(name), longest)]
}

// cleanTool makes the name of a tool: a-z, 0-9 and _.
func cleanTool(said string) string { return strings.ReplaceAll(clean(said), "-", "_") }

// numbers are those that names were last given with.
type numbers map[string]int

// free is the first of name, name_2, name_3… that is not taken. After a hundred it
// goes on behind the last one given: a file may call everything by one name.
func (last numbers) free(name string, taken func(string) bool) string {
	try := name
	for n := 2; taken(try); n++ {
		if n == 100 {
			n = max(n, last[name]+1)
		}
		try = name + "_" + strconv.Itoa(n)
		last[name] = max(n, last[name])
	}
	return try
}

// claim gives an agent or group chat a name of its own. A team leaves the names
// of its participants alone: texts may name them.
func (im *importer) claim(p *part, said string) string {
	inside := p.inside()
	if said == im.opt.Name {
		inside = nil
	}
	name := im.last.free(cmp.Or(clean(said), "agent"), func(try string) bool { return im.taken[try] || inside[try] })
	im.taken[name] = true
	if name != said && p.left["name"] != nil {
		im.note(Renamed, p.at, fmt.Sprintf("%q is %s here; texts that name it are as they were", said, name))
	}
	return name
}

// inside are the names of participants, as far as they can be seen from outside.
func (p *part) inside() map[string]bool {
	var list []struct {
		Config struct {
			Name string `json:"name"`
		} `json:"config"`
	}
	if json.Unmarshal(p.left["participants"], &list) != nil {
		return nil // said later
	}
	names := map[string]bool{}
	for _, one := range list {
		names[clean(one.Config.Name)] = true
	}
	return names
}

// scope is who can be meant in a team: AutoGen's names, which are unique in their
// team only, and ours.
type scope struct {
	names map[string]string
	inner []*scope // of nested teams
	outer *scope
}

// find gives our name for whom a team means: somebody in it, near or far, or
// around it.
func (s *scope) find(said string) (string, bool) {
	for at := s; at != nil; at = at.outer {
		if name, ok := at.within(said); ok {
			return name, true
		}
	}
	return "", false
}

func (s *scope) within(said string) (string, bool) {
	if name, ok := s.names[said]; ok {
		return name, true
	}
	for _, in := range s.inner {
		if name, ok := in.within(said); ok {
			return name, true
		}
	}
	return "", false
}

// source is find for who says something in a team, people included.
func (s *scope) source(said string) (string, bool) {
	if name, ok := s.within(said); ok || said != "user" {
		return name, ok
	}
	return said, true
}
