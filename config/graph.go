package config

import "slices"

// Edge leads from one participant of a graph to another. With neither If nor When
// it is open whenever From has spoken.
type Edge struct {
	From  string `yaml:"from" is:"name"`
	To    string `yaml:"to" is:"name"`
	If    string `yaml:"if"`   // text in the last message
	When  string `yaml:"when"` // CEL over the last message; see Compile
	Group string `yaml:"group" is:"name"`
	Join  string `yaml:"join" enum:"all|any"` // absent: all
}

func (e *Edge) conditional() bool { return e.If != "" || e.When != "" }

// group is which edges open their node together.
func (e *Edge) group() [2]string {
	if e.Group == "" {
		return [2]string{e.To, e.To}
	}
	return [2]string{e.To, e.Group}
}

// graph checks a graph; team.NewGraph refuses the same without saying where.
type graph struct {
	*checker
	at   place
	chat GroupChat
}

func (g *graph) check() {
	if len(g.chat.Edges) == 0 {
		g.missing(g.at.key("edges"), "say who speaks after whom")
		return
	}
	members, sound := g.chat.Names(), true
	for i, e := range g.chat.Edges {
		sound = g.edge(g.at.key("edges").item(i), e, members) && sound
	}
	if entry := g.chat.Entry; entry != "" {
		g.member(g.at.key("entry"), entry, members)
		sound = sound && slices.Contains(members, entry)
	}
	if sound { // else the rest would only repeat it
		g.twice()
		g.mixes()
		g.joins()
		g.ends(members)
		g.cycles(members)
	}
}

func (g *graph) edge(at place, e Edge, members []string) bool {
	sound := !g.spoilt[at.key("if")] && !g.spoilt[at.key("when")]
	for key, who := range map[string]string{"from": e.From, "to": e.To} {
		if who == "" {
			g.missing(at.key(key), "name a participant")
		} else {
			g.member(at.key(key), who, members)
		}
		sound = sound && slices.Contains(members, who)
	}
	if e.If != "" && e.When != "" {
		g.bad(at, "has if and when together", "say one of them")
	}
	if e.When != "" {
		if _, err := Compile(e.When); err != nil {
			g.bad(at.key("when"), g.unlessReferred(at.key("when"), err.Error(), "is not a condition"), "write a CEL expression over text and source that is true or false, such as text.contains(\"APPROVE\")")
		}
	}
	return sound
}

func (g *graph) twice() {
	for i, e := range g.chat.Edges {
		same := func(o Edge) bool {
			return o.From == e.From && o.If == e.If && o.When == e.When && o.group() == e.group()
		}
		if slices.ContainsFunc(g.chat.Edges[:i], same) {
			g.bad(g.at.key("edges").item(i), "is there twice", "keep one of them")
		}
	}
}

// mixes refuses nodes that go on by what they said and go on anyway.
func (g *graph) mixes() {
	plain, first := map[string]bool{}, map[string]bool{}
	for i, e := range g.chat.Edges {
		if !first[e.From] {
			first[e.From], plain[e.From] = true, !e.conditional()
		}
		if plain[e.From] == e.conditional() {
			g.bad(g.at.key("edges").item(i), g.show(g.at.key("edges").item(i).key("from"))+" has edges with a condition and edges without", "give all of them a condition, or none")
			return
		}
	}
}

// joins refuses groups whose edges disagree.
func (g *graph) joins() {
	joins := map[[2]string]string{}
	for i, e := range g.chat.Edges {
		join := e.Join
		set(&join, "all")
		old, known := joins[e.group()]
		if known && old != join {
			g.bad(g.at.key("edges").item(i), "joins "+join+", and another edge to "+g.show(g.at.key("edges").item(i).key("to"))+" in its group joins "+old, "say the same join, or give them groups of their own")
		}
		joins[e.group()] = join
	}
}

// ends wants a beginning, an end, and a way to everybody.
func (g *graph) ends(members []string) {
	entry := g.entry(members)
	if len(entry) == 0 {
		g.bad(g.at.key("edges"), "lead to everybody, so nobody begins", "name the entry")
		return
	}
	leaf := func(name string) bool {
		return !slices.ContainsFunc(g.chat.Edges, func(e Edge) bool { return e.From == name })
	}
	if !slices.ContainsFunc(members, leaf) {
		g.bad(g.at.key("edges"), "lead on from everybody, so nobody is the last", "add a participant that no edge leads from")
	}
	for i, name := range members {
		to := func(from string) bool { return from == name || reaches(from, name, g.next) }
		if !slices.ContainsFunc(entry, to) {
			g.bad(g.at.key("participants").item(i).key("name"), "is never reached from who begins", "add an edge, make it an entry, or remove it")
		}
	}
}

func (g *graph) entry(members []string) []string {
	if g.chat.Entry != "" {
		return []string{g.chat.Entry}
	}
	return slices.DeleteFunc(slices.Clone(members), func(name string) bool {
		return slices.ContainsFunc(g.chat.Edges, func(e Edge) bool { return e.To == name })
	})
}

func (g *graph) next(from string) []string {
	var to []string
	for _, e := range g.chat.Edges {
		if e.From == from {
			to = append(to, e.To)
		}
	}
	return to
}

// cycles wants a way out of each cycle: an edge in it that may stay closed, and
// something that stops the chat if that never happens.
func (g *graph) cycles(members []string) {
	always := func(from string) []string {
		var to []string
		for _, e := range g.chat.Edges {
			if e.From == from && !e.conditional() {
				to = append(to, e.To)
			}
		}
		return to
	}
	circle := func(edges func(string) []string) string {
		i := slices.IndexFunc(members, func(name string) bool { return reaches(name, name, edges) })
		if i < 0 {
			return ""
		}
		return g.show(g.at.key("participants").item(i).key("name"))
	}
	if who := circle(always); who != "" {
		g.bad(g.at.key("edges"), "go round in a circle through "+who+" without a condition", "give one of them if or when")
	} else if who := circle(g.next); who != "" && g.chat.Termination == nil && g.chat.MaxTurns == 0 {
		g.bad(g.at, "goes round in a circle through "+who+" and nothing stops it", "add termination or max_turns")
	}
}
