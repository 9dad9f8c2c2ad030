package config

import (
	"slices"
	"time"
)

// Model is a language model: one that speaks the OpenAI protocol, or the
// offline demo.
type Model struct {
	BaseURL     string   `yaml:"base_url" is:"https"`
	APIKey      Secret   `yaml:"api_key"`
	Model       string   `yaml:"model"`
	Temperature *float64 `yaml:"temperature" range:"0..2"`
	MaxTokens   int      `yaml:"max_tokens" range:"1..10000000"`
	Fallbacks   []string `yaml:"fallbacks" is:"name"`
	Timeouts    Timeouts `yaml:"timeouts"`
	Lacks       []string `yaml:"lacks" enum:"tools|structured_output|vision"` // what it cannot do; absent: nothing

	Demo string `yaml:"demo" is:"file"`
}

// What a model may lack.
const (
	LacksTools            = "tools"             // function calling
	LacksStructuredOutput = "structured_output" // answers that follow a JSON Schema
	LacksVision           = "vision"            // it is shown a mark instead of an image
)

// Timeouts bound one question to a model.
type Timeouts struct {
	Total time.Duration `yaml:"total" range:"1s..1h"`
	Idle  time.Duration `yaml:"idle" range:"1s..10m"` // between two pieces of an answer
}

func (c *checker) models() {
	for _, name := range names(c.Models) {
		c.model(place("models").key(name), name, c.Models[name])
	}
}

func (c *checker) model(p place, name string, m Model) {
	if c.said(p.key("demo")) {
		for _, key := range []string{"base_url", "api_key", "model", "temperature", "max_tokens", "fallbacks", "timeouts", "lacks"} {
			if c.said(p.key(key)) {
				c.bad(p.key(key), "does not go with demo", "remove it, or demo")
			}
		}
		return
	}
	if m.Model == "" {
		c.missing(p.key("model"), "say the model's name at its provider, or demo: file")
	}
	c.unique(p.key("lacks"), m.Lacks)
	c.unique(p.key("fallbacks"), m.Fallbacks)
	for i, f := range m.Fallbacks {
		at := p.key("fallbacks").item(i)
		switch {
		case f == name:
			c.bad(at, "is the model itself", "name another one")
		case c.refer(at, "models", "model", f, namesOf(c.Models)) && reaches(f, name, c.fallbacks):
			c.bad(at, c.show(at)+" falls back to this model in turn", "remove one of them")
		}
	}
}

// Lacking is the first of a model and those that may answer for it which lacks
// something, empty if none does.
func (c *Config) Lacking(model, what string) string {
	for _, name := range append([]string{model}, c.Models[model].Fallbacks...) {
		if slices.Contains(c.Models[name].Lacks, what) {
			return name
		}
	}
	return ""
}

// able reports what an assistant has and its model can do nothing with.
func (c *checker) able(p place, a Agent) {
	look := func(key string, has bool, what, name string) {
		if who := c.Lacking(a.Model, what); has && who != "" {
			c.bad(p.key(key), "the model "+quote(who)+" does not support "+name, "take another model, or remove it")
		}
	}
	look("tools", len(a.Tools) > 0, LacksTools, "function calling")
	look("handoffs", len(a.Handoffs) > 0, LacksTools, "function calling")
	look("output", a.Output != nil, LacksStructuredOutput, "structured output")
}

func (c *checker) fallbacks(name string) []string { return c.Models[name].Fallbacks }

// reaches reports whether edges lead from one name to another.
func reaches(from, to string, edges func(string) []string) bool {
	seen, open := map[string]bool{from: true}, []string{from}
	for len(open) > 0 {
		name := open[0]
		open = open[1:]
		if slices.Contains(edges(name), to) {
			return true
		}
		for _, next := range edges(name) {
			if !seen[next] {
				seen[next] = true
				open = append(open, next)
			}
		}
	}
	return false
}
