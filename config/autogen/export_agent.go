package autogen

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/config"
)

// agent writes an agent with the hand-offs that it is offered in its place.
func (e *exporter) agent(name string, offers []config.Handoff) component {
	a, at := e.cfg.Agents[name], "agents."+name
	e.lose(at, map[string]bool{
		"scopes": a.Scopes != nil, "max_turns": a.MaxTurns > 0, "parallel_calls": a.ParallelCalls > 0, "prompt": a.Prompt != "", "who": a.Who != nil,
		"remembers": len(a.Remembers) > 0, "opening": len(a.Opening) > 0,
	})
	values := map[string]any{"name": e.name(name)}
	var c component
	switch a.Kind {
	case config.KindAssistant:
		c = e.assistant(at, a, values, offers)
	case config.KindHuman:
		c = envelope("agent", "autogen_agentchat.agents.UserProxyAgent", values)
	case config.KindSociety:
		c = e.society(a, values)
	default:
		e.bad(at+".kind", "an agent of the kind "+a.Kind+" is not exported yet", "leave it out")
		return c
	}
	c.Config["description"] = a.Description // required, also when it is empty
	return c
}

func (e *exporter) society(a config.Agent, values map[string]any) component {
	values["team"], values["model_client"] = e.team(a.GroupChat, nil), e.model(a.Model)
	values["instruction"], values["response_prompt"] = a.Instructions, a.Response
	if a.Context != nil {
		values["model_context"] = e.window(a.Context, a.Model)
	}
	return envelope("agent", "autogen_agentchat.agents.SocietyOfMindAgent", values)
}

func (e *exporter) assistant(at string, a config.Agent, values map[string]any, offers []config.Handoff) component {
	values["model_client"], values["model_context"] = e.model(a.Model), e.window(a.Context, a.Model)
	values["system_message"], values["reflect_on_tool_use"] = a.Instructions, a.Reflect
	values["tool_call_summary_format"], values["max_tool_iterations"] = cmp.Or(a.Summary, "{result}"), rounds(a)
	values["workbench"] = []component{e.workbench(at, a.Tools)}
	values["handoffs"] = e.handoffs(at, offers)
	if len(a.Memory) > 0 {
		values["memory"] = []component{memory(a.Memory)}
	}
	if a.Output != nil {
		values["structured_message_factory"] = envelope("structured_message", "autogen_agentchat.messages.StructuredMessageFactory", map[string]any{
			"json_schema": json.RawMessage(a.Output.Schema), "format_string": a.Output.Format, "content_model_name": "Answer",
		})
	}
	c := envelope("agent", "autogen_agentchat.agents.AssistantAgent", values)
	c.Version, c.ComponentVersion = 2, 2
	return c
}

// rounds are those of the tool loop. Without a number of their own an assistant
// here goes on until it answers or its turns are used up.
func rounds(a config.Agent) int {
	return cmp.Or(a.MaxToolRounds, max(cmp.Or(a.MaxTurns, 8)-1, 1))
}

func memory(texts []string) component {
	var contents []map[string]any
	for _, text := range texts {
		contents = append(contents, map[string]any{"content": text, "mime_type": "text/plain"})
	}
	return envelope("memory", "autogen_core.memory.ListMemory", map[string]any{"memory_contents": contents})
}

// handoffs are names where there is nothing more to say.
func (e *exporter) handoffs(at string, offers []config.Handoff) []any {
	list := []any{}
	for _, h := range offers {
		e.lose(at+".handoffs."+h.To, map[string]bool{"scopes": h.Scopes != nil})
		target := e.name(h.To)
		if h.Name+h.Description+h.Message == "" {
			list = append(list, target)
			continue
		}
		one := map[string]string{"target": target, "name": h.Name, "description": h.Description, "message": h.Message}
		maps.DeleteFunc(one, func(_, text string) bool { return text == "" })
		list = append(list, one)
	}
	return list
}

