package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/ohler55/ojg/jp"
)

// Redacted is what stands where a value was taken out.
const Redacted = "[redacted]"

// maxDepth is how deeply JSON may nest (SECURITY 9).
const maxDepth = 32

// Places where a redaction applies.
const (
	placeArgs   = "args"
	placeResult = "result"
	placePII    = "pii"
	placeStream = "stream"
)

// redactPath is one item of @redact: a JSONPath into the arguments or the
// result, or a class of personal data.
type redactPath struct {
	place string
	text  string
	expr  jp.Expr
}

func (p redactPath) built() bool { return p.place == placeArgs || p.place == placeResult }

// parseRedact takes "result:$.ssn, args:$.note, pii:card, stream:pii:card".
func parseRedact(text string) ([]redactPath, error) {
	var paths []redactPath
	for part := range strings.SplitSeq(text, ",") {
		p, err := parseRedactPath(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

func parseRedactPath(text string) (redactPath, error) {
	place, rest, _ := strings.Cut(text, ":")
	p := redactPath{place: place, text: rest}
	switch place {
	case placeArgs, placeResult:
		expr, err := parseJSONPath(rest)
		p.expr = expr
		return p, err
	case placePII:
		return p, checkClass(rest)
	case placeStream:
		class, ok := strings.CutPrefix(rest, "pii:")
		if !ok {
			return p, fmt.Errorf("%q: want stream:pii:<class>", text)
		}
		return p, checkClass(class)
	}
	return p, fmt.Errorf("%q: want args:$.path, result:$.path, pii:<class> or stream:pii:<class>", text)
}

func checkClass(class string) error {
	if class == "" || !only(class, "abcdefghijklmnopqrstuvwxyz0123456789_") {
		return fmt.Errorf("%q is not a class of personal data, e.g. card", class)
	}
	return nil
}

// parseJSONPath accepts names, wildcards, indices and descents below the root.
// Filters would let a hostile document choose what is redacted.
func parseJSONPath(text string) (jp.Expr, error) {
	expr, err := jp.ParseString(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a JSONPath: %w", text, err)
	}
	if len(expr) < 2 || !isRoot(expr[0]) {
		return nil, fmt.Errorf("%q: a path begins with $ and names something below it", text)
	}
	for _, f := range expr[1:] {
		switch f.(type) {
		case jp.Child, jp.Wildcard, jp.Nth, jp.Descent:
		default:
			return nil, fmt.Errorf("%q: a path has names, [*], indices and .. only", text)
		}
	}
	if _, open := expr[len(expr)-1].(jp.Descent); open {
		return nil, fmt.Errorf("%q: a path ends with a name, [*] or an index", text)
	}
	return expr, nil
}

func isRoot(f jp.Frag) bool {
	_, ok := f.(jp.Root)
	return ok
}

// Redaction takes values out of arguments and results. The zero value takes out
// nothing. It is immutable.
type Redaction struct {
	args, result []jp.Expr
}

// NewRedaction arms the redactions among the duties. It fails if one of them is
// of a kind that this build cannot apply.
func NewRedaction(duties []Duty) (*Redaction, error) {
	r := &Redaction{}
	for _, d := range duties {
		if d.Kind != kindRedact {
			continue
		}
		paths, err := parseRedact(d.Text)
		if err != nil {
			return nil, fmt.Errorf("duty of policy %s: %w", d.PolicyID, err)
		}
		if err := r.arm(paths); err != nil {
			return nil, fmt.Errorf("duty of policy %s: %w", d.PolicyID, err)
		}
	}
	return r, nil
}

func (r *Redaction) arm(paths []redactPath) error {
	for _, p := range paths {
		if !p.built() {
			return fmt.Errorf("redaction of %s:%s is not built", p.place, p.text)
		}
	}
	r.armBuilt(paths)
	return nil
}

// armBuilt takes the paths into arguments and results.
func (r *Redaction) armBuilt(paths []redactPath) {
	for _, p := range paths {
		switch p.place {
		case placeArgs:
			r.args = append(r.args, p.expr)
		case placeResult:
			r.result = append(r.result, p.expr)
		}
	}
}

// Empty reports whether there is nothing to take out.
func (r *Redaction) Empty() bool { return len(r.args) == 0 && len(r.result) == 0 }

// Args gives the arguments as they may be sent, and whether they differ from
// what the model wrote. Bytes that need no change stay as they are.
func (r *Redaction) Args(args json.RawMessage) (sent json.RawMessage, changed bool, err error) {
	if len(r.args) == 0 || len(args) == 0 {
		return args, false, nil
	}
	doc, err := decodeStrict(args)
	if err != nil {
		return nil, false, fmt.Errorf("redact arguments: %w", err)
	}
	doc, changed, err = apply(doc, r.args)
	if err != nil || !changed {
		return args, false, err
	}
	sent, err = encode(doc)
	return sent, true, err
}

// Result gives the result without what must not be seen. A result to which the
// paths cannot be applied (not JSON, a bare text, duplicate keys) is replaced
// whole, and the error says why; the returned bytes may always be passed on.
func (r *Redaction) Result(result json.RawMessage) (json.RawMessage, error) {
	if len(r.result) == 0 {
		return result, nil
	}
	clean, err := r.cleanResult(result)
	if err != nil {
		return json.RawMessage(`"` + Redacted + `"`), fmt.Errorf("redact result: %w", err)
	}
	return clean, nil
}

func (r *Redaction) cleanResult(result json.RawMessage) (json.RawMessage, error) {
	doc, err := decodeStrict(result)
	if err != nil {
		return nil, err
	}
	switch doc.(type) {
	case map[string]any, []any, nil:
	default:
		return nil, errors.New("a bare value has no paths")
	}
	if list, ok := doc.([]any); ok && len(list) > 0 && slices.ContainsFunc(r.result, namesMember) {
		return nil, errors.New("a path names a member, and the result is a list")
	}
	doc, _, err = apply(doc, r.result)
	if err != nil {
		return nil, err
	}
	return encode(doc)
}

// namesMember reports whether a path begins with the name of a member.
func namesMember(path jp.Expr) bool {
	if len(path) > 0 && isRoot(path[0]) {
		path = path[1:]
	}
	if len(path) == 0 {
		return false
	}
	_, child := path[0].(jp.Child)
	return child
}

// apply puts the mark wherever a path leads, and looks again: what the library
// did not replace makes the whole document unfit.
func apply(doc any, paths []jp.Expr) (any, bool, error) {
	changed := false
	mark := func(v any) (any, bool) {
		hit := v != Redacted
		changed = changed || hit
		return Redacted, hit
	}
	for _, p := range paths {
		var err error
		if doc, err = p.Modify(doc, mark); err != nil {
			return nil, false, fmt.Errorf("apply a path: %w", err)
		}
	}
	for _, p := range paths {
		if slices.ContainsFunc(p.Get(doc), func(v any) bool { return v != Redacted }) {
			return nil, false, errors.New("a path could not be applied everywhere")
		}
	}
	return doc, changed, nil
}

func encode(doc any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode redacted document: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeStrict reads one JSON value: no duplicate names, valid UTF-8, nothing
// behind it, bounded depth, numbers as they are written.
func decodeStrict(doc []byte) (any, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(doc))
	v, err := decodeValue(d)
	if err != nil {
		return nil, err
	}
	return v, atEnd(d)
}

func decodeValue(d *jsontext.Decoder) (any, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, badJSON(err)
	}
	if d.StackDepth() > maxDepth {
		return nil, errTooDeep
	}
	switch t.Kind() {
	case '{':
		return decodeObject(d)
	case '[':
		return decodeArray(d)
	case '"':
		return t.String(), nil
	case '0':
		return json.Number(t.String()), nil
	case 't', 'f':
		return t.Bool(), nil
	}
	return nil, nil
}

func decodeObject(d *jsontext.Decoder) (any, error) {
	m := map[string]any{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, badJSON(err)
		}
		key := name.String()
		if m[key], err = decodeValue(d); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return m, err
}

func decodeArray(d *jsontext.Decoder) (any, error) {
	list := []any{}
	for d.PeekKind() != ']' {
		v, err := decodeValue(d)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.ReadToken()
	return list, err
}
