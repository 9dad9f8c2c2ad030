package engine

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/behalf-dev/behalf/policy/redact"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// notApplicable is the validator's word for a policy that is about other
// actions; every policy is checked against schemas that it is not about.
const notApplicable = "unable to find an applicable action given the policy scope constraints"

// unknownAction is how it begins to say that an action does not exist.
const unknownAction = "unrecognized action `"

// checkAll checks each policy as the schema sees it.
func (l *loader) checkAll() {
	for _, r := range l.rules {
		l.checkNames(r)
		tools := l.schema.toolsOf(r)
		l.checkTypes(r, tools)
		l.checkHas(r, tools)
		l.checkDuties(r)
		l.checkRedact(r, tools)
		l.lint(r)
	}
}

// checkNames refuses entities that do not exist: a misspelt tool in a forbid
// would silently forbid nothing.
func (l *loader) checkNames(r *rule) {
	r.literals(func(uid types.EntityUID) {
		switch known := l.schema.knows(uid); {
		case known:
		case l.schema.unsure(uid.Type):
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s: nobody has told of %s yet%s", r.at, r.id, uid, l.schema.meant(uid)))
		default:
			l.add(r.at, fmt.Sprintf("there is no %s%s", uid, l.schema.meant(uid)))
		}
	})
	for _, uid := range scopeEntities(r.head().Resource) {
		tool := uid.Type == TypeTool && l.schema.tools[string(uid.ID)] == nil
		empty := uid.Type == TypeToolset && !l.schema.hasTools(string(uid.ID))
		r.resting = r.resting || l.schema.absent && (tool || empty)
	}
}

func (s *schema) knows(uid types.EntityUID) bool {
	id := string(uid.ID)
	switch uid.Type {
	case TypeAction:
		return s.actions[id]
	case TypeTool:
		return s.tools[id] != nil
	case TypeToolset:
		return s.toolsets[id]
	case TypeAgent:
		return s.agents == nil || s.agents[id]
	case TypeGroupChat:
		return s.chats == nil || s.chats[id]
	}
	return true
}

// unsure reports whether a name that is not known may be one all the same.
func (s *schema) unsure(t types.EntityType) bool {
	return t == TypeTool && s.absent || t == TypeToolset && s.lost
}

// meant is the end of a sentence about an entity that does not exist.
func (s *schema) meant(uid types.EntityUID) string {
	var names []string
	switch uid.Type {
	case TypeAction:
		names = slices.Collect(maps.Keys(s.actions))
	case TypeTool:
		names = slices.Collect(maps.Keys(s.tools))
	case TypeToolset:
		names = slices.Collect(maps.Keys(s.toolsets))
	case TypeAgent:
		names = slices.Collect(maps.Keys(s.agents))
	case TypeGroupChat:
		names = slices.Collect(maps.Keys(s.chats))
	}
	return typo.DidYouMean(string(uid.ID), names)
}

func (s *schema) hasTools(toolset string) bool {
	for _, t := range s.tools {
		if t.toolset == toolset {
			return true
		}
	}
	return false
}

// toolsOf lists the tools that the policy's head can match, sorted.
func (s *schema) toolsOf(r *rule) []*toolSchema {
	p := r.head()
	var found []*toolSchema
	if !slices.ContainsFunc([]string{ActionCallTool, ActionActForOther}, func(a string) bool { return matchesAction(p.Action, a) }) {
		return nil
	}
	for _, t := range s.tools {
		if matchesTool(p.Resource, t) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *toolSchema) int { return cmp.Compare(a.name, b.name) })
	return found
}

func matchesAction(scope ast.IsActionScopeNode, action string) bool {
	if _, all := scope.(ast.ScopeTypeAll); all {
		return true
	}
	return slices.Contains(scopeEntities(scope), actionUID(action))
}

func matchesTool(scope ast.IsResourceScopeNode, t *toolSchema) bool {
	is := func(uid types.EntityUID) bool {
		return uid == types.EntityUID{Type: TypeTool, ID: types.String(t.name)}
	}
	in := func(uid types.EntityUID) bool {
		return is(uid) || uid == types.EntityUID{Type: TypeToolset, ID: types.String(t.toolset)}
	}
	switch s := scope.(type) {
	case ast.ScopeTypeAll:
		return true
	case ast.ScopeTypeEq:
		return is(s.Entity)
	case ast.ScopeTypeIn:
		return in(s.Entity)
	case ast.ScopeTypeIs:
		return s.Type == TypeTool
	case ast.ScopeTypeIsIn:
		return s.Type == TypeTool && in(s.Entity)
	}
	return false
}

