package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const maxJSONDepth = 16

// strictObject decodes one JSON object. encoding/json would fold the case of
// names, keep the last of two equal names and replace bad UTF-8; each of them
// lets two readers of one token see two different tokens, so all are refused.
// Numbers stay json.Number.
func strictObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("JSON is not UTF-8")
	}
	r := &strictReader{dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("JSON has trailing bytes")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("JSON is not an object")
	}
	return object, nil
}

type strictReader struct{ dec *json.Decoder }

func (r *strictReader) value(depth int) (any, error) {
	tok, err := r.dec.Token()
	if err != nil {
		return nil, errors.New("JSON is malformed")
	}
	switch t := tok.(type) {
	case json.Delim:
		return r.composite(t, depth+1)
	case string:
		return t, checkText(t)
	default:
		return t, nil
	}
}

func (r *strictReader) composite(open json.Delim, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("JSON is deeper than %d", maxJSONDepth)
	}
	if open == '{' {
		return r.object(depth)
	}
	return r.array(depth)
}

func (r *strictReader) object(depth int) (map[string]any, error) {
	out := map[string]any{}
	for r.dec.More() {
		name, err := r.name()
		if err != nil {
			return nil, err
		}
		if _, dup := out[name]; dup {
			return nil, errors.New("JSON has a duplicate name")
		}
		if out[name], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	return out, r.close()
}

func (r *strictReader) name() (string, error) {
	tok, err := r.dec.Token()
	if err != nil {
		return "", errors.New("JSON is malformed")
	}
	name, ok := tok.(string)
	if !ok {
		return "", errors.New("JSON has a name that is not a string")
	}
	return name, checkText(name)
}

func (r *strictReader) array(depth int) ([]any, error) {
	out := []any{}
	for r.dec.More() {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, r.close()
}

func (r *strictReader) close() error {
	if _, err := r.dec.Token(); err != nil {
		return errors.New("JSON is malformed")
	}
	return nil
}

// checkText refuses the replacement character: the decoder writes it for a lone
// surrogate, so that "\ud800" and "\udfff" would become one subject.
func checkText(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return errors.New("JSON has a string that is not Unicode")
	}
	return nil
}
