package identity

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/internal/strictjson"
)

const maxJSONDepth = 16

// strictObject decodes one JSON object. encoding/json would fold the case of
// names, keep the last of two equal names and replace bad UTF-8; each of them
// lets two readers of one token see two different tokens, so all are refused.
// So is the replacement character: whoever wrote it could not read a name, and
// two people would be one. Numbers stay json.Number.
func strictObject(data []byte) (map[string]any, error) {
	if bytes.ContainsRune(data, utf8.RuneError) || bytes.Contains(bytes.ToLower(data), []byte(`\ufffd`)) {
		return nil, errors.New("JSON has a text that somebody could not read")
	}
	v, err := strictjson.Decode(data, maxJSONDepth)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("JSON is not an object")
	}
	return object, nil
}
