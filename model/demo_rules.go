package model

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"go.yaml.in/yaml/v4"
)

const (
	handOff = "transfer_to_"
	person  = "user" // the source of input (agents.Event)
)

// rule is one compiled rule of a demo.
type rule struct {
	line    int
	agent   string
	pattern *regexp.Regexp
	seen    *regexp.Regexp
	after   []string // sorted, nil: any
	failed  []string // sorted, without repeats
	text    *phrase  // nil: says nothing
	calls   []demoCall
}

type demoCall struct {
	tool string
	args *argument // nil: none
}

type ruleFile struct {
	Rules []yaml.Node `yaml:"rules"`
}

type ruleEntry struct {
	Agent   string      `yaml:"agent"`
	Pattern string      `yaml:"pattern"`
	Seen    string      `yaml:"seen"`
	After   *[]string   `yaml:"after"`
	Failed  []string    `yaml:"failed"`
	Text    string      `yaml:"text"`
	Calls   []callEntry `yaml:"calls"`
}

type callEntry struct {
	Tool string    `yaml:"tool"`
	Args yaml.Node `yaml:"args"`
}

// loadRules reads all rules, or reports all problems.
func loadRules(data []byte) ([]rule, error) {
	var file ruleFile
	if err := yaml.Load(data, &file, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	if len(file.Rules) == 0 {
		return nil, errors.New("there is no rule")
	}
	var out []rule
	var problems []error
	for i := range file.Rules {
		r, err := loadRule(&file.Rules[i])
		out = append(out, r)
		problems = append(problems, err)
	}
	return out, errors.Join(problems...)
}

func loadRule(n *yaml.Node) (rule, error) {
	var e ruleEntry
	if err := n.Load(&e, yaml.WithKnownFields()); err != nil {
		return rule{}, err
	}
	r := rule{line: n.Line, agent: e.Agent, failed: sorted(e.Failed)}
	if e.After != nil {
		r.after = sorted(*e.After)
	}
	err := errors.Join(r.compile(&e), r.check(&e))
	if err != nil {
		return rule{}, fmt.Errorf("line %d: %w", n.Line, err)
	}
	return r, nil
}

// sorted copies a list; the copy of an empty one is not nil.
func sorted(list []string) []string {
	out := append([]string{}, list...)
	slices.Sort(out)
	return out
}

func (r *rule) compile(e *ruleEntry) (err error) {
	if e.Pattern != "" {
		if r.pattern, err = regexp.Compile(e.Pattern); err != nil {
			return fmt.Errorf("pattern: %w", err)
		}
	}
	if e.Seen != "" {
		if r.seen, err = regexp.Compile(e.Seen); err != nil {
			return fmt.Errorf("seen: %w", err)
		}
	}
	if e.Text != "" {
		if r.text, err = newPhrase(e.Text); err != nil {
			return fmt.Errorf("text: %w", err)
		}
	}
	for i := range e.Calls {
		c := demoCall{tool: e.Calls[i].Tool}
		if c.args, err = newArgument(&e.Calls[i].Args); err != nil {
			return fmt.Errorf("args of %s: %w", c.tool, err)
		}
		r.calls = append(r.calls, c)
	}
	return nil
}

func (r *rule) check(e *ruleEntry) error {
	if e.Text == "" && len(e.Calls) == 0 {
		return errors.New("a rule needs text or calls")
	}
	for _, c := range e.Calls {
		if c.Tool == "" {
			return errors.New("a call needs a tool")
		}
	}
	for _, f := range e.Failed {
		if !slices.Contains(r.after, f) {
			return fmt.Errorf("failed names %q, which after does not", f)
		}
	}
	return nil
}

// fits reports whether the rule answers the prompt, and its pattern's captures.
func (r *rule) fits(p *agents.Prompt, s *scene) (map[string]any, bool) {
	if r.agent != "" && r.agent != p.Agent || len(r.calls) > 0 && p.ToolChoice == agents.ToolNone {
		return nil, false
	}
	if r.after != nil && !r.follows(s.answers) || r.seen != nil && !s.shows(r.seen) {
		return nil, false
	}
	return r.captures(s.said)
}

func (r *rule) captures(said string) (map[string]any, bool) {
	match := map[string]any{}
	if r.pattern == nil {
		return match, true
	}
	found := r.pattern.FindStringSubmatch(said)
	for i, name := range r.pattern.SubexpNames() {
		if name != "" && found != nil {
			match[name] = found[i]
		}
	}
	return match, found != nil
}

// follows compares what answered with after and failed.
func (r *rule) follows(answers []agents.PromptMessage) bool {
	answered, failed := []string{}, []string{}
	for i := range answers {
		tool := answers[i].Tool
		if strings.HasPrefix(tool, handOff) && !slices.Contains(r.after, tool) {
			continue
		}
		answered = append(answered, tool)
		if answers[i].Failed && !slices.Contains(failed, tool) {
			failed = append(failed, tool)
		}
	}
	slices.Sort(answered)
	slices.Sort(failed)
	return slices.Equal(answered, r.after) && slices.Equal(failed, slices.Compact(r.failed))
}

// scene is what a rule looks at: what the person said last and the tools that
// have answered since.
type scene struct {
	said     string
	answers  []agents.PromptMessage
	messages []agents.PromptMessage
}

// shows reports whether a message has what is looked for.
func (s *scene) shows(what *regexp.Regexp) bool {
	return slices.ContainsFunc(s.messages, func(m agents.PromptMessage) bool { return what.MatchString(spoken(&m)) })
}

func observe(p *agents.Prompt) *scene {
	at := lastSaid(p.Messages)
	switch {
	case len(p.Messages) == 0:
		return &scene{said: p.System}
	case at < 0:
		return &scene{messages: p.Messages}
	}
	s := &scene{said: spoken(&p.Messages[at]), messages: p.Messages}
	for _, m := range p.Messages[at:] {
		if m.Role == agents.RoleTool {
			s.answers = append(s.answers, m)
		}
	}
	return s
}

// lastSaid finds the person's last message. Other agents, and the notice of a
// hand-off, speak as users too, under the agent's name; they count only where no
// person has spoken.
func lastSaid(messages []agents.PromptMessage) int {
	last := -1
	for i := len(messages) - 1; i >= 0; i-- {
		m := &messages[i]
		if m.Role != agents.RoleUser {
			continue
		}
		if m.Name == "" || m.Name == person {
			return i
		}
		last = max(last, i)
	}
	return last
}

func spoken(m *agents.PromptMessage) string {
	said := []string{m.Text}
	for _, part := range m.Parts {
		said = append(said, part.Text)
	}
	return strings.TrimSpace(strings.Join(said, "\n"))
}
