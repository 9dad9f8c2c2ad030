package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/behalf-dev/behalf/fault"
	"github.com/google/jsonschema-go/jsonschema"
	"google.golang.org/grpc/codes"
)

// Option says more of a typed tool than its types do.
type Option func(*draft)

// draft is a tool while its options are applied.
type draft struct {
	Descriptor
	args *jsonschema.Schema
	errs []error
}

// ReadOnly says that the tool changes nothing. A tool that does not say so is a
// write: it is never cancelled half way, and not repeated after a crash.
func ReadOnly() Option { return func(d *draft) { d.Effect = Read } }

// Idempotent says that a second call with the same arguments changes nothing
// more, so that a call may be repeated when its outcome is unknown.
func Idempotent() Option { return func(d *draft) { d.Descriptor.Idempotent = true } }

// Scopes are required of the caller, all of them.
func Scopes(names ...string) Option {
	return func(d *draft) { d.Descriptor.Scopes = append(d.Descriptor.Scopes, names...) }
}

// Risk is low, medium or high; policies see it.
func Risk(level string) Option { return func(d *draft) { d.Descriptor.Risk = level } }

// OwnerParam says that a string parameter names whose data it is: it must equal
// that fact of the caller unless policy permits act_for_other.
func OwnerParam(param string, fact Owner) Option {
	return func(d *draft) {
		if d.Owners == nil {
			d.Owners = map[string]Owner{}
		}
		d.Owners[param] = fact
	}
}

// Enum lists the values that a string parameter may have, like the field tag
// `enum:"a,b"`, for lists that are known only at run time.
func Enum(param string, values ...string) Option {
	return func(d *draft) {
		p := d.args.Properties[param]
		if p == nil || p.Type != "string" || len(values) == 0 {
			d.errs = append(d.errs, fmt.Errorf("enum of %q: not a string parameter, or no values", param))
			return
		}
		p.Enum = nil
		for _, v := range values {
			p.Enum = append(p.Enum, v)
		}
	}
}

// Func makes a tool of a typed Go function. In must be a struct; its schema is
// inferred: fields without omitempty or omitzero are required, unknown fields
// are refused, null is never a value. The tags are `json`, `jsonschema` (the
// description) and `enum:"a,b"`. A type that cannot be inferred truthfully
// (time.Duration, types that decode themselves) is an error of NewRegistry.
//
// The function gets arguments that passed the gate, and the grant in its
// context. Its error is a failed result for the model, which reads the text; a
// *fault.Error shows its message only. It may be called by many goroutines.
func Func[In, Out any](name, description string, fn func(context.Context, In) (Out, error), opts ...Option) Tool {
	if fn == nil {
		return FuncIn[In, Out](name, description, nil, opts...)
	}
	t := FuncIn(name, description, func(ctx context.Context, _ Origin, in In) (Out, error) { return fn(ctx, in) }, opts...)
	t.callIn = nil // whoever wraps Call is not passed by
	return t
}

// FuncIn is [Func] for a function that must know where it is called from. By Call
// alone, without a gate in front, that is nowhere.
func FuncIn[In, Out any](name, description string, fn func(context.Context, Origin, In) (Out, error), opts ...Option) Tool {
	d := &draft{Descriptor: Descriptor{Name: name, Description: description, Effect: Write}}
	var err error
	if d.args, err = infer(reflect.TypeFor[In]()); err != nil {
		return Tool{Descriptor: d.Descriptor, err: err}
	}
	for _, o := range opts {
		o(d)
	}
	if fn == nil {
		d.errs = append(d.errs, errors.New("the function is nil"))
	}
	d.Schema, err = json.Marshal(d.args)
	d.Result = inferResult(reflect.TypeFor[Out]())
	t := Tool{Descriptor: d.Descriptor, err: errors.Join(append(d.errs, err)...)}
	call := func(ctx context.Context, from Origin, args json.RawMessage) (json.RawMessage, error) {
		in, err := decode[In](args, d.args)
		if err != nil {
			return nil, err
		}
		out, err := fn(ctx, from, in)
		if err != nil {
			return nil, err
		}
		return encode(out)
	}
	t.callIn = call
	t.Call = func(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
		return call(ctx, Origin{}, args)
	}
	return t
}

// decode reads arguments strictly. The gate has validated what the model wrote,
// but these bytes may come from a redaction, and a Tool may be called without a
// gate in front; encoding/json alone takes any case and the last duplicate.
func decode[In any](args json.RawMessage, s *jsonschema.Schema) (in In, err error) {
	parsed, bad := parseArguments(string(args))
	if bad == nil {
		bad = unknown(s, parsed.values)
	}
	if bad != nil {
		return in, invalid(*bad)
	}
	d := json.NewDecoder(bytes.NewReader(parsed.raw))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return in, invalid(misfit(err)).Because(err)
	}
	return in, nil
}

func invalid(fields ...fault.Field) *fault.Error {
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the arguments do not fit the tool: "+list(fields)).WithFields(fields...)
}

// misfit names the field of a decoding error without the value that the error's
// own text shows.
func misfit(err error) fault.Field {
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fault.Field{Path: pointer(strings.Split(te.Field, ".")...), Problem: "does not fit " + te.Type.String()}
	}
	return fault.Field{Problem: "does not fit the tool's parameters"}
}

// unknown finds a member that the schema does not name, letter for letter.
func unknown(s *jsonschema.Schema, v any) *fault.Field {
	switch v := v.(type) {
	case []any:
		for i := range v {
			if bad := below(s.Items, fmt.Sprint(i), v[i]); bad != nil {
				return bad
			}
		}
	case map[string]any:
		for name, child := range v {
			p, ok := s.Properties[name]
			if !ok && s.Properties != nil {
				return &fault.Field{Path: pointer(name), Problem: "is not a known field"}
			}
			if !ok {
				p = s.AdditionalProperties
			}
			if bad := below(p, name, child); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func below(s *jsonschema.Schema, name string, v any) *fault.Field {
	if s == nil {
		return nil
	}
	if bad := unknown(s, v); bad != nil {
		return under(name, bad)
	}
	return nil
}

func encode(out any) (json.RawMessage, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, fault.New(codes.Internal, fault.Internal, "the tool's result is not JSON").Because(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
