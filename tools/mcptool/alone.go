package mcptool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// alone is the answer to a request of a call, or an error that is this call's alone: of an
// answer that it does not like the SDK makes the end of the session, and with it of all
// calls that go by it. An error of the transport it takes for one request that failed.
func alone(resp *http.Response) (*http.Response, error) {
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && kind == "text/event-stream" {
		resp.Body = &messages{Closer: resp.Body, lines: bufio.NewReader(resp.Body)}
		return resp, nil
	}
	if resp.StatusCode != http.StatusOK || kind != "application/json" {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if _, err := jsonrpc.DecodeMessage(body); err != nil {
		return nil, errUnreadable // the text has some of the answer
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// refusal is what an answer without success says.
func refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxFailure))
	said := fmt.Sprintf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if m, err := jsonrpc.DecodeMessage(body); err == nil {
		if r, ok := m.(*jsonrpc.Response); ok && r.Error != nil {
			return fmt.Errorf("%s: %w", said, r.Error)
		}
	}
	return errors.New(said)
}

// messages are those of a stream of events, as long as they are some. The SDK gets no ids:
// of a stream that has them and ends it would make the end of the session too, for it
// does not come back for the rest of one here.
type messages struct {
	io.Closer

	lines *bufio.Reader // bounded, as the body is
	ready []byte        // to be read
	err   error         // after that
}

// Read implements io.Reader.
func (m *messages) Read(p []byte) (int, error) {
	for len(m.ready) == 0 && m.err == nil {
		m.next()
	}
	n := copy(p, m.ready)
	m.ready = m.ready[n:]
	if n == 0 {
		return 0, m.err
	}
	return n, nil
}

// next reads one event, and ends with a message that is none.
func (m *messages) next() {
	var kind, data []byte
	for over := false; !over; {
		var line []byte
		line, m.err = m.lines.ReadBytes('\n')
		line = bytes.TrimRight(line, "\r\n")
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "event":
			kind = bytes.TrimSpace(value)
		case "data":
			data = append(append(data, value...), ' ') // between the lines of a message there is nothing but space
		}
		over = len(line) == 0 || m.err != nil
	}
	if len(bytes.TrimSpace(data)) == 0 || len(kind) > 0 && string(kind) != "message" {
		return
	}
	if _, err := jsonrpc.DecodeMessage(data); err != nil {
		m.err = io.EOF
		return
	}
	m.ready = slices.Concat([]byte("data: "), data, []byte("\n\n"))
}
