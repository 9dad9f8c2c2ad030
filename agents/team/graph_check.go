package team

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// check reports all that is wrong with a graph. Bounded says that a condition or
// a limit of turns stops a run that goes in circles.
func (g *Graph) check(bounded bool) error {
	problems := []error{g.checkEntry()}
	for i := range g.Edges {
		problems = append(problems, g.checkEdge(i))
	}
	if err := errors.Join(problems...); err != nil {
		return err // the rest would only repeat it
	}
	return errors.Join(
		require(slices.ContainsFunc(g.Nodes, g.leaf), "at least one leaf node is needed, that no edge leads from"),
		g.checkMixes(),
		g.checkJoins(),
		g.checkCycles(bounded),
	)
}

func (g *Graph) checkEntry() error {
	problems := []error{require(len(g.Entry) > 0, "at least one start node is needed: name an entry")}
	for i, name := range g.Entry {
		problems = append(problems,
			require(slices.Contains(g.Nodes, name), fmt.Sprintf("the entry %q is not a participant", name)),
			require(!slices.Contains(g.Entry[:i], name), fmt.Sprintf("the entry %q is named twice", name)))
	}
	return errors.Join(problems...)
}

func (g *Graph) checkEdge(i int) error {
	e := &g.Edges[i]
	name := fmt.Sprintf("edge %d from %q to %q", i+1, e.From, e.To)
	same := func(o Edge) bool {
		return e.When == nil && o.When == nil && e.From == o.From && e.If == o.If && e.join() == o.join()
	}
	return errors.Join(
		require(slices.Contains(g.Nodes, e.From), name+": who speaks first is not a participant"),
		require(slices.Contains(g.Nodes, e.To), name+": who speaks next is not a participant"),
		require(e.If == "" || e.When == nil, name+" has two conditions: set if or when"),
		require(e.Join == JoinAll || e.Join == JoinAny, fmt.Sprintf("%s: the join %q is neither all nor any", name, e.Join)),
		require(!slices.ContainsFunc(g.Edges[:i], same), name+" is there twice"),
	)
}

func (g *Graph) leaf(name string) bool {
	return !slices.ContainsFunc(g.Edges, func(e Edge) bool { return e.From == name })
}

// checkMixes refuses nodes that may go on by chance of what they said and go on
// anyway.
func (g *Graph) checkMixes() error {
	var problems []error
	for _, name := range g.Nodes {
		var kinds [2]bool
		for i := range g.Edges {
			e := &g.Edges[i]
			if e.From == name && e.conditional() {
				kinds[0] = true
			} else if e.From == name {
				kinds[1] = true
			}
		}
		problems = append(problems, require(!kinds[0] || !kinds[1], fmt.Sprintf("%q has a mix of edges with and without a condition", name)))
	}
	return errors.Join(problems...)
}

// checkJoins refuses groups whose edges disagree.
func (g *Graph) checkJoins() error {
	var problems []error
	joins := map[join]Join{}
	for i := range g.Edges {
		e := &g.Edges[i]
		j := e.join()
		if old, ok := joins[j]; ok && old != e.Join {
			problems = append(problems, fmt.Errorf("conflicting joins for %q in the group %q: all and any; give them groups of their own", j.node, j.group))
		}
		joins[j] = e.Join
	}
	return errors.Join(problems...)
}

// checkCycles wants a way out of each cycle: an edge in it that may stay closed,
// and something that stops the run if that never happens.
func (g *Graph) checkCycles(bounded bool) error {
	if circle := g.cycle(func(e *Edge) bool { return !e.conditional() }); circle != nil {
		return fmt.Errorf("cycle without an exit condition: %s", strings.Join(circle, " -> "))
	}
	circle := g.cycle(func(*Edge) bool { return true })
	return require(circle == nil || bounded,
		"a termination condition or max turns is required for a cyclic graph: "+strings.Join(circle, " -> "))
}

// cycle finds a way along some edges that comes back to where it began.
func (g *Graph) cycle(along func(*Edge) bool) []string {
	w := &walk{graph: g, along: along, done: map[string]bool{}}
	for _, name := range g.Nodes {
		if circle := w.from(name); circle != nil {
			return circle
		}
	}
	return nil
}

// walk is a search in depth.
type walk struct {
	graph *Graph
	along func(*Edge) bool
	way   []string
	done  map[string]bool // no cycle is to be found from here
}

func (w *walk) from(name string) []string {
	if i := slices.Index(w.way, name); i >= 0 {
		return append(slices.Clone(w.way[i:]), name)
	}
	if w.done[name] {
		return nil
	}
	w.way = append(w.way, name)
	for i := range w.graph.Edges {
		if e := &w.graph.Edges[i]; e.From == name && w.along(e) {
			if circle := w.from(e.To); circle != nil {
				return circle
			}
		}
	}
	w.way, w.done[name] = w.way[:len(w.way)-1], true
	return nil
}
