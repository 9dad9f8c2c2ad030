package autogen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/config"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// agents are the classes of agents.
func (im *importer) agents() map[string]func(*seat, *scope) config.Agent {
	return map[string]func(*seat, *scope) config.Agent{
		"AssistantAgent": im.assistant, "UserProxyAgent": im.human, "SocietyOfMindAgent": im.society,
	}
}

func (im *importer) assistant(s *seat, around *scope) config.Agent {
	a := config.Agent{
		Description: s.text("description"), Instructions: s.text("system_message"), Model: im.modelOf(s),
		MaxToolRounds: cmp.Or(s.count("max_tool_iterations"), 1), Reflect: s.truth("reflect_on_tool_use"), Summary: s.text("tool_call_summary_format"),
		Context: im.window(s),
	}
	if strings.TrimSpace(a.Instructions) == "" {
		a.Instructions = cmp.Or(a.Description, "You are "+s.name+".")
		im.note(Check, s.below("system_message"), "none: here an assistant needs instructions, and its description is taken")
	}
	if a.Summary == "{result}" || a.Reflect {
		a.Summary = "" // the default, or without effect
	}
	a.Handoffs = im.handoffs(s, around)
	a.Tools = im.tools(s)
	a.Memory = im.memory(s)
	if f := s.child("structured_message_factory"); f != nil {
		a.Output = im.output(f)
	}
	s.skip("model_client_stream") // always
	s.lose("only labels, left out", "metadata")
	return a
}

func (im *importer) human(s *seat, _ *scope) config.Agent {
	im.note(Check, s.at, "how it asked is not in the file: here the run waits, and whoever opened the session answers")
	s.lose("functions are not in a file", "input_func")
	return config.Agent{Kind: config.KindHuman, Description: s.text("description")}
}

func (im *importer) society(s *seat, _ *scope) config.Agent {
	a := config.Agent{
		Kind: config.KindSociety, Description: s.text("description"), Model: im.modelOf(s),
		Instructions: s.text("instruction"), Response: s.text("response_prompt"), Context: im.window(s),
	}
	if team := s.child("team"); team != nil {
		a.GroupChat = im.speaker(team, nil).name
	}
	return a
}

// handoffs are names, or objects.
func (im *importer) handoffs(s *seat, around *scope) []config.Handoff {
	var list []jsontext.Value
	s.take("handoffs", &list, "a list")
	var all []config.Handoff
	for i, raw := range list {
		at := fmt.Sprintf("%s[%d]", s.below("handoffs"), i)
		if raw.Kind() == '"' {
			raw, _ = json.Marshal(map[string]jsontext.Value{"target": raw})
		}
		all = append(all, im.handoff(im.object(raw, at), around))
	}
	return all
}

func (im *importer) handoff(p *part, around *scope) config.Handoff {
	said := p.text("target")
	h := config.Handoff{To: im.receiver(said, p.at, around), Name: p.text("name"), Description: p.text("description"), Message: p.text("message")}
	p.done()
	if h.Name == "transfer_to_"+strings.ToLower(said) {
		h.Name = ""
	}
	if tool := cleanTool(h.Name); tool != h.Name {
		im.note(Renamed, p.below("name"), fmt.Sprintf("the tool %q is %s here", h.Name, tool))
		h.Name = tool
	}
	if h.Description == "Handoff to "+said+"." {
		h.Description = ""
	}
	if h.Message == "Transferred to "+said+", adopting the role of "+said+" immediately." {
		h.Message = ""
	}
	return h
}

// receiver finds to whom somebody hands off. In AutoGen it may be a name that
// nobody has: the application's way to stop and ask a person.
func (im *importer) receiver(said, at string, around *scope) string {
	if name, ok := around.find(said); ok {
		return name
	}
	if said == "" {
		im.bad(at, "hands off to nobody", "")
		return ""
	}
	if im.people[said] == nil {
		s := &seat{name: im.claim(&part{at: at}, said)}
		im.people[said] = s
		im.out.Agents[s.name] = config.Agent{Kind: config.KindHuman, Description: "Takes over what agents hand off to " + s.name + "."}
		im.note(Check, at, fmt.Sprintf("nobody in the team is called %q: it is a person here, who is asked", said))
	}
	return im.people[said].name
}

// memory reads what is kept in the file itself.
func (im *importer) memory(s *seat) []string {
	var texts []string
	for _, m := range s.children("memory") {
		if m.class != "ListMemory" {
			im.note(Lost, m.at, m.class+" is a store outside the file: it is not asked here")
			continue
		}
		for _, c := range m.objects("memory_contents") {
			kind := c.text("mime_type")
			if kind != "" && !strings.HasPrefix(kind, "text/") {
				im.note(Lost, c.at, "is no text")
				continue
			}
			texts = append(texts, c.text("content"))
			c.skip("metadata")
			c.done()
		}
		m.skip("name")
		m.done()
	}
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

func (im *importer) output(f *part) *config.Output {
	o := &config.Output{Format: f.text("format_string")}
	var schema jsontext.Value
	if f.take("json_schema", &schema, "a JSON Schema") {
		o.Schema = config.Schema(schema)
	}
	f.skip("content_model_name")
	f.done()
	return o
}

// window reads how much of the conversation a model is shown.
func (im *importer) window(s *seat) *config.Window {
	p := s.child("model_context")
	if p == nil {
		return nil
	}
	var w *config.Window
	switch p.class {
	case "UnboundedChatCompletionContext":
	case "BufferedChatCompletionContext":
		w = &config.Window{Buffered: p.count("buffer_size")}
	case "HeadAndTailChatCompletionContext":
		w = &config.Window{HeadTail: &config.HeadTail{Head: p.count("head_size"), Tail: p.count("tail_size")}}
	case "TokenLimitedChatCompletionContext":
		if n := p.count("token_limit"); n > 0 {
			w = &config.Window{TokenLimit: n}
		} else {
			im.note(Lost, p.at, "has no number, and what its model can take is not known here: everything is shown")
		}
		p.skip("model_client", "tool_schema")
	default:
		im.note(Lost, p.at, p.class+" is not known here: everything is shown")
		p.left = nil
	}
	p.lose("a conversation begins empty here", "initial_messages")
	p.done()
	return w
}