// checkTypes runs the strict validator for the RPCs and for each tool. That a
// policy is not about one of them is no problem; that it is about none, is.
func (l *loader) checkTypes(r *rule, tools []*toolSchema) {
	foreign, unknown := 0, false
	report := func(texts []string, where string, args ...string) {
		for _, text := range texts {
			switch {
			case text == notApplicable:
				foreign++
			case strings.HasPrefix(text, unknownAction):
				unknown = true // checkNames has said so
			default:
				l.add(r.at, text+where+attributeMeant(text, args))
			}
		}
	}
	report(l.schema.rpc.policy(r.head()), "")
	schemas := 1
	switch {
	case r.resting:
		return
	case len(tools) == 0 || !r.needs.has(fieldArgs): // one stands for all
		schemas++
		report(l.schema.bare.policy(r.head()), "")
	default:
		for _, t := range tools {
			schemas++
			report(l.checker(t).policy(r.head()), " (for tool "+t.name+")", t.argumentNames()...)
		}
	}
	if foreign == schemas && !unknown {
		l.add(r.at, "the policy's head can match no action")
	}
}

// attribute is how the validator begins to say that the context lacks one.
var attribute = regexp.MustCompile("^attribute `([^`]+)` in context for .* not found$")

// attributeMeant is the end of a sentence about a field that the context lacks.
func attributeMeant(text string, args []string) string {
	m := attribute.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	known := slices.Clone(args)
	for _, name := range contextNames() {
		known = append(known, string(name))
	}
	return typo.DidYouMean(m[1], known)
}

func (t *toolSchema) argumentNames() []string {
	var names []string
	for name := range t.args.Attributes() {
		names = append(names, string(name))
	}
	return names
}

// checker is the tool's, made once per load.
func (l *loader) checker(t *toolSchema) *checker {
	if l.checkers[t] == nil {
		l.checkers[t] = newChecker(l.schema.toolActions(t.args, everything))
	}
	return l.checkers[t]
}

func isContext(n ast.IsNode) bool {
	v, ok := n.(ast.NodeTypeVariable)
	return ok && v.Name == "context"
}

func isArgs(n ast.IsNode) bool {
	a, ok := n.(ast.NodeTypeAccess)
	return ok && a.Value == "args" && isContext(a.Arg)
}

// checkHas finds the typo that types allow: `context.args has amuont` is false
// for every tool, and the forbid behind it would never bite.
func (l *loader) checkHas(r *rule, tools []*toolSchema) {
	if r.resting {
		return
	}
	r.inspect(func(n ast.IsNode) {
		h, ok := n.(ast.NodeTypeHas)
		if !ok || !isArgs(h.Arg) {
			return
		}
		if !slices.ContainsFunc(tools, func(t *toolSchema) bool { return t.has(h.Value) }) {
			l.add(r.at, fmt.Sprintf("no tool that the policy's head can match has an argument %q that policies can see", h.Value))
		}
	})
}

func (t *toolSchema) has(name types.String) bool {
	_, ok := t.args.Attributes()[name]
	return ok
}

// checkRedact makes sure that a redaction can be applied to what it names: on
// calls of tools, where alone there are arguments and results, and for what models
// say also on runs.
func (l *loader) checkRedact(r *rule, tools []*toolSchema) {
	if len(r.paths) == 0 || r.resting {
		return
	}
	if !l.redactable(r) {
		return
	}
	for _, p := range r.paths {
		switch {
		case p.Class != 0:
		case p.Place == redact.PlaceArgs:
			l.checkArgsPath(r, p, tools)
		case p.Place == redact.PlaceResult:
			l.checkResultPath(r, p, tools)
		}
	}
}

func (l *loader) redactable(r *rule) bool {
	switch {
	case r.onlyOn(ActionCallTool):
		return true
	case slices.ContainsFunc(r.paths, redact.Item.OfCall):
		l.add(r.at, `@redact needs action == Action::"call_tool" in the policy's head`)
		return false
	case !r.onlyOn(runActions...):
		l.add(r.at, `@redact of stream: needs action == Action::"call_tool", "run_agent" or "run_group_chat" (or a list of the last two) in the policy's head`)
		return false
	}
	return true
}

func (l *loader) checkArgsPath(r *rule, p redact.Item, tools []*toolSchema) {
	found := false
	for _, t := range tools {
		for _, hit := range t.args.Resolve(p.Path[1:]) {
			found = true
			if !hit.FreeText() {
				l.add(r.at, fmt.Sprintf("@redact args:%s is not a free string in the arguments of tool %s", p.Text, t.name))
			}
		}
	}
	if !found {
		l.add(r.at, fmt.Sprintf("@redact args:%s names nothing in the arguments of any tool that the policy's head can match", p.Text))
	}
}

// checkResultPath refuses a path that no result of a tool can have: a typing
// error there would show what was to be hidden. Tools that do not say what their
// results look like, and results with free names, may have anything.
func (l *loader) checkResultPath(r *rule, p redact.Item, tools []*toolSchema) {
	for _, t := range tools {
		if t.result == nil || t.result.MayHave(p.Path[1:]) {
			return
		}
	}
	if len(tools) > 0 {
		l.add(r.at, fmt.Sprintf("@redact result:%s names nothing in the results of any tool that the policy's head can match", p.Text))
	}
}
