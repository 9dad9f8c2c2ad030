package arguments

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/behalf-dev/behalf/internal/strictjson"
)

// maxDepth is how deeply JSON may nest (SECURITY 9).
const maxDepth = 32

// Encode writes a document that was read by Decode.
func Encode(doc any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode redacted document: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode reads one JSON value: no duplicate names, valid UTF-8, nothing behind it,
// bounded depth, numbers as they are written.
func Decode(doc []byte) (any, error) { return strictjson.Decode(doc, maxDepth) }
