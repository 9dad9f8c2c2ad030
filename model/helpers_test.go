package model

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newModel makes a model with short waits. Its connections end with the test.
func newModel(t testing.TB, url string, change ...func(*OpenAIConfig)) *OpenAI {
	t.Helper()
	cfg := OpenAIConfig{BaseURL: url, Model: "gpt", Backoff: time.Millisecond, IdleTimeout: 5 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	m, err := NewOpenAI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func ask(text string) *agents.Prompt {
	return &agents.Prompt{Messages: []agents.PromptMessage{{Role: agents.RoleUser, Text: text}}}
}

// transcribe writes a stream as lines, one per chunk, errors with their cause.
func transcribe(stream iter.Seq2[agents.Chunk, error]) string {
	var b strings.Builder
	for c, err := range stream {
		switch {
		case err != nil:
			f := fault.From(err)
			fmt.Fprintf(&b, "error %s: %s\n", f.Reason, f.Message)
			fmt.Fprintf(&b, "cause %v\n", f.Err)
		case c.Done != nil:
			for _, call := range c.Done.Calls {
				id := call.ID
				if len(id) == len("call_")+26 {
					id = "generated"
				}
				fmt.Fprintf(&b, "call %s %s %q\n", id, call.Tool, call.Arguments)
			}
			fmt.Fprintf(&b, "done %s %d+%d/%d\n", c.Done.Finish, c.Done.Usage.PromptTokens, c.Done.Usage.CompletionTokens, c.Done.Usage.ModelCalls)
		case c.Thought != "":
			fmt.Fprintf(&b, "thought %q\n", c.Thought)
		default:
			fmt.Fprintf(&b, "text %q\n", c.Text)
		}
	}
	return b.String()
}

// collect gives the whole text, the reply and the error, and fails when the
// contract of a stream is broken.
func collect(t *testing.T, stream iter.Seq2[agents.Chunk, error]) (text string, reply *agents.Reply, err error) {
	t.Helper()
	for c, e := range stream {
		if reply != nil || err != nil {
			t.Error("got a chunk after the end, want none")
		}
		if e == nil && c.Text == "" && c.Thought == "" && c.Done == nil {
			t.Error("got an empty chunk, want none")
		}
		text, reply, err = text+c.Text, c.Done, e
	}
	if reply == nil && err == nil {
		t.Error("got a stream without an end, want Done or an error")
	}
	return text, reply, err
}

func wantUnavailable(t *testing.T, err, cause error) {
	t.Helper()
	if !errors.Is(err, fault.ModelUnavailable) {
		t.Fatalf("got %v, want MODEL_UNAVAILABLE", err)
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Errorf("got cause %v, want %v", errors.Unwrap(err), cause)
	}
}

// replay serves one recorded response, byte for byte, and then closes the
// connection. It gives the base URL.
func replay(t *testing.T, response []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveOnce(c, response)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String() + "/v1"
}

func serveOnce(c net.Conn, response []byte) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	var body json.RawMessage
	if json.NewDecoder(req.Body).Decode(&body) == nil {
		c.Write(response)
	}
}

func background() context.Context { return context.Background() }

// roundTrip is a transport in memory.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func response(status int, body, retryAfter string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	r.Header.Set("Retry-After", retryAfter)
	return r
}
