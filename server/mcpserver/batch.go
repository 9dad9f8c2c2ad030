package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// single lets nothing through but one message. A batch, which older versions of the
// protocol have, is thousands of calls in one request: none of the limits on requests
// would count them. A message that asks to hear of progress is answered by stream, all
// others by whole.
func single(whole, stream http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		switch {
		case errors.As(err, new(*http.MaxBytesError)):
			http.Error(w, "the message is too large", http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			http.Error(w, "the message did not arrive", http.StatusBadRequest)
			return
		case bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("[")):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batches are not taken; send each message in a request of its own"}}`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		if asksForProgress(text) {
			stream.ServeHTTP(w, r)
			return
		}
		whole.ServeHTTP(w, r)
	})
}

// asksForProgress reports whether a message calls an agent and has a token for its
// progress. Nothing else has any: its answer stays one JSON object.
func asksForProgress(text []byte) bool {
	var m struct {
		Method string `json:"method"`
		Params struct {
			Name string `json:"name"`
			Meta struct {
				Token any `json:"progressToken"`
			} `json:"_meta"`
		} `json:"params"`
	}
	return json.Unmarshal(text, &m) == nil && m.Method == "tools/call" && strings.HasPrefix(m.Params.Name, agentTool) && isToken(m.Params.Meta.Token)
}
