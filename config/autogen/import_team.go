package autogen

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/config"
	"github.com/go-json-experiment/json/jsontext"
)

// teams are the classes of group chats.
var teams = map[string]string{
	"RoundRobinGroupChat": config.RoundRobin, "SelectorGroupChat": config.Selector, "Swarm": config.Swarm,
	"GraphFlow": config.Graph, "MagenticOneGroupChat": config.Magentic,
}

// Prompts that are left out of a fragment because they are the default here too,
// and that an export writes because AutoGen requires them.
const (
	selectorPrompt = `You are in a role play game. The following roles are available:
{roles}.
Read the following conversation. Then select the next role from {participants} to play. Only return the role.

{history}

Read the above conversation. Then select the next role from {participants} to play. Only return the role.
`
	finalPrompt = "The task was:\n{task}\n\nIt is done. From the conversation above, write the final answer for the person who asked."
)

func (im *importer) team(s *seat, kind string) config.GroupChat {
	g := config.GroupChat{Kind: kind, Description: s.text("description")}
	seats := im.seats(s)
	for _, one := range seats {
		im.fill(one, s.inner)
		g.Participants = append(g.Participants, config.Participant{Name: one.name})
		s.inner.inner = append(s.inner.inner, one.inner)
	}
	for i, one := range seats {
		g.Participants[i].Filter = one.rowsIn(s.inner)
	}
	g.MaxTurns = s.count("max_turns")
	if c := s.child("termination_condition"); c != nil {
		g.Termination = im.condition(c, s.inner)
	}
	s.skip("emit_team_events", "model_client_streaming") // events are always shown
	s.lose("functions are not in the file of a team: a model chooses", "selector_func", "candidate_func")
	s.lose("unknown messages are refused here", "custom_message_types")
	switch kind {
	case config.Selector:
		im.selector(s, &g)
	case config.Magentic:
		im.magentic(s, &g)
	case config.Graph:
		im.graph(s, &g)
	}
	return g
}

// seats gives everybody a name before anybody is made.
func (im *importer) seats(s *seat) []*seat {
	var seats []*seat
	for _, p := range s.children("participants") {
		around := p.said()
		one := im.guest(p)
		for _, said := range []string{around, one.said} {
			if old, twice := s.inner.names[said]; twice && old != one.name {
				im.bad(p.at, fmt.Sprintf("%q is the name of another participant too", said), "")
			}
			s.inner.names[said] = one.name
		}
		seats = append(seats, one)
	}
	return seats
}

// guest unwraps a filter: here it belongs to the place in the team.
func (im *importer) guest(p *part) *seat {
	if p.class != "MessageFilterAgent" {
		return im.seat(p)
	}
	inner := p.child("wrapped_agent")
	if inner == nil {
		im.bad(p.at, "wraps nobody", "")
		return im.seat(p)
	}
	s := im.seat(inner)
	if p.said() != s.said {
		im.note(Renamed, p.at, fmt.Sprintf("%q filters for %s, which is heard under its own name", p.said(), s.name))
	}
	var filter jsontext.Value
	if p.take("filter", &filter, "an object") {
		f := im.object(filter, p.below("filter"))
		s.rows = f.objects("per_source")
		f.done()
	}
	p.skip("name")
	p.done()
	return s
}

// objects reads a list of objects that are no components.
func (p *part) objects(key string) []*part {
	var list []jsontext.Value
	p.take(key, &list, "a list")
	rows := make([]*part, len(list))
	for i, raw := range list {
		rows[i] = p.object(raw, fmt.Sprintf("%s[%d]", p.below(key), i))
	}
	return rows
}

// rowsIn reads what of whom is heard, once all names are known.
func (s *seat) rowsIn(around *scope) []config.Filter {
	var filter []config.Filter
	for _, row := range s.rows {
		said, position, n := row.text("source"), row.text("position"), row.count("count")
		f := config.Filter{}
		switch position {
		case "first":
			f.First = max(n, 1)
		case "last":
			f.Last = max(n, 1)
		}
		var known bool
		if f.Source, known = around.source(said); known && f.Source != s.name {
			filter = append(filter, f)
		} else {
			s.note(Lost, row.at, fmt.Sprintf("nobody else here is %q, so nothing of theirs is heard", said))
		}
		row.done()
	}
	return filter
}

