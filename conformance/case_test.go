package conformance_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.yaml.in/yaml/v4"
)

// testCase is one case of autogen.yaml.
type testCase struct {
	ID, Src, Note, Want string
	Diverge             bool

	Agent  string
	Agents map[string]agentSpec
	Team   *teamSpec
	Teams  map[string]teamSpec
	Model  modelInfo `yaml:"model_info"`
	Script map[string][]reply

	RunAnyway  bool   `yaml:"run_anyway"` // AutoGen finds the problem only in the first run
	BuildError string `yaml:"build_error"`
	Steps      []step
	Calls      map[string]int
	Offers     map[string]map[int][]string
	Sees       map[string]map[int][]string

	Condition *condition
	Check     []check
}

type modelInfo struct {
	FunctionCalling *bool `yaml:"function_calling"`
}

type agentSpec struct {
	Kind string

	Tools        []toolSpec
	Workbench    [][]toolSpec
	Handoffs     []handoffSpec
	Memory       []string
	Context      *windowSpec
	System       string
	Output       map[string]string
	OutputFormat string `yaml:"output_format"`
	Reflect      *bool
	MaxIter      int `yaml:"max_iter"`
	Summary      string
	Stream       bool

	Inputs    []inputSpec // user_proxy
	Wraps     string      // filter
	PerSource []rowSpec   `yaml:"per_source"`
	Team      string      // som
	At        int         // stopper

	Exec    []ending // code
	Model   bool
	Approve *approval
}

type toolSpec struct {
	Tool        string // one of the standard ones
	Agent, Team string
	Name        string
	Last        bool
}

func (t *toolSpec) UnmarshalYAML(n *yaml.Node) error {
	type plain toolSpec
	return scalarOr(n, &t.Tool, (*plain)(t))
}

type handoffSpec struct{ Target, Name, Message, Description string }

func (h *handoffSpec) UnmarshalYAML(n *yaml.Node) error {
	type plain handoffSpec
	return scalarOr(n, &h.Target, (*plain)(h))
}

type inputSpec struct{ Text, Error string }

func (i *inputSpec) UnmarshalYAML(n *yaml.Node) error {
	type plain inputSpec
	return scalarOr(n, &i.Text, (*plain)(i))
}

type windowSpec struct {
	Buffered   int
	HeadTail   []int `yaml:"head_tail"`
	TokenLimit int   `yaml:"token_limit"`
}

type rowSpec struct {
	Source, Position string
	Count            int
}

type teamSpec struct {
	Kind         string
	Participants []string
	Until        *condition
	MaxTurns     *int `yaml:"max_turns"`
	Events       bool // team events are shown
	Main         bool

	SelectorFunc  map[string]*string  `yaml:"selector_func"`
	CandidateFunc map[string][]string `yaml:"candidate_func"`
	AllowRepeated bool                `yaml:"allow_repeated"`
	Stream        bool                // the selector's choosing is shown
	Context       *windowSpec

	Graph     graphSpec
	MaxStalls int `yaml:"max_stalls"`
}

type graphSpec struct {
	Nodes []string
	Edges []edgeSpec
	Entry string
}

type edgeSpec struct {
	From, To        string
	If, Group, Join string
}

func (e *edgeSpec) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) < 2 {
		return errors.New("an edge is [from, to, options]")
	}
	e.From, e.To = n.Content[0].Value, n.Content[1].Value
	if len(n.Content) == 2 {
		return nil
	}
	var o struct{ If, Group, Join string }
	err := strictly(n.Content[2], &o)
	e.If, e.Group, e.Join = o.If, o.Group, o.Join
	return err
}

type condition struct {
	MaxMessages   int  `yaml:"max_messages"`
	IncludeEvents bool `yaml:"include_events"`
	Text          string
	Sources       []string
	StopMessage   bool   `yaml:"stop_message"`
	TextMessage   string `yaml:"text_message"`
	Function      string
	Tokens        *struct{ Total, Prompt, Completion int64 }
	Handoff       string
	Source        []string
	Timeout       float64
	External      bool
	Func          string
	Any, All      []condition
}

type step struct {
	Op string // reset, save_load, dump_load, sleep; empty: run
	S  float64

	Run         yaml.Node // absent: go on
	OutputTask  *bool     `yaml:"output_task"`
	CancelAfter int       `yaml:"cancel_after_ms"`
	SecondRun   int       `yaml:"second_run_after"`
	Stream      bool

	Events     *lines
	Result     *lines
	Stop       yaml.Node // null is no stop reason
	Error      string
	Second     string
	HandoffCtx []string `yaml:"handoff_ctx"`
}

// lines are expected events. Each entry is one, or several in any order.
type lines [][]string

func (l *lines) UnmarshalYAML(n *yaml.Node) error {
	for _, c := range n.Content {
		if c.Kind == yaml.ScalarNode {
			*l = append(*l, []string{c.Value})
			continue
		}
		var set []string
		if err := c.Decode(&set); err != nil {
			return err
		}
		*l = append(*l, set)
	}
	return nil
}

// check is one direct call of a condition: items, reset, set or a sleep, and what
// it says.
type check struct {
	Delta  []item
	Op     string
	Sleep  float64
	Expect string // empty: nothing
}

type item struct {
	Source, Kind, Value string
	Usage               []int64
}

func (c *check) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) != 2 {
		return errors.New("a check is [delta, expected]")
	}
	if n.Content[1].Tag != "!!null" {
		c.Expect = n.Content[1].Value
	}
	switch do := n.Content[0]; do.Kind {
	case yaml.ScalarNode:
		c.Op = do.Value
	case yaml.MappingNode:
		c.Op = "sleep"
		return strictly(do, &struct{ Sleep *float64 }{&c.Sleep})
	default:
		return do.Decode(&c.Delta)
	}
	return nil
}

func (i *item) UnmarshalYAML(n *yaml.Node) error {
	for at, into := range []*string{&i.Source, &i.Kind, &i.Value} {
		if at < len(n.Content) {
			*into = n.Content[at].Value
		}
	}
	if len(n.Content) > 3 {
		return n.Content[3].Decode(&i.Usage)
	}
	return nil
}

// scalarOr reads a text into text, or else a mapping.
func scalarOr(n *yaml.Node, text *string, mapping any) error {
	if n.Kind == yaml.ScalarNode {
		*text = n.Value
		return nil
	}
	return strictly(n, mapping)
}

// strictly decodes a node and refuses keys that out does not have.
func strictly(n *yaml.Node, out any) error {
	data, err := yaml.Dump(n)
	if err != nil {
		return err
	}
	return yaml.Load(data, out, yaml.WithKnownFields())
}

func loadCases(t *testing.T) []testCase {
	t.Helper()
	data, err := os.ReadFile("autogen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []testCase
	if err := yaml.Load(data, &cases, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	return cases
}

// changed is the case with what a want, in the form of the cases, replaces.
func (c testCase) changed(want string) (*testCase, error) {
	var w testCase
	if err := yaml.Load([]byte(want), &w, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("the want of %s: %w", c.ID, err)
	}
	replace(&c.Steps, w.Steps)
	replaceMap(&c.Script, w.Script)
	replaceMap(&c.Calls, w.Calls)
	replaceMap(&c.Sees, w.Sees)
	if w.Team != nil {
		c.Team = w.Team
	}
	return &c, nil
}

func replace[T any](into *[]T, with []T) {
	if with != nil {
		*into = with
	}
}

func replaceMap[K comparable, V any](into *map[K]V, with map[K]V) {
	if with != nil {
		*into = with
	}
}
