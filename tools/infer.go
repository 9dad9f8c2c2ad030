package tools

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// known are types whose schema the library gets wrong, or which decode
// themselves in a way that the schema here says truthfully.
var known = map[reflect.Type]*jsonschema.Schema{
	reflect.TypeFor[time.Time]():       {Type: "string", Format: "date-time"},
	reflect.TypeFor[json.RawMessage](): {},
	reflect.TypeFor[json.Number]():     {Type: "number"},
	reflect.TypeFor[[]byte]():          {Type: "string", ContentEncoding: "base64"},
}

// infer makes the argument schema of a struct type.
func infer(t reflect.Type) (*jsonschema.Schema, error) {
	if t.Kind() != reflect.Struct || known[t] != nil {
		return nil, fmt.Errorf("the parameters must be a struct, not %v", t)
	}
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	w := &typeWalk{}
	w.walk(t, s, t.String())
	if s.Properties == nil {
		s.Properties = map[string]*jsonschema.Schema{} // a struct without fields
	}
	return s, errors.Join(w.errs...)
}

// inferResult makes the schema of a result type, by which redactions are checked
// when policies are loaded. A type that it cannot describe truthfully has none.
func inferResult(t reflect.Type) json.RawMessage {
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		return nil
	}
	w := &typeWalk{}
	w.walk(t, s, t.String())
	b, err := json.Marshal(s)
	if err != nil || len(w.errs) > 0 {
		return nil
	}
	return b
}

// typeWalk goes through a type and its schema side by side: it refuses what the
// schema would not tell the truth about, forbids null and applies enum tags.
type typeWalk struct{ errs []error }

func (w *typeWalk) no(at, format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf("%s: "+format, append([]any{at}, args...)...))
}

func (w *typeWalk) walk(t reflect.Type, s *jsonschema.Schema, at string) {
	notNull(s)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known[t] != nil {
		return
	}
	w.truthful(t, at)
	switch t.Kind() {
	case reflect.Struct:
		w.fields(t, s, at)
	case reflect.Slice, reflect.Array:
		w.walk(t.Elem(), s.Items, at+"[]")
	case reflect.Map:
		if t.Key().Kind() != reflect.String || decodesText(t.Key()) {
			w.no(at, "a map needs plain string keys")
		}
		w.walk(t.Elem(), s.AdditionalProperties, at+"{}")
	}
}

// truthful refuses types that decode differently from what their kind says.
func (w *typeWalk) truthful(t reflect.Type, at string) {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		w.no(at, "time.Duration is a number of nanoseconds to JSON; take seconds as an int, or a string")
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		w.no(at, "%v decodes itself, so its schema cannot be inferred; take json.RawMessage", t)
	case decodesText(t) && t.Kind() != reflect.String:
		w.no(at, "%v decodes itself from text; take a string", t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		w.no(at, "%v is base64 to JSON; take []byte", t)
	case t.Kind() == reflect.Interface && t.NumMethod() > 0:
		w.no(at, "%v cannot be decoded into", t)
	}
}

func decodesText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func (w *typeWalk) fields(t reflect.Type, s *jsonschema.Schema, at string) {
	seen := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		place := at + "." + f.Name
		if f.Anonymous && name != "" {
			w.no(place, "an embedded field must not have a json name")
		}
		if f.Anonymous || !f.IsExported() || name == "-" && opts == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if seen[fold(name)] {
			w.no(place, "the name %q is there twice", name)
			continue
		}
		seen[fold(name)] = true
		if s.Properties[name] == nil {
			w.no(place, "no schema can be inferred")
			continue
		}
		if slices.Contains(strings.Split(opts, ","), "string") {
			w.no(place, "the json option string is not supported")
		}
		w.walk(f.Type, s.Properties[name], place)
		w.enum(f, s.Properties[name], place)
	}
}

// enum applies the tag `enum:"a,b"` to a string or integer field, or to the
// items of a list.
func (w *typeWalk) enum(f reflect.StructField, s *jsonschema.Schema, at string) {
	tag, ok := f.Tag.Lookup("enum")
	if !ok {
		return
	}
	if s.Items != nil {
		s = s.Items
	}
	for v := range strings.SplitSeq(tag, ",") {
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case s.Type == "string":
			s.Enum = append(s.Enum, v)
		case s.Type == "integer" && err == nil:
			s.Enum = append(s.Enum, n)
		default:
			w.no(at, "the enum value %q does not fit the type", v)
		}
	}
}

// notNull takes back that a pointer or a slice may be null: what is not there
// is left out, so that policy sees one form of absence.
func notNull(s *jsonschema.Schema) {
	s.Types = slices.DeleteFunc(slices.Clone(s.Types), func(t string) bool { return t == "null" })
	if len(s.Types) == 1 {
		s.Type = s.Types[0]
	}
	if len(s.Types) <= 1 {
		s.Types = nil
	}
}
