package tools

import (
	"encoding/json"
	"errors"
	"fmt"
)

// AnswerCheck compiles the JSON Schema of an agent's answers and gives a function
// that says what is wrong with one. Unlike the schema of a tool it is not closed:
// an answer is nothing that a policy decides about. The function may be called by
// many goroutines.
func AnswerCheck(schema json.RawMessage) (func(answer json.RawMessage) error, error) {
	doc, err := readSchema(schema)
	if err != nil {
		return nil, fmt.Errorf("the schema: %w", err)
	}
	compiled, err := build(doc)
	if err != nil {
		return nil, fmt.Errorf("the schema: %w", err)
	}
	return func(answer json.RawMessage) error {
		value, _, bad := parseJSON(string(answer), foreign)
		if bad != nil {
			return errors.New("it " + bad.Problem)
		}
		if err := compiled.of(value, len(answer)); err != nil {
			return errors.New("it does not follow the schema: " + list(violations(err)))
		}
		return nil
	}, nil
}
