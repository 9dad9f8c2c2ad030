package team

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
)

// GraphConfig says in which order participants speak: they are the nodes of a
// graph, and what one says opens the way to others.
type GraphConfig struct {
	Config
	Edges []Edge
	Entry []string // who begins: nil is everybody to whom no edge leads
}

// Edge leads from one participant to another. With neither If nor When it is
// open whenever From has spoken; otherwise the last message of From's turn opens
// it, and who said nothing opens none of these.
type Edge struct {
	From, To string
	If       string                  // the message must contain this text
	When     func(agents.Event) bool // must hold of the message; a function of nothing else
	Label    string                  // what When says, for readers; the team ignores it
	Group    string                  // edges that lead to To together: To's name
	Join     Join                    // of the group: JoinAll
}

// Join says how many edges of a group it takes until its node speaks.
type Join string

// Joins.
const (
	JoinAll Join = "all" // as many openings as the group has edges
	JoinAny Join = "any" // one
)

// Graph is a team's graph as data, with all defaults filled in.
type Graph struct {
	Nodes []string // the participants in their order
	Edges []Edge
	Entry []string
}

// NewGraph makes a team in which edges say who speaks next. All whose time has
// come speak at once, as one turn; when the last of them has spoken the edges
// they opened say who is next. A participant speaks once in a turn, however many
// groups called it.
//
// When nobody is next the run is completed, before any condition is asked, and
// the next one begins at the entry. A run that was stopped before goes on where
// it was; whoever was cut off in the middle of a turn speaks again.
func NewGraph(cfg GraphConfig) (*Team, error) {
	g := &graph{edges: map[string][]Edge{}, size: map[join]int{}}
	t, err := newTeam(cfg.Config, g)
	if err != nil {
		return nil, err
	}
	g.data = Graph{Nodes: t.order, Edges: slices.Clone(cfg.Edges), Entry: slices.Clone(cfg.Entry)}
	for i := range g.data.Edges {
		e := &g.data.Edges[i]
		e.Group, e.Join = cmp.Or(e.Group, e.To), cmp.Or(e.Join, JoinAll)
		g.edges[e.From] = append(g.edges[e.From], *e)
		g.size[e.join()]++
	}
	if len(cfg.Entry) == 0 {
		g.data.Entry = g.data.roots()
	}
	if err := g.data.check(cfg.Until != nil || cfg.MaxTurns > 0); err != nil {
		return nil, fmt.Errorf("graph %q: %w", cfg.Name, err)
	}
	return t, nil
}

// Graph is the team's graph, false for a team of another kind.
func (t *Team) Graph() (Graph, bool) {
	g, ok := t.kind.(*graph)
	if !ok {
		return Graph{}, false
	}
	d := g.data
	return Graph{Nodes: slices.Clone(d.Nodes), Edges: slices.Clone(d.Edges), Entry: slices.Clone(d.Entry)}, true
}

// roots are the nodes to which no edge leads.
func (g *Graph) roots() []string {
	return slices.DeleteFunc(slices.Clone(g.Nodes), func(name string) bool {
		return slices.ContainsFunc(g.Edges, func(e Edge) bool { return e.To == name })
	})
}

func (e *Edge) conditional() bool { return e.If != "" || e.When != nil }

func (e *Edge) join() join { return join{e.To, e.Group} }

// opens says whether the edge is open after its source's turn, whose last message
// is said, nil if there is none.
func (e *Edge) opens(said *agents.Event) bool {
	switch {
	case !e.conditional():
		return true
	case said == nil:
		return false
	case e.When != nil:
		return e.When(*said)
	}
	m := said.Body.(agents.Message)
	return strings.Contains(cmp.Or(m.Structured, m.Text), e.If)
}

// graph is the kind of team.
type graph struct {
	data  Graph
	edges map[string][]Edge // by source
	size  map[join]int      // edges of each group
}

// join is a group of edges to a node.
type join struct{ node, group string }

func (g *graph) next(_ context.Context, r *round) bool {
	return r.give(agents.SpeakerSelected{Speakers: slices.Clone(g.front(r).ready), Reason: "edge"})
}

// completed is asked when nobody speaks: the turn is over.
func (g *graph) completed(r *round) string {
	f := g.front(r)
	f.close(f.wave)
	if len(f.ready) == 0 {
		return agents.StopCompleted
	}
	return ""
}

func (g *graph) front(r *round) *front {
	return agents.Fold(r.t, g, func() *front { return newFront(g, r.team.cfg.Name) }, (*front).apply)
}

// front is how far a graph has come: a fold over the team's thread, over all runs.
type front struct {
	graph *graph
	self  string

	ready  []string     // who speaks next
	opened map[join]int // how often edges of a group were opened since it last fired

	wave  []string                 // who speaks now, nil between turns
	depth int                      // of the team's own chain
	said  map[string]*agents.Event // the last message of each of the wave
}

func newFront(g *graph, self string) *front {
	f := &front{graph: g, self: self}
	f.arm()
	return f
}

// arm sets the graph to its beginning.
func (f *front) arm() {
	f.ready, f.opened = slices.Clone(f.graph.data.Entry), map[join]int{}
}

func (f *front) apply(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		f.cut()
	case agents.SpeakerSelected:
		f.close(f.wave)
		f.ready, f.wave, f.depth = nil, b.Speakers, len(e.Chain)
		f.said = make(map[string]*agents.Event, len(b.Speakers))
	case agents.Message:
		if b.Role == agents.RoleAssistant && len(f.wave) > 0 {
			f.said[authorOf(e, f.wave, f.depth)] = e
		}
	case agents.RunFinished:
		f.finish(e)
	}
}

// finish ends a run. The team itself does so only between turns; whoever else
// does cuts the turn off.
func (f *front) finish(e *agents.Event) {
	if e.Source == f.self {
		f.close(f.wave)
	} else {
		f.cut()
	}
	if len(f.ready) == 0 {
		f.arm()
	}
}

// cut ends a turn that was cut off: who was not heard is ready again.
func (f *front) cut() {
	var heard []string
	for _, name := range f.wave {
		if f.said[name] == nil {
			f.enqueue(name)
		} else {
			heard = append(heard, name)
		}
	}
	f.close(heard)
}

// close ends a turn: what was said opens edges, and groups that are complete call
// their nodes and begin anew. Openings beyond that are not kept for later.
func (f *front) close(heard []string) {
	var fired []join
	for _, name := range heard {
		for _, e := range f.graph.edges[name] {
			if !e.opens(f.said[name]) {
				continue
			}
			j := e.join()
			f.opened[j]++
			if e.Join == JoinAny || f.opened[j] == f.graph.size[j] {
				f.enqueue(e.To)
				fired = append(fired, j)
			}
		}
	}
	for _, j := range fired {
		delete(f.opened, j)
	}
	f.wave = nil
}

func (f *front) enqueue(name string) {
	known := slices.Contains(f.graph.data.Nodes, name) // the configuration may have changed
	if known && !slices.Contains(f.ready, name) {
		f.ready = append(f.ready, name)
	}
}
