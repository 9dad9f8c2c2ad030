package tools

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/fault"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxArguments bounds a call's arguments (SECURITY 9).
const maxArguments = 64 << 10

// maxFields bounds the list of problems of one call.
const maxFields = 32

// maxLeaves bounds the problems of one call that are put into words at all.
const maxLeaves = 1000

// arguments are a call's arguments after the strict decoder: raw is what the
// model wrote without insignificant white space, and the only form that policy,
// digests and backends see.
type arguments struct {
	raw    json.RawMessage
	values map[string]any
}

// parse reads and validates hostile arguments. The problems name places, never
// values.
func (s *schema) parse(text string) (arguments, []fault.Field) {
	args, bad := parseArguments(text)
	if bad != nil {
		return arguments{}, []fault.Field{*bad}
	}
	err := s.compiled.of(args.values, len(text))
	if err == nil {
		return args, nil
	}
	return arguments{}, violations(err)
}

// parseArguments is the strict decoder alone.
func parseArguments(text string) (arguments, *fault.Field) {
	switch {
	case len(text) > maxArguments:
		return arguments{}, &fault.Field{Problem: fmt.Sprintf("has more than %d bytes", maxArguments)}
	case text == "":
		return arguments{}, &fault.Field{Problem: "is empty, which is not JSON; write {} for no arguments"}
	}
	v, spaced, bad := parseJSON(text, exact)
	if bad != nil {
		return arguments{}, bad
	}
	values, ok := v.(map[string]any)
	if !ok {
		return arguments{}, &fault.Field{Problem: "is not a JSON object"}
	}
	if !spaced {
		return arguments{json.RawMessage(text), values}, nil
	}
	var buf bytes.Buffer
	if err := json.Compact(&buf, []byte(text)); err != nil {
		return arguments{}, &fault.Field{Problem: "is not JSON"}
	}
	return arguments{buf.Bytes(), values}, nil
}

// violations lists what a validation error says, sorted, without values.
func violations(err error) []fault.Field {
	if errors.Is(err, errTooMuch) {
		return []fault.Field{{Problem: err.Error()}}
	}
	ve, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []fault.Field{{Problem: "does not fit the schema"}}
	}
	out := leaves(nil, ve)
	slices.SortFunc(out, func(a, b fault.Field) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Problem, b.Problem))
	})
	out = slices.Compact(out)
	if more := len(out) - maxFields; more > 0 {
		out = append(out[:maxFields], fault.Field{Problem: fmt.Sprintf("has %d more problems", more)})
	}
	return out
}

// leaves collects the errors that say something themselves. Alternatives say
// that none fits and then why each did not.
func leaves(out []fault.Field, e *jsonschema.ValidationError) []fault.Field {
	if len(out) >= maxLeaves {
		return out
	}
	if problem := describe(e); problem != "" {
		out = append(out, fault.Field{Path: pointer(e.InstanceLocation...), Problem: problem})
	}
	for _, c := range e.Causes {
		out = leaves(out, c)
	}
	return out
}

// describe says what is wrong in words that hold no value of the arguments. The
// library's own texts do (pattern, format, minimum), so they are not used.
func describe(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", is " + k.Got
	case *kind.Enum:
		return "must be one of " + quoteAll(k.Want)
	case *kind.Const:
		return "must be " + quoteAll([]any{k.Want})
	case *kind.Required:
		return "lacks " + clean(strings.Join(k.Missing, ", "), 512)
	case *kind.AdditionalProperties:
		return "has unknown fields: " + names(k.Properties)
	case *kind.FalseSchema:
		return "is not a known field"
	case *kind.Format:
		if k.Want == FormatDouble {
			return errInexact.Error()
		}
		return "must be a valid " + k.Want
	case *kind.Pattern:
		return "must match the pattern " + k.Want
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return "must be more than " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return "must be less than " + k.Want.RatString()
	}
	return describeShape(e)
}

func describeShape(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.MultipleOf:
		return "must be a multiple of " + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items", k.Want)
	case *kind.UniqueItems:
		return "must not have two equal items"
	case *kind.AnyOf, *kind.OneOf:
		return "must fit one of the forms that the schema names"
	}
	if len(e.Causes) > 0 {
		return ""
	}
	if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
		return "does not satisfy " + strings.Join(path, "/")
	}
	return "does not fit the schema"
}

// quoteAll shows values of the schema, which are not the caller's.
func quoteAll(values []any) string {
	var out []string
	for _, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			continue
		}
		out = append(out, string(b))
	}
	return clean(strings.Join(out, ", "), 512)
}

// names shows field names of the arguments: hostile, so quoted and bounded.
func names(all []string) string {
	all = slices.Clone(all)
	slices.Sort(all)
	var out []string
	for _, n := range all[:min(len(all), 8)] {
		out = append(out, fmt.Sprintf("%q", clean(n, 64)))
	}
	return strings.Join(out, ", ")
}

// strict is what the gate asks of a value beyond JSON Schema, which takes 1.0
// for an integer and an open object's AMOUNT for a field of its own.
type strict struct {
	integer bool
	known   map[string]string // folded → as declared
}

// compileStrict is the vocabulary's compiler: it adds strict where a schema has
// something to be strict about.
func compileStrict(_ *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
	s := &strict{integer: only(obj["type"], "integer")}
	declared, _ := obj["properties"].(map[string]any)
	if len(declared) > 0 && (obj["additionalProperties"] != false || has(obj, "patternProperties")) {
		s.known = map[string]string{}
		for name := range declared {
			s.known[fold(name)] = name
		}
	}
	if !s.integer && s.known == nil {
		return nil, nil
	}
	return s, nil
}

// only reports whether a type keyword asks for an integer and not for a number.
func only(typ any, want string) bool {
	if l, ok := typ.([]any); ok {
		return slices.Contains(l, any(want)) && !slices.Contains(l, any("number"))
	}
	return typ == want
}

// Validate implements jsonschema.SchemaExt.
func (s *strict) Validate(ctx *jsonschema.ValidatorContext, v any) {
	switch v := v.(type) {
	case json.Number:
		if s.integer && strings.ContainsAny(v.String(), ".eE") {
			ctx.AddError(&kind.Type{Got: "a number with a fraction", Want: []string{"integer"}})
		}
	case map[string]any:
		for name := range v {
			if as, ok := s.known[fold(name)]; ok && as != name {
				ctx.AddError(&kind.AdditionalProperties{Properties: []string{name}})
			}
		}
	}
}

// FormatDouble is the format of numbers that become a double on their way to a
// backend: one that would not be the same there is refused.
const FormatDouble = "exact-double"

var errInexact = errors.New("has more digits than a double keeps; up to 15 are always kept")

func exactDouble(v any) error {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	f, err := n.Float64()
	if err != nil {
		return errInexact
	}
	written, ok := new(big.Rat).SetString(n.String())
	kept, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	if !ok || written.Cmp(kept) != 0 {
		return errInexact
	}
	return nil
}