func (im *importer) selector(s *seat, g *config.GroupChat) {
	g.Model = im.modelOf(s)
	if prompt := s.text("selector_prompt"); strings.TrimSpace(prompt) != strings.TrimSpace(selectorPrompt) {
		g.Prompt = prompt
	}
	g.AllowRepeatedSpeaker = s.truth("allow_repeated_speaker")
	g.MaxAttempts = cmp.Or(s.count("max_selector_attempts"), 3)
	if w := im.window(s); w != nil {
		if g.History = w.Buffered; g.History == 0 {
			im.note(Lost, s.below("model_context"), "a selector here reads all messages or the last ones: it reads all")
		}
	}
	im.note(Check, s.at, "AutoGen never exports selector_func and candidate_func: if there was one, the model chooses now")
}

func (im *importer) magentic(s *seat, g *config.GroupChat) {
	g.Model = im.modelOf(s)
	g.MaxStalls = cmp.Or(s.count("max_stalls"), 3)
	// The default of AutoGen has {task} in it, and so has ours.
	if prompt := s.text("final_answer_prompt"); !strings.Contains(prompt, "{task}") {
		g.FinalPrompt = prompt
	} else if prompt != finalPrompt {
		im.note(Check, s.below("final_answer_prompt"), "has {task} in it, as the default has: the default of here is asked")
	}
	if g.MaxTurns == 0 {
		im.note(Check, s.below("max_turns"), "none: here it stops after 20 turns")
	}
}

func (im *importer) graph(s *seat, g *config.GroupChat) {
	var raw jsontext.Value
	if !s.take("graph", &raw, "an object") {
		im.bad(s.at, "has no graph", "")
		return
	}
	p := im.object(raw, s.below("graph"))
	if entry := p.text("default_start_node"); entry != "" {
		g.Entry = im.member(s, p.below("default_start_node"), entry)
	}
	nodes := &part{importer: im, at: p.below("nodes")}
	p.take("nodes", &nodes.left, "an object")
	p.done()
	for _, one := range g.Participants { // an object has no order
		for said, node := range nodes.left {
			if s.inner.names[said] == one.Name {
				delete(nodes.left, said)
				g.Edges = append(g.Edges, im.node(s, one.Name, im.object(node, nodes.below(said)))...)
			}
		}
	}
	nodes.done()
	im.openEdges(s, g)
}

// openEdges names the edges that may have had a function once.
func (im *importer) openEdges(s *seat, g *config.GroupChat) {
	var always []string
	for _, e := range g.Edges {
		if e.If == "" {
			always = append(always, e.From+" to "+e.To)
		}
	}
	if len(always) > 0 {
		im.note(Check, s.below("graph"), "AutoGen exports an edge with a function as one without a condition: if there was one, it is lost at "+strings.Join(always, ", "))
	}
}

func (im *importer) node(s *seat, from string, node *part) []config.Edge {
	var edges []config.Edge
	for _, e := range node.objects("edges") {
		said := e.text("target")
		one := config.Edge{From: from, To: im.member(s, e.at, said), If: e.text("condition"), Join: e.text("activation_condition")}
		if group := e.text("activation_group"); group != said {
			one.Group = clean(group)
		}
		if one.Join == "all" {
			one.Join = ""
		}
		edges = append(edges, one)
		e.lose("functions are not in the file of a team: the edge is as open as the rest of it says", "condition_function")
		e.done()
	}
	if activation := node.text("activation"); activation == "any" {
		im.note(Lost, node.below("activation"), "of a node it has no effect in AutoGen either; activation_condition of its edges has")
	}
	node.skip("name")
	node.done()
	return edges
}

func (im *importer) member(s *seat, at, said string) string {
	name, ok := s.inner.names[said]
	if !ok {
		im.bad(at, fmt.Sprintf("%q is no participant", said), "")
	}
	return name
}
