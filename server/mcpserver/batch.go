package mcpserver

import (
	"bufio"
	"errors"
	"io"
	"net/http"
)

// single lets nothing through but one message. A batch, which older versions of the
// protocol have, is thousands of calls in one request: none of the limits on requests
// would count them.
func single(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := bufio.NewReader(http.MaxBytesReader(w, r.Body, maxBody))
		first, err := afterSpace(body)
		switch {
		case errors.As(err, new(*http.MaxBytesError)):
			http.Error(w, "the message is too large", http.StatusRequestEntityTooLarge)
			return
		case first == '[':
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batches are not taken; send each message in a request of its own"}}`)
			return
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
		h.ServeHTTP(w, r)
	})
}

// afterSpace looks at what comes after the spaces that JSON may begin with.
func afterSpace(body *bufio.Reader) (byte, error) {
	for {
		b, err := body.ReadByte()
		switch {
		case err != nil:
			return 0, err
		case b != ' ' && b != '\t' && b != '\r' && b != '\n':
			return b, body.UnreadByte()
		}
	}
}
