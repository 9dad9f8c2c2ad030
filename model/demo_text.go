package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/behalf-dev/behalf/agents"
)

// play gives the rule's answer. A template that fails, for example at a field of
// a result that is not there, becomes text that says so: the author is reading.
func (r *rule) play(view map[string]any, turn int) (string, []agents.CallRequest) {
	text, err := r.text.render(view)
	if err != nil {
		return r.excuse(err), nil
	}
	var calls []agents.CallRequest
	for i, c := range r.calls {
		args, err := c.args.render(view)
		if err != nil {
			return r.excuse(err), nil
		}
		id := fmt.Sprintf("call_%d_%d", turn, i)
		calls = append(calls, agents.CallRequest{ID: id, Tool: c.tool, Arguments: args})
	}
	return text, calls
}

func (r *rule) excuse(err error) string {
	return fmt.Sprintf("I am the offline demo model, and my rule on line %d does not work here: %v.", r.line, err)
}

// view is what templates see.
func (s *scene) view(match map[string]any) map[string]any {
	result, failed, reason := map[string]any{}, map[string]any{}, ""
	for i := range s.answers {
		a := &s.answers[i]
		v := parse(a.Text)
		result[a.Tool], failed[a.Tool] = v, a.Failed
		if a.Failed {
			reason = reasonOf(v)
		}
	}
	return map[string]any{"match": match, "result": result, "failed": failed, "reason": reason}
}

// parse reads a tool's result; what is no JSON is itself.
func parse(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return text
	}
	return exact(v)
}

// exact makes whole numbers comparable and keeps the digits of the others.
func exact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = exact(v[k])
		}
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
	}
	return v
}

// reasonOf finds the reason in a failed result: {"error":{"reason":…}}, an
// object with a reason, an error or a message, or the text itself.
func reasonOf(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprint(v)
	}
	if inner, ok := m["error"].(map[string]any); ok {
		m = inner
	}
	for _, k := range [...]string{"reason", "error", "message"} {
		if s, ok := m[k].(string); ok && s != "" {
			return s
		}
	}
	return "unknown"
}

// phrase is a template of text.
type phrase struct{ t *template.Template }

func newPhrase(s string) (*phrase, error) {
	t, err := template.New("rule").Funcs(template.FuncMap{"json": quote}).Option("missingkey=zero").Parse(s)
	if err != nil {
		return nil, err
	}
	return &phrase{t}, nil
}

func (p *phrase) render(view map[string]any) (string, error) {
	if p == nil {
		return "", nil
	}
	var b bytes.Buffer
	if err := p.t.Execute(&b, view); err != nil {
		return "", shorten(err)
	}
	return strings.ReplaceAll(b.String(), "<no value>", "(unknown)"), nil
}

// shorten drops the template's position, which is not the file's.
func shorten(err error) error {
	if e, ok := errors.AsType[template.ExecError](err); ok && e.Err != nil {
		_, short, _ := strings.Cut(e.Err.Error(), ` at `)
		return errors.New(short)
	}
	return err
}

// quote writes a value as JSON, for args that are one string.
func quote(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
