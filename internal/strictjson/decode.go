package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Why a document is refused.
var (
	ErrSyntax   = errors.New("JSON is malformed, or has a name twice")
	ErrDepth    = errors.New("JSON is nested too deeply")
	ErrTrailing = errors.New("there is more than one JSON value")
)

// Decode reads one JSON value, in which objects and arrays are nested depth times at
// most: nil, bool, string, json.Number, []any or map[string]any.
func Decode(doc []byte, depth int) (any, error) {
	r := reader{jsontext.NewDecoder(bytes.NewBuffer(doc)), depth}
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	if _, err := r.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, ErrTrailing
	}
	return v, nil
}

type reader struct {
	*jsontext.Decoder

	depth int
}

func (r reader) value() (any, error) {
	t, err := r.ReadToken()
	if err != nil {
		return nil, ErrSyntax
	}
	if r.StackDepth() > r.depth {
		return nil, ErrDepth
	}
	switch t.Kind() {
	case '{':
		return r.object()
	case '[':
		return r.array()
	case '"':
		return t.String(), nil
	case '0':
		return json.Number(t.String()), nil
	case 't', 'f':
		return t.Bool(), nil
	}
	return nil, nil
}

func (r reader) object() (any, error) {
	m := map[string]any{}
	for r.PeekKind() != '}' {
		name, err := r.ReadToken()
		if err != nil {
			return nil, ErrSyntax
		}
		key := name.String()
		if m[key], err = r.value(); err != nil {
			return nil, err
		}
	}
	return m, r.end()
}

func (r reader) array() (any, error) {
	list := []any{}
	for r.PeekKind() != ']' {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, r.end()
}

func (r reader) end() error {
	if _, err := r.ReadToken(); err != nil {
		return ErrSyntax
	}
	return nil
}
