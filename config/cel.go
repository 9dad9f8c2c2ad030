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
	program, err := compile(expression, "a condition", cel.BoolType, "true or false")
	return &Condition{program}, err
}

// compile makes a program of an expression that must give a value of a type.
func compile(expression, what string, gives *cel.Type, inWords string) (cel.Program, error) {
	if len(expression) > maxExpression {
		return nil, fmt.Errorf("is longer than %d bytes", maxExpression)
	}
	env, err := cel.NewEnv(cel.Variable("text", cel.StringType), cel.Variable("source", cel.StringType))
	if err != nil {
		return nil, fmt.Errorf("prepare conditions: %w", err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, errors.New("is not " + what + ": " + firstIssue(issues))
	}
	if !ast.OutputType().IsExactType(gives) {
		return nil, fmt.Errorf("gives %s and not %s", ast.OutputType(), inWords)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, errors.New("is not " + what + ": " + oneLine(err.Error()))
	}
	return program, nil
}

// Holds asks the condition. One that fails (a conversion of text that is no
// number, the cost limit) does not hold: an edge that cannot be decided is closed.
func (c *Condition) Holds(text, source string) bool {
	result, _, err := c.program.Eval(map[string]any{"text": text, "source": source})
	return err == nil && result.Value() == true
}

// Choice is the `choose` of a selector, compiled. It may be used by many goroutines.
type Choice struct{ program cel.Program }

// CompileChoice reads a CEL expression over the last message, as Compile does, that
// gives the name of who speaks next, or "" to ask the model.
func CompileChoice(expression string) (*Choice, error) {
	program, err := compile(expression, "an expression", cel.StringType, "a name")
	return &Choice{program}, err
}

// Name evaluates the choice. One that fails names nobody, so the model is asked.
func (c *Choice) Name(text, source string) string {
	result, _, err := c.program.Eval(map[string]any{"text": text, "source": source})
	if err != nil {
		return ""
	}
	name, _ := result.Value().(string)
	return name
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
