package autogen

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/config"
)

// exporter writes a configuration. It does not change it.
type exporter struct {
	log
	cfg   *config.Config
	known map[string][]string
	names map[string]string // ours to theirs
	used  map[string]bool   // theirs
	last  numbers
}

// component is an envelope.
type component struct {
	Provider         string         `json:"provider"`
	ComponentType    string         `json:"component_type"`
	Version          int            `json:"version"`
	ComponentVersion int            `json:"component_version"`
	Label            string         `json:"label,omitempty"`
	Config           map[string]any `json:"config"`
}

// Export writes a group chat or an agent as a component, with everything in it.
// known are the names of the tools that each toolset brings, so that toolset/*
// can be written out; what it does not have is in the notes.
func Export(cfg *config.Config, target string, known map[string][]string) ([]byte, []Note, error) {
	e := &exporter{cfg: cfg, known: known, names: map[string]string{}, used: map[string]bool{}, last: numbers{}}
	_, agent := cfg.Agents[target]
	if _, chat := cfg.GroupChats[target]; !chat && !agent {
		e.bad("", fmt.Sprintf("there is no group chat or agent %q", target), "")
		return nil, nil, e.err()
	}
	var root component
	if agent {
		root = e.agent(target, cfg.Agents[target].Handoffs)
	} else {
		root = e.team(target, nil)
	}
	if err := e.err(); err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		return nil, nil, fmt.Errorf("encode the component: %w", err)
	}
	return b.Bytes(), e.all(), nil
}

func envelope(kind, provider string, values map[string]any) component {
	for key, v := range values {
		if v == "" || v == 0 {
			delete(values, key)
		}
	}
	return component{Provider: provider, ComponentType: kind, Version: 1, ComponentVersion: 1, Config: values}
}

// name is a Python identifier for a name of ours.
func (e *exporter) name(ours string) string {
	if theirs, ok := e.names[ours]; ok {
		return theirs
	}
	theirs := e.last.free(strings.ReplaceAll(ours, "-", "_"), func(try string) bool { return e.used[try] })
	e.names[ours], e.used[theirs] = theirs, true
	if theirs != ours {
		e.note(Renamed, ours, "is "+theirs+" there; texts that name it are as they were")
	}
	return theirs
}

// lose notes keys that AutoGen has no word for.
func (e *exporter) lose(at string, keys map[string]bool) {
	for _, key := range sortedKeys(keys) {
		if keys[key] {
			e.note(Lost, at+"."+key, "AutoGen has no such thing")
		}
	}
}

// classes are the providers of group chats.
var classes = map[string]string{
	config.RoundRobin: "RoundRobinGroupChat", config.Selector: "SelectorGroupChat", config.Swarm: "Swarm",
	config.Graph: "GraphFlow", config.Magentic: "MagenticOneGroupChat",
}

// team writes a group chat that is in others, from the outermost in.
func (e *exporter) team(name string, around []string) component {
	g, at := e.cfg.GroupChats[name], "group_chats."+name
	values := map[string]any{
		"name": e.name(name), "description": g.Description, "max_turns": g.MaxTurns,
		"participants": e.participants(g, append(around[:len(around):len(around)], name)),
	}
	if g.Termination != nil {
		values["termination_condition"] = e.condition(at+".termination", g.Termination)
	}
	switch g.Kind {
	case config.Selector:
		e.selector(values, g)
	case config.Magentic:
		values["model_client"] = e.model(g.Model)
		values["max_stalls"], values["final_answer_prompt"] = cmp.Or(g.MaxStalls, 3), cmp.Or(g.FinalPrompt, finalPrompt)
		values["max_turns"] = cmp.Or(g.MaxTurns, 20)
	case config.Graph:
		values["graph"] = e.graph(at, g)
	}
	e.lose(at, map[string]bool{
		"scopes": g.Scopes != nil, "authority": g.Authority == "owner", "prompt_as_user": g.PromptAsUser, "choose": g.Choose != "", "stream": g.Stream,
		"max_replans": g.MaxReplans > 0, "max_attempts": g.Kind == config.Magentic && g.MaxAttempts > 0,
	})
	return envelope("team", "autogen_agentchat.teams."+classes[g.Kind], values)
}

func (e *exporter) selector(values map[string]any, g config.GroupChat) {
	values["model_client"] = e.model(g.Model)
	values["selector_prompt"] = cmp.Or(g.Prompt, selectorPrompt)
	values["allow_repeated_speaker"] = g.AllowRepeatedSpeaker
	values["max_selector_attempts"] = cmp.Or(g.MaxAttempts, 3)
	if g.History > 0 {
		values["model_context"] = e.window(&config.Window{Buffered: g.History}, g.Model)
	}
}

func (e *exporter) participants(g config.GroupChat, chats []string) []component {
	var all []component
	for _, p := range g.Participants {
		var one component
		if _, nested := e.cfg.GroupChats[p.Name]; nested {
			one = e.team(p.Name, chats)
		} else {
			one = e.agent(p.Name, e.cfg.Offers(p.Name, chats...))
		}
		e.lose(p.Name, map[string]bool{"scopes": p.Scopes != nil})
		if len(p.Filter) > 0 {
			one = e.filter(p, one)
		}
		all = append(all, one)
	}
	return all
}

