package config

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
)

// Bounds of a condition: of its text, and of one evaluation. A scan of the
// longest message costs about a tenth of the budget.
const (
	maxExpression = 2 << 10
	maxCost       = 10_000_000
)

// Condition is the `when` of an edge, compiled. It may be used by many
// goroutines.
type Condition struct{ program cel.Program }

// Compile reads a CEL expression over the last message of a turn: text is what
// was said (the JSON of a structured message) and source is who said it. It must
// be true or false.
func Compile(expression string) (*Condition, error) {
	if len(expression) > maxExpression {
		return nil, fmt.Errorf("is longer than %d bytes", maxExpression)
	}
	env, err := cel.NewEnv(cel.Variable("text", cel.StringType), cel.Variable("source", cel.StringType))
	if err != nil {
		return nil, fmt.Errorf("prepare conditions: %w", err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, errors.New("is not a condition: " + firstIssue(issues))
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("gives %s and not true or false", ast.OutputType())
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, errors.New("is not a condition: " + oneLine(err.Error()))
	}
	return &Condition{program}, nil
}

// Holds asks the condition. One that fails (a conversion of text that is no
// number, the cost limit) does not hold: an edge that cannot be decided is closed.
func (c *Condition) Holds(text, source string) bool {
	result, _, err := c.program.Eval(map[string]any{"text": text, "source": source})
	return err == nil && result.Value() == true
}

// firstIssue is the first problem with its column, which counts from 1.
func firstIssue(issues *cel.Issues) string {
	first := issues.Errors()[0]
	return fmt.Sprintf("%s at its character %d", oneLine(first.Message), first.Location.Column()+1)
}

func oneLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return text
}
