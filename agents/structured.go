package agents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// Output asks an assistant for answers that follow a schema. The zero value is
// free text.
//
// The schema goes to the model with every question. An answer that does not fit
// is told back once, with what is wrong with it; a second one ends the run with
// an error. The answer is JSON for models and programs, and words for people.
type Output struct {
	Schema   json.RawMessage                    // JSON Schema of an answer
	Format   string                             // "{name}" is a field of the answer; empty: its JSON
	Validate func(answer json.RawMessage) error // nil: any JSON fits; may be called by many goroutines
}

// repairs is how often an answer that does not fit may be mended.
const repairs = 1

const maxProblem = 2 << 10

var (
	errMisfit  = fault.New(codes.Unavailable, fault.ModelUnavailable, "the model's answer does not have the required form; try again")
	errNotText = fault.New(codes.Unavailable, fault.ModelUnavailable, "the model was asked for words and gave none; try again")
)

// parse checks the config and reads the format.
func (o *Output) parse() (template, error) {
	if len(o.Schema) == 0 {
		if o.Format != "" || o.Validate != nil {
			return nil, errors.New("output: a format or a validation needs a schema")
		}
		return nil, nil
	}
	if !json.Valid(o.Schema) {
		return nil, errors.New("output: the schema is not JSON")
	}
	t, err := parseTemplate(o.Format)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return t, nil
}

// shape makes a structured message of a reply, or a rejected one: incomplete, with
// the problem as its only part.
func (a *Assistant) shape(m Message) Message {
	if len(a.cfg.Output.Schema) == 0 {
		return m
	}
	m.Kind = KindStructured
	answer, err := a.cfg.Output.read(m.Text)
	if err != nil {
		m.Incomplete, m.Parts = true, []Part{{Text: clip(err.Error(), maxProblem)}}
		return m
	}
	m.Structured, m.Text = string(answer), a.words(answer)
	return m
}

// read gives an answer as compact JSON, if it fits.
func (o *Output) read(text string) (json.RawMessage, error) {
	var answer bytes.Buffer
	if err := json.Compact(&answer, []byte(text)); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if o.Validate != nil {
		if err := o.Validate(answer.Bytes()); err != nil {
			return nil, err
		}
	}
	return answer.Bytes(), nil
}

// words is an answer as people read it. What it does not have is left empty.
func (a *Assistant) words(answer json.RawMessage) string {
	fields := map[string]json.RawMessage{}
	if len(a.format) == 0 || json.Unmarshal(answer, &fields) != nil {
		return string(answer)
	}
	return a.format.fill(func(name string) string { return plain(&ToolCallFinished{Result: string(fields[name])}) })
}

// rejected says that the message is an answer that did not fit.
func (m *Message) rejected() bool { return m.Kind == KindStructured && m.Incomplete }

// repair is what the model is told of its answer that did not fit.
func (m *Message) repair() []PromptMessage {
	problem := ""
	if len(m.Parts) > 0 {
		problem = m.Parts[0].Text
	}
	told := PromptMessage{
		Role: RoleUser, Name: string(RoleUser),
		Text: "Your answer does not have the required form: " + problem + "\nAnswer again, with nothing but JSON that follows the schema.",
	}
	return append(spoken(PromptMessage{Role: RoleAssistant, Text: m.Text}), told)
}