// filter has the name of whom it is around: a graph goes by the name of the one
// who speaks.
func (e *exporter) filter(p config.Participant, inner component) component {
	var rows []map[string]any
	for _, f := range p.Filter {
		row := map[string]any{"source": e.source(f.Source)}
		switch {
		case f.First > 0:
			row["position"], row["count"] = "first", f.First
		case f.Last > 0:
			row["position"], row["count"] = "last", f.Last
		}
		rows = append(rows, row)
	}
	return envelope("agent", "autogen_agentchat.agents.MessageFilterAgent", map[string]any{
		"name": e.name(p.Name), "wrapped_agent": inner, "filter": map[string]any{"per_source": rows},
	})
}

// source leaves people their name.
func (e *exporter) source(ours string) string {
	if _, agent := e.cfg.Agents[ours]; ours == "user" && !agent {
		return ours
	}
	return e.name(ours)
}

// graph writes all nodes. An edge whose condition would be lost is an error: it
// would be open.
func (e *exporter) graph(at string, g config.GroupChat) map[string]any {
	nodes := map[string]any{}
	for _, name := range g.Names() {
		edges := []map[string]any{}
		for i, one := range g.Edges {
			if one.From != name {
				continue
			}
			edge := map[string]any{"target": e.name(one.To), "activation_group": cmp.Or(one.Group, e.name(one.To)), "activation_condition": cmp.Or(one.Join, "all")}
			if text, ok := contains(one); !ok {
				e.bad(at+".edges["+strconv.Itoa(i)+"].when", "AutoGen has no such condition, and without one the edge would be open", `say if, or when: text.contains("…")`)
			} else if text != "" {
				edge["condition"] = text
			}
			edges = append(edges, edge)
		}
		nodes[e.name(name)] = map[string]any{"name": e.name(name), "edges": edges, "activation": "all"}
	}
	graph := map[string]any{"nodes": nodes}
	if g.Entry != "" {
		graph["default_start_node"] = e.name(g.Entry)
	}
	return graph
}

// containsText is the one condition in CEL that is a text in AutoGen.
var containsText = regexp.MustCompile(`^text\.contains\((?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\)$`)

// contains is the text that must be in a message; empty for none. It reports
// whether there is nothing more to the edge.
func contains(edge config.Edge) (string, bool) {
	if edge.When == "" {
		return edge.If, true
	}
	m := containsText.FindStringSubmatch(edge.When)
	if m == nil {
		return "", false
	}
	inner := m[1]
	if m[2] != "" {
		inner = strings.NewReplacer(`\\`, `\\`, `\'`, `'`, `\"`, `\"`, `"`, `\"`).Replace(m[2])
	}
	text, err := strconv.Unquote(`"` + inner + `"`)
	return text, err == nil && text != ""
}

// condition writes a termination.
func (e *exporter) condition(at string, t *config.Termination) component {
	class, values := "", map[string]any{}
	switch {
	case t.Any != nil, t.All != nil:
		var list []component
		for i := range t.Any {
			list = append(list, e.condition(at, &t.Any[i]))
		}
		for i := range t.All {
			list = append(list, e.condition(at, &t.All[i]))
		}
		class = map[bool]string{true: "Or", false: "And"}[t.Any != nil]
		return envelope("termination", "autogen_agentchat.base."+class+"TerminationCondition", map[string]any{"conditions": list})
	case t.MaxMessages != nil:
		class, values["max_messages"], values["include_agent_event"] = "MaxMessage", t.MaxMessages.Count, t.MaxMessages.Events
	case t.Mention != nil:
		class, values["text"] = "TextMention", t.Mention.Text
		if len(t.Mention.Sources) > 0 {
			values["sources"] = e.sources(t.Mention.Sources)
			e.note(Check, at+".mention.sources", "AutoGen does not read them: there everybody's mention counts")
		}
	case t.StopMessage:
		class = "StopMessage"
	case t.TextMessage != "":
		class = "TextMessage"
		if t.TextMessage != "*" {
			values["source"] = e.source(t.TextMessage)
		}
	case t.Handoff != "":
		class, values["target"] = "Handoff", e.name(t.Handoff)
	case t.Source != nil:
		class, values["sources"] = "SourceMatch", e.sources(t.Source)
	case t.Function != "":
		class, values["function_name"] = "FunctionCall", t.Function
	case t.Tokens != nil:
		class = "TokenUsage" // whose loader wants all three, and takes null
		values["max_total_token"], values["max_prompt_token"], values["max_completion_token"] = orNull(t.Tokens.Total), orNull(t.Tokens.Prompt), orNull(t.Tokens.Completion)
	default:
		class, values["timeout_seconds"] = "Timeout", t.Timeout.Seconds()
	}
	return envelope("termination", "autogen_agentchat.conditions."+class+"Termination", values)
}

func (e *exporter) sources(ours []string) []string {
	theirs := make([]string, len(ours))
	for i, name := range ours {
		theirs[i] = e.source(name)
	}
	return theirs
}

func orNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}
