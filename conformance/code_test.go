package conformance_test

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc/codes"
)

// runCode is the executor's name.
const runCode = "run_code"

// ending is how a scripted execution ends: [exit code, output].
type ending struct {
	ExitCode int    `json:"exit_code"`
	Output   string `json:"output"`
}

func (e *ending) UnmarshalYAML(n *yaml.Node) error { return pair(n, &e.ExitCode, &e.Output) }

// approval is what is said of each execution: [whether it may be, why].
type approval struct {
	given  bool
	reason string
}

func (a *approval) UnmarshalYAML(n *yaml.Node) error { return pair(n, &a.given, &a.reason) }

func pair(n *yaml.Node, first, second any) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) != 2 {
		return errors.New("this is a list of two")
	}
	return errors.Join(n.Content[0].Decode(first), n.Content[1].Decode(second))
}

// coder is an agent whose executor is a tool behind a gate of its own.
func (b *builder) coder(name string, s agentSpec) (agents.Agent, error) {
	g, err := newGates(executor(s.Exec))
	if err != nil {
		return nil, err
	}
	box, err := g.gate(name, []string{runCode})
	if err != nil {
		return nil, err
	}
	if s.Approve != nil && !s.Approve.given {
		box = unapproved{Toolbox: box, guard: g.guard, reason: s.Approve.reason}
	}
	cfg := agents.CoderConfig{Name: name, Description: name + " agent", Tool: runCode, Toolbox: box}
	if s.Model {
		cfg.ModelLacks = b.c.Model.lacks()
		cfg.Model, err = b.models.model(name)
	}
	if err != nil {
		return nil, err
	}
	return agents.NewCoder(cfg)
}

// code are the executor's arguments.
type code struct {
	Blocks []struct {
		Language string `json:"language" enum:"python,sh"`
		Code     string `json:"code"`
	} `json:"blocks"`
}

// executor runs no code: it ends as the case says, in order.
func executor(script []ending) tools.Tool {
	var mu sync.Mutex
	return tools.Func(runCode, "Runs code.", func(_ context.Context, in code) (ending, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(script) == 0 || len(in.Blocks) == 0 {
			return ending{}, errors.New("the case has no more endings, or there is no code")
		}
		next := script[0]
		script = script[1:]
		return next, nil
	})
}

// unapproved stands for a person in front of the gate who approves nothing, and
// says why. The denial is on record like any other.
type unapproved struct {
	agents.Toolbox
	guard  *policy.Guard
	reason string
}

func (u unapproved) Call(ctx context.Context, c agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		grant, _ := identity.FromContext(ctx)
		why := fault.New(codes.PermissionDenied, fault.ApprovalDenied, u.reason)
		err := u.guard.Refuse(ctx, &policy.Query{
			Grant: grant, Action: policy.ActionCallTool, Resource: policy.Entity{Type: "Tool", ID: c.Name}, Tool: c.Name,
			Session: c.SessionID, Run: c.RunID, Call: c.ID, Arguments: []byte(c.Arguments),
		}, why)
		if !errors.Is(err, fault.ApprovalDenied) {
			yield(agents.Event{}, err)
			return
		}
		denied := agents.ToolCallDecided{Decision: agents.Denied, Reason: string(fault.ApprovalDenied)}
		result := marshal(map[string]any{"error": map[string]string{"reason": string(fault.ApprovalDenied), "message": u.reason}})
		if yield(agents.Event{Body: denied}, nil) {
			yield(agents.Event{Body: agents.ToolCallFinished{Failed: true, Reason: string(fault.ApprovalDenied), Result: result}}, nil)
		}
	}
}

// lacks is what the case's model cannot do.
func (m modelInfo) lacks() agents.Lacks {
	return agents.Lacks{Tools: m.FunctionCalling != nil && !*m.FunctionCalling}
}
