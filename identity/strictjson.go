package identity

import (
	"errors"

	"github.com/behalf-dev/behalf/internal/strictjson"
)

const maxJSONDepth = 16

// strictObject decodes one JSON object. encoding/json would fold the case of
// names, keep the last of two equal names and replace bad UTF-8; each of them
// lets two readers of one token see two different tokens, so all are refused.
// Numbers stay json.Number.
func strictObject(data []byte) (map[string]any, error) {
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
