package autogen

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/config"
	"github.com/go-json-experiment/json/jsontext"
)

// Options say what a file does not.
type Options struct {
	Name  string   // of the team or agent here; empty: as the file calls it
	Pick  string   // of several, the one with this label or name
	Tools []string // that somebody brings here
	Taken []string // names that the fragment must not use: those of the file that it is for
}

// Result is what came out of an import.
type Result struct {
	Target string         // the name of the team or agent
	YAML   []byte         // a fragment of behalf.yaml
	Config *config.Config // the same, as package config reads it; no variable is set in it
	Notes  []Note         // in the order of the file
}

// importer walks a file.
type importer struct {
	log
	opt    Options
	out    config.Config
	taken  map[string]bool // names of agents and group chats
	last   numbers
	used   map[string]bool  // names of tools that stand for themselves
	made   map[string]*seat // by identity: what says the same is made once
	people map[string]*seat // by AutoGen's name, also those that are only handed to
}

// Import reads a component, a list of components or a Studio gallery. file is
// what problems call it. The error is *config.Problems.
func Import(file string, data []byte, opt Options) (*Result, error) {
	im := &importer{
		log: log{file: file}, opt: opt,
		out:   config.Config{Models: map[string]config.Model{}, Tools: map[string]config.Toolset{}, Agents: map[string]config.Agent{}, GroupChats: map[string]config.GroupChat{}},
		taken: map[string]bool{}, last: numbers{}, used: map[string]bool{}, made: map[string]*seat{}, people: map[string]*seat{},
	}
	for _, name := range opt.Taken {
		im.taken[name] = true
	}
	for _, name := range opt.Tools {
		im.used[name] = true
	}
	if err := inspect(data); err != nil {
		im.bad("", err.Error(), "")
		return nil, im.err()
	}
	target := im.target(im.choose(data))
	if err := im.err(); err != nil {
		return nil, err
	}
	return im.result(target)
}

// target imports the one that is asked for, under the name that is asked for.
func (im *importer) target(p *part) string {
	if p == nil {
		return ""
	}
	if im.opt.Name != "" {
		p.left["name"] = jsontext.Value(strconv.Quote(im.opt.Name))
		if clean(im.opt.Name) != im.opt.Name || im.taken[im.opt.Name] {
			im.bad("", fmt.Sprintf("%q cannot be its name", im.opt.Name), "use a-z, 0-9, _ and -, beginning with a letter, at most 52, and no name that is taken")
			return ""
		}
	}
	return im.speaker(p, nil).name
}

// elsewhere is the world of a fragment: what it refers to is there, and so is the
// folder of policies of the file that it becomes a part of.
var elsewhere = config.World{
	Env:  func(string) (string, bool) { return "not set", true },
	Open: func(string) (fs.File, error) { return os.DirFS(".").Open(".") },
}

// result holds what came out against package config: what does not load is not a
// result.
func (im *importer) result(target string) (*Result, error) {
	text, err := encode(&im.out)
	if err != nil {
		im.bad("", err.Error(), "")
		return nil, im.err()
	}
	cfg, err := config.Parse(im.file, append(slices.Clone(text), "policy: { dir: . }\n"...), elsewhere)
	if err != nil {
		im.bad("", "what it says does not fit together here: "+strings.ReplaceAll(err.Error(), im.file+":", "line "), "")
		return nil, im.err()
	}
	return &Result{Target: target, YAML: text, Config: cfg, Notes: im.all()}, nil
}

// choose finds the component that is meant.
func (im *importer) choose(raw jsontext.Value) *part {
	root := &part{importer: im, left: map[string]jsontext.Value{"components": raw}}
	if raw.Kind() != '[' {
		root = im.object(raw, "")
	}
	var all []*part
	switch shelves := root.left["components"]; {
	case im.found != nil:
		return nil
	case shelves == nil:
		return im.open(raw, "")
	case shelves.Kind() == '[':
		all = root.children("components")
	default: // a gallery
		shelf := im.object(shelves, "components")
		all = append(shelf.children("teams"), shelf.children("agents")...)
	}
	if im.found != nil {
		return nil
	}
	return im.pick(all)
}

func (im *importer) pick(all []*part) *part {
	var fit []*part
	for _, p := range all {
		if im.opt.Pick == "" || im.opt.Pick == p.label || im.opt.Pick == p.said() {
			fit = append(fit, p)
		}
	}
	if len(fit) == 1 {
		return fit[0]
	}
	var lines []string
	for _, p := range all {
		lines = append(lines, fmt.Sprintf("\n    %s %q, called %q", p.class, cmp.Or(p.label, p.said()), p.said()))
	}
	im.bad("", fmt.Sprintf("%d of the %d components in it are meant:%s", len(fit), len(all), strings.Join(lines, "")), "choose one with --label")
	return nil
}

// said is how a file calls a component; its class, if it does not.
func (p *part) said() string {
	name := &part{importer: p.importer, at: p.at, left: map[string]jsontext.Value{"name": p.left["name"]}}
	if p.left["name"] == nil {
		name.left = nil
	}
	return cmp.Or(name.text("name"), p.label, p.class)
}

// seat is an agent or a team and its name here.
type seat struct {
	*part
	name  string
	said  string
	inner *scope  // of a team
	rows  []*part // of a filter around it, not read yet
	old   bool    // made before
}

// seat gives a component its name, which others may refer to before it is made.
func (im *importer) seat(p *part) *seat {
	key := p.identity()
	if old := im.made[key]; old != nil && key != "" {
		return &seat{part: p, said: old.said, name: old.name, inner: old.inner, old: true}
	}
	said := p.said()
	s := &seat{part: p, said: said, inner: &scope{names: map[string]string{}}}
	known := im.people[said]
	if p.class == "UserProxyAgent" && known != nil && known.part == nil {
		s.name = known.name // somebody handed to them before they were met
	} else {
		s.name = im.claim(p, said)
	}
	if p.class == "UserProxyAgent" && (known == nil || known.part == nil) {
		im.people[said] = s
	}
	if p.skip("name"); key != "" {
		im.made[key] = s
	}
	return s
}

// speaker imports an agent or team in a place where it has no neighbours.
func (im *importer) speaker(p *part, outer *scope) *seat {
	s := im.seat(p)
	im.fill(s, outer)
	return s
}

// fill makes what sits there. Its neighbours have names by now.
func (im *importer) fill(s *seat, around *scope) {
	if s.old {
		return
	}
	agent := im.agents()[s.class]
	kind, team := teams[s.class]
	switch {
	case team:
		s.inner.outer = around
		im.out.GroupChats[s.name] = im.team(s, kind)
	case agent != nil:
		im.out.Agents[s.name] = agent(s, around)
	case s.class != "":
		im.bad(s.at, fmt.Sprintf("%s is not known here as an agent or a team", s.class), "known are "+strings.Join(im.known(), ", "))
		return
	}
	s.done()
}

func (im *importer) known() []string {
	var all []string
	for class := range im.agents() {
		all = append(all, class)
	}
	for class := range teams {
		all = append(all, class)
	}
	slices.Sort(all)
	return all
}
