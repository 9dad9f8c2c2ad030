package redact

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/policy/pii"
	"github.com/ohler55/ojg/jp"
)

// Mark is what stands where a value was taken out.
const Mark = pii.Mark

// Places where a redaction applies.
const (
	PlaceArgs   = "args"
	PlaceResult = "result"
	PlaceStream = "stream"
	PlaceBoth   = "" // arguments and results
)

// What a redaction that is no detector's counts as (see GuardConfig.OnRedacted).
const (
	byPath  = "path"
	byWhole = "whole"
)

// redactPath is one item of @redact: a JSONPath into the arguments or the
// result, or a class of data to be found in them or in what models say.
type Item struct {
	Place string
	Text  string
	Path  jp.Expr
	Class pii.Set // instead of expr
}

// OfCall reports whether the item is about the arguments or the result of a call.
func (p Item) OfCall() bool { return p.Place != PlaceStream }

// parseRedact takes "result:$.ssn, args:$.note, pii:card, stream:pii:card".
func Parse(text string) ([]Item, error) {
	var paths []Item
	for part := range strings.SplitSeq(text, ",") {
		p, err := parseRedactPath(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

func parseRedactPath(text string) (Item, error) {
	const want = "want args:$.path, result:$.path, pii:<class>, args:pii:<class>, result:pii:<class> or stream:pii:<class>"
	place, rest, _ := strings.Cut(text, ":")
	switch place {
	case "pii":
		place, rest = PlaceBoth, text
	case PlaceArgs, PlaceResult, PlaceStream:
	default:
		return Item{}, fmt.Errorf("%q: %s", text, want)
	}
	p := Item{Place: place, Text: rest}
	var err error
	if class, ok := strings.CutPrefix(rest, "pii:"); ok {
		p.Class, err = pii.Parse(class)
		return p, err
	}
	if place == PlaceStream {
		return p, fmt.Errorf("%q: %s", text, want)
	}
	p.Path, err = parseJSONPath(rest)
	return p, err
}

// maxDescents bounds what a path may cost: with each further descent a document that
// nests deeply is searched from each of its levels once more, and who wrote it chose how
// deep it is.
const maxDescents = 2

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
	descents := 0
	for _, f := range expr[1:] {
		switch f.(type) {
		case jp.Child, jp.Wildcard, jp.Nth:
		case jp.Descent:
			descents++
		default:
			return nil, fmt.Errorf("%q: a path has names, [*], indices and .. only", text)
		}
	}
	if descents > maxDescents {
		return nil, fmt.Errorf("%q: a path has .. %d times at most", text, maxDescents)
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
	inArgs       pii.Set
	inResult     pii.Set
	stream       pii.Set
	account      func(class string, bytes int) // nil: nobody counts
}

// New arms what annotations say.
func New(texts ...string) (*Redaction, error) {
	r := &Redaction{}
	for _, text := range texts {
		items, err := Parse(text)
		if err != nil {
			return nil, err
		}
		r.Arm(items)
	}
	return r, nil
}

// Arm takes the items to where they apply.
func (r *Redaction) Arm(paths []Item) {
	for _, p := range paths {
		switch {
		case p.Place == PlaceStream:
			r.stream |= p.Class
		case p.Place == PlaceArgs && p.Class == 0:
			r.args = append(r.args, p.Path)
		case p.Place == PlaceResult && p.Class == 0:
			r.result = append(r.result, p.Path)
		}
		if p.Place == PlaceArgs || p.Place == PlaceBoth {
			r.inArgs |= p.Class
		}
		if p.Place == PlaceResult || p.Place == PlaceBoth {
			r.inResult |= p.Class
		}
	}
}

// Empty reports whether there is nothing to take out of a call. What models say is
// not part of one.
func (r *Redaction) Empty() bool { return !r.OfArgs() && !r.OfResult() }

// OfArgs reports whether anything is to be taken out of the arguments.
func (r *Redaction) OfArgs() bool { return len(r.args) > 0 || r.inArgs != 0 }

// OfResult reports whether anything is to be taken out of the result, wherever it is
// found.
func (r *Redaction) OfResult() bool { return len(r.result) > 0 || r.inResult != 0 }

// HidesResults reports whether parts of the result are to be taken out by their
// place.
func (r *Redaction) HidesResults() bool { return len(r.result) > 0 }

// Quoted is a text from beside a result without what the detectors find of one. Nobody
// counts it.
func (r *Redaction) Quoted(text string) string { return r.inResult.Redact(text, nil) }

// Hides reports whether anything is to be taken out of the result, or out of what
// models say.
func (r *Redaction) Hides() bool { return r.OfResult() || r.stream != 0 }

// Stream is what has to be taken out of what models say.
func (r *Redaction) Stream() pii.Set { return r.stream }

// Args gives the arguments as they may be sent, and whether they differ from
// what the model wrote. Bytes that need no change stay as they are.
func (r *Redaction) Args(args json.RawMessage) (sent json.RawMessage, changed bool, err error) {
	if !r.OfArgs() || len(args) == 0 {
		return args, false, nil
	}
	doc, err := arguments.Decode(args)
	if err != nil {
		return nil, false, fmt.Errorf("redact arguments: %w", err)
	}
	doc, byPath, err := r.apply(doc, r.args)
	if err != nil {
		return args, false, err
	}
	doc, found := r.sweep(doc, r.inArgs)
	if !byPath && !found {
		return args, false, nil
	}
	sent, err = arguments.Encode(doc)
	return sent, true, err
}

// Result gives the result without what must not be seen. A result to which the
// redaction cannot be applied (not JSON, duplicate keys, a bare text or another
// shape where paths are due) is replaced whole, and the error says why; the
// returned bytes may always be passed on. Bytes in which no detector finds anything
// stay as they are.
func (r *Redaction) Result(result json.RawMessage) (json.RawMessage, error) {
	if !r.OfResult() {
		return result, nil
	}
	clean, err := r.cleanResult(result)
	if err != nil {
		r.count(byWhole, len(result))
		return json.RawMessage(`"` + Mark + `"`), fmt.Errorf("redact result: %w", err)
	}
	return clean, nil
}

func (r *Redaction) cleanResult(result json.RawMessage) (json.RawMessage, error) {
	doc, err := arguments.Decode(result)
	if err != nil {
		return nil, err
	}
	if err := r.pathsFit(doc); err != nil {
		return nil, err
	}
	if doc, _, err = r.apply(doc, r.result); err != nil {
		return nil, err
	}
	doc, found := r.sweep(doc, r.inResult)
	if len(r.result) == 0 && !found {
		return result, nil
	}
	return arguments.Encode(doc)
}

// pathsFit says why the paths cannot be applied to a result.
func (r *Redaction) pathsFit(doc any) error {
	if len(r.result) == 0 {
		return nil
	}
	switch doc.(type) {
	case map[string]any, []any, nil:
	default:
		return errors.New("a bare value has no paths")
	}
	for _, path := range r.result {
		if !fits(doc, path, false) {
			return errors.New("the result has another shape than a path")
		}
	}
	return nil
}

// apply puts the mark wherever a path leads, and looks again: what the library
// did not replace makes the whole document unfit.
func (r *Redaction) apply(doc any, paths []jp.Expr) (any, bool, error) {
	changed := false
	mark := func(v any) (any, bool) {
		hit := v != Mark
		if hit {
			changed = true
			r.count(byPath, sizeOf(v))
		}
		return Mark, hit
	}
	for _, p := range paths {
		var err error
		if doc, err = p.Modify(doc, mark); err != nil {
			return nil, false, fmt.Errorf("apply a path: %w", err)
		}
	}
	for _, p := range paths {
		if slices.ContainsFunc(p.Get(doc), func(v any) bool { return v != Mark }) {
			return nil, false, errors.New("a path could not be applied everywhere")
		}
	}
	return doc, changed, nil
}