// workbench writes tools by their names. The code of a function is not here: the
// stub loads in AutoGen and says so when it is called.
func (e *exporter) workbench(at string, refs []string) component {
	tools, overrides := []component{}, map[string]override{}
	for _, ref := range e.expanded(at, refs) {
		set := e.cfg.Tools[ref]
		switch {
		case set.Agent != "":
			tools = append(tools, envelope("tool", "autogen_agentchat.tools.AgentTool", map[string]any{
				"agent": e.agent(set.Agent, nil), "return_value_as_last_message": set.Result == "last",
			}))
			if o := (override{ref, set.Description}); e.name(set.Agent) != ref || set.Description != "" {
				overrides[e.name(set.Agent)] = o
			}
		case set.GroupChat != "":
			tools = append(tools, envelope("tool", "autogen_agentchat.tools.TeamTool", map[string]any{
				"name": ref, "description": set.Description, "team": e.team(set.GroupChat, nil), "return_value_as_last_message": set.Result == "last",
			}))
		default:
			e.note(Unbound, at+".tools", ref+" is a stub in AutoGen, which fails when it is called: its code stays here")
			tools = append(tools, envelope("tool", "autogen_core.tools.FunctionTool", map[string]any{
				"name": ref, "description": ref, "source_code": "def " + ref + "() -> str:\n    raise NotImplementedError(\"" + ref + " is not in this file\")\n",
				"global_imports": []string{}, "has_cancellation_support": false,
			}))
		}
	}
	return envelope("workbench", "autogen_core.tools.StaticStreamWorkbench", map[string]any{"tools": tools, "tool_overrides": overrides})
}

// expanded are references to tools, one by one and in order.
func (e *exporter) expanded(at string, refs []string) []string {
	var tools []string
	for _, ref := range refs {
		set, all := strings.CutSuffix(ref, "/*")
		switch {
		case !all || e.cfg.Tools[set].Callee() != "":
			tools = append(tools, set)
		case e.known[set] == nil:
			e.note(Lost, at+".tools", ref+": it is not known which tools these are")
		default:
			tools = append(tools, e.known[set]...)
		}
	}
	return unique(tools)
}

func (e *exporter) window(w *config.Window, model string) component {
	const contexts = "autogen_core.model_context."
	class, values := "Unbounded", map[string]any{}
	switch {
	case w == nil:
	case w.HeadTail != nil:
		class, values["head_size"], values["tail_size"] = "HeadAndTail", w.HeadTail.Head, w.HeadTail.Tail
	case w.TokenLimit > 0:
		class, values["token_limit"], values["model_client"] = "TokenLimited", w.TokenLimit, e.model(model)
	default:
		class, values["buffer_size"] = "Buffered", w.Buffered
	}
	return envelope("chat_completion_context", contexts+class+"ChatCompletionContext", values)
}

// model writes a model under its name. Its key is not written: AutoGen takes it
// from its own environment.
func (e *exporter) model(name string) component {
	m, at := e.cfg.Models[name], "models."+name
	e.lose(at, map[string]bool{"fallbacks": len(m.Fallbacks) > 0, "timeouts.idle": m.Timeouts.Idle > 0, "demo": m.Demo != ""})
	c := envelope("model", "autogen_ext.models.openai.OpenAIChatCompletionClient", map[string]any{"model": m.Model, "max_tokens": m.MaxTokens})
	if m.BaseURL == "" { // offline, or not complete
		c.Provider = "autogen_ext.models.replay.ReplayChatCompletionClient"
		c.Config = map[string]any{"chat_completions": []string{}}
	}
	if c.Label = name; m.BaseURL != "" && m.BaseURL != openAI {
		c.Config["base_url"] = m.BaseURL
	}
	if m.Temperature != nil {
		c.Config["temperature"] = *m.Temperature
	}
	if m.Timeouts.Total > 0 {
		c.Config["timeout"] = m.Timeouts.Total.Seconds()
	}
	if !m.APIKey.IsZero() {
		e.note(Secret, at, "its key is not in the file: AutoGen takes OPENAI_API_KEY, or add api_key")
	}
	return c
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
