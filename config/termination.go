package config

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Termination is one condition; Any and All combine conditions.
type Termination struct {
	Any         []Termination `yaml:"any"`
	All         []Termination `yaml:"all"`
	MaxMessages *MaxMessages  `yaml:"max_messages"`
	Mention     *Mention      `yaml:"mention"`
	StopMessage bool          `yaml:"stop_message"`
	TextMessage string        `yaml:"text_message"` // from this source; "*": from anybody
	Handoff     string        `yaml:"handoff" is:"name"`
	Source      []string      `yaml:"source" is:"name"`
	Function    string        `yaml:"function" is:"tool"`
	Tokens      *Tokens       `yaml:"tokens"`
	Timeout     time.Duration `yaml:"timeout" range:"1s..720h"`
}

// MaxMessages is how many messages are enough. In the file it may be just the
// count.
type MaxMessages struct {
	Count  int  `yaml:"count" range:"1..100000"`
	Events bool `yaml:"events"` // the agents' requests, results, thoughts and memories count too
}

// Mention is a text that somebody says. In the file it may be just the text.
type Mention struct {
	Text    string   `yaml:"text"`
	Sources []string `yaml:"sources" is:"name"` // absent: anybody, the task included
}

// Tokens are how many are enough, any of these. In the file it may be just the
// total.
type Tokens struct {
	Total      int `yaml:"total" range:"1..1000000000"`
	Prompt     int `yaml:"prompt" range:"1..1000000000"`
	Completion int `yaml:"completion" range:"1..1000000000"`
}

func (c *checker) termination(p place, chat string, t Termination) {
	c.exactlyOne(p, "any", "all", "max_messages", "mention", "stop_message", "text_message", "handoff", "source", "function", "tokens", "timeout")
	for key, parts := range map[string][]Termination{"any": t.Any, "all": t.All} {
		if len(parts) == 0 && c.said(p.key(key)) {
			c.bad(p.key(key), "is empty", "list conditions")
		}
		for i, part := range parts {
			c.termination(p.key(key).item(i), chat, part)
		}
	}
	c.amounts(p, t)
	c.sources(p, chat, t)
	if t.StopMessage != c.has(p.key("stop_message")) && !c.spoilt[p.key("stop_message")] {
		c.bad(p.key("stop_message"), "is false", "say true, or remove it")
	}
}

// amounts reports conditions that do not say how much of what.
func (c *checker) amounts(p place, t Termination) {
	if t.MaxMessages != nil && t.MaxMessages.Count == 0 {
		c.missing(p.key("max_messages").key("count"), "say how many")
	}
	if t.Mention != nil && t.Mention.Text == "" {
		c.missing(p.key("mention").key("text"), "say which text")
	}
	if t.Tokens != nil && *t.Tokens == (Tokens{}) && !c.spoilt[p.key("tokens").key("total")] {
		c.bad(p.key("tokens"), "has none of total, prompt and completion", "say at least one")
	}
	if c.said(p.key("source")) && len(t.Source) == 0 {
		c.missing(p.key("source"), "name participants, or user")
	}
}

// sources reports names that are never heard in the chat: such a condition would
// never be met.
func (c *checker) sources(p place, chat string, t Termination) {
	heard := c.within(chat)
	if t.TextMessage != "" && t.TextMessage != "*" {
		c.member(p.key("text_message"), t.TextMessage, heard)
	}
	for i, who := range t.Source {
		c.member(p.key("source").item(i), who, heard)
	}
	if t.Mention != nil {
		for i, who := range t.Mention.Sources {
			c.member(p.key("mention").key("sources").item(i), who, heard)
		}
	}
	if t.Handoff != "" && !slices.Contains(heard, t.Handoff) {
		c.speaker(p.key("handoff"), t.Handoff)
	}
}

// JSON is the condition with the keys of the file, for people who ask when a
// group chat stops; empty for none.
func (t *Termination) JSON() string {
	if t == nil {
		return ""
	}
	text, err := json.Marshal(t.plain())
	if err != nil {
		panic("config: a condition cannot be encoded: " + err.Error())
	}
	return string(text)
}

func (t *Termination) plain() map[string]any {
	out := map[string]any{}
	put(out, "text_message", t.TextMessage)
	put(out, "handoff", t.Handoff)
	put(out, "function", t.Function)
	put(out, "stop_message", t.StopMessage)
	if t.Timeout > 0 {
		out["timeout"] = t.Timeout.String()
	}
	if t.Source != nil {
		out["source"] = t.Source
	}
	if m := t.MaxMessages; m != nil {
		out["max_messages"] = group(map[string]any{"events": m.Events, "count": m.Count})
	}
	if m := t.Mention; m != nil {
		one := map[string]any{"text": m.Text}
		if len(m.Sources) > 0 {
			one["sources"] = m.Sources
		}
		out["mention"] = one
	}
	if n := t.Tokens; n != nil {
		out["tokens"] = group(map[string]any{"total": n.Total, "prompt": n.Prompt, "completion": n.Completion})
	}
	for key, parts := range map[string][]Termination{"any": t.Any, "all": t.All} {
		var list []map[string]any
		for i := range parts {
			list = append(list, parts[i].plain())
		}
		if list != nil {
			out[key] = list
		}
	}
	return out
}

func put[T comparable](to map[string]any, key string, value T) {
	var zero T
	if value != zero {
		to[key] = value
	}
}

// group leaves out what is not set.
func group(values map[string]any) map[string]any {
	maps.DeleteFunc(values, func(_ string, v any) bool { return v == 0 || v == false })
	return values
}
