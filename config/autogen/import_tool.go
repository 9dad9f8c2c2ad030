package autogen

import (
	"fmt"
	"slices"

	"github.com/behalf-dev/behalf/config"
)

// override is how a workbench shows a tool to its agent.
type override struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// tools are what an agent may call: those of its workbenches, and those that
// files of version 1 have beside them.
func (im *importer) tools(s *seat) []string {
	refs := im.each(s.children("tools"), nil)
	for _, b := range s.children("workbench") {
		switch b.class {
		case "StaticWorkbench", "StaticStreamWorkbench":
			var shown map[string]override
			b.take("tool_overrides", &shown, "an object")
			refs = append(refs, im.each(b.children("tools"), shown)...)
			b.done()
		default:
			refs = append(refs, im.foreign(b))
		}
	}
	return unique(refs)
}

// unique keeps the first of each.
func unique(list []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(one string) bool {
		twice := seen[one] || one == ""
		seen[one] = true
		return twice
	})
}

func (im *importer) each(list []*part, shown map[string]override) []string {
	var refs []string
	for _, p := range list {
		as := shown[p.said()]
		switch p.class {
		case "FunctionTool":
			refs = append(refs, im.function(p, as))
		case "AgentTool":
			refs = append(refs, im.agentTool(p, shown))
		case "TeamTool":
			refs = append(refs, im.teamTool(p, as))
		default:
			refs = append(refs, im.foreign(p))
		}
	}
	return refs
}

// function is a tool by its name. Its code is not looked at.
func (im *importer) function(p *part, as override) string {
	said := p.said()
	p.skip("name", "description", "source_code", "global_imports", "has_cancellation_support", "strict")
	p.done()
	if as != (override{}) {
		im.note(Lost, p.at, "how its workbench calls and describes it: a tool here says that itself")
	}
	return im.bind(p, said, "its Python code stays where it is")
}

// foreign is a tool or workbench of a kind that is not known here. It stands in
// the way until somebody brings a tool of its name, or takes it out.
func (im *importer) foreign(p *part) string {
	return im.bind(p, p.said(), p.class+" is not known here")
}

// bind refers to a tool by its name.
func (im *importer) bind(p *part, said, why string) string {
	tool := cleanTool(said)
	if tool == "" {
		tool = "tool"
	}
	if tool != said {
		im.note(Renamed, p.at, fmt.Sprintf("the tool %q is %s here", said, tool))
	}
	if _, clash := im.out.Tools[tool]; clash {
		im.bad(p.at, fmt.Sprintf("the tool %s is an agent elsewhere in the file, and names of tools are global here", tool), "rename one of them")
	}
	if !slices.Contains(im.opt.Tools, tool) {
		im.note(Unbound, p.at, fmt.Sprintf("nobody brings the tool %s yet (%s): the server does not start with it", tool, why))
	}
	im.used[tool] = true
	return tool
}

func (im *importer) agentTool(p *part, shown map[string]override) string {
	agent := p.child("agent")
	if agent == nil {
		im.bad(p.at, "has no agent", "")
		return ""
	}
	s := im.speaker(agent, nil)
	as := shown[s.said]
	if as.Name == "" {
		as.Name = s.said
	}
	return im.nested(p, as, config.Toolset{Agent: s.name})
}

func (im *importer) teamTool(p *part, as override) string {
	team := p.child("team")
	if team == nil {
		im.bad(p.at, "has no team", "")
		return ""
	}
	if name := p.said(); as.Name == "" {
		as.Name = name
	}
	if text := p.text("description"); as.Description == "" {
		as.Description = text
	}
	return im.nested(p, as, config.Toolset{GroupChat: im.speaker(team, nil).name})
}

// nested is an agent or team as a tool. The same one under the same name is made
// once.
func (im *importer) nested(p *part, as override, t config.Toolset) string {
	t.Description = as.Description
	if p.truth("return_value_as_last_message") {
		t.Result = "last"
	}
	p.skip("name")
	p.done()
	base := cleanTool(as.Name)
	if base == "" {
		base = "tool"
	}
	name := im.last.free(base, func(try string) bool {
		old, made := im.out.Tools[try]
		return im.used[try] || made && (old.Callee() != t.Callee() || old.Description != t.Description || old.Result != t.Result)
	})
	if name != as.Name {
		im.note(Renamed, p.at, fmt.Sprintf("the tool %q is %s here", as.Name, name))
	}
	im.out.Tools[name] = t
	return name
}
