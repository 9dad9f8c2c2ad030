package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// script is what the model does, carried in the model's name so that every
// request says it: tool-chunks-milliseconds, e.g. "1-20-0". With a delay the
// text of each chunk is the time of its writing.
type script struct {
	tool   bool
	chunks int
	delay  time.Duration
}

func (s script) name() string {
	t := "0"
	if s.tool {
		t = "1"
	}
	return fmt.Sprintf("%s-%d-%d", t, s.chunks, s.delay.Milliseconds())
}

func parseScript(name string) (script, error) {
	f := strings.Split(name, "-")
	if len(f) != 3 {
		return script{}, fmt.Errorf("model name %q is not tool-chunks-milliseconds", name)
	}
	chunks, err := strconv.Atoi(f[1])
	if err != nil {
		return script{}, err
	}
	ms, err := strconv.Atoi(f[2])
	if err != nil {
		return script{}, err
	}
	return script{f[0] == "1", chunks, time.Duration(ms) * time.Millisecond}, nil
}

// serveModel answers chat completions by script until the listener closes. It
// writes each chunk to the network by itself, as providers do.
func serveModel(l net.Listener) error {
	s := &http.Server{Handler: http.HandlerFunc(complete), ReadHeaderTimeout: 10 * time.Second}
	return s.Serve(l)
}

var (
	modelName  = []byte(`"model":"`)
	toolRole   = []byte(`"role":"tool"`)
	toolAnswer = []byte(`data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"lookup","arguments":"{\"id\":\"C-1\"}"}}]},"finish_reason":null}]}` + "\n\n" +
		`data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\ndata: [DONE]\n\n")
	textChunk = []byte(`data: {"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":"` + plainText + `"},"finish_reason":null}]}` + "\n\n")
	textEnd   = []byte(`data: {"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n")
)

func complete(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return
	}
	s, err := parseScript(between(body, modelName, '"'))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if s.tool && !bytes.Contains(body, toolRole) {
		_, _ = w.Write(toolAnswer)
		return
	}
	stream(w, r, s)
}

// stream writes the first chunk at once. Between the first and the second it
// waits for a delay and a part of one, so that streams that began together do
// not stay in step.
func stream(w http.ResponseWriter, r *http.Request, s script) {
	if s.delay == 0 {
		burst(w, s.chunks)
		return
	}
	tick := time.NewTicker(s.delay + rand.N(s.delay))
	defer tick.Stop()
	flush := http.NewResponseController(w)
	chunk := bytes.Clone(textChunk)
	at := bytes.Index(chunk, []byte(plainText))
	for i := range s.chunks {
		if i > 0 {
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
		if i == 1 {
			tick.Reset(s.delay)
		}
		stamp(chunk[at:at+stampSize], time.Now())
		if _, err := w.Write(chunk); err != nil {
			return
		}
		_ = flush.Flush()
	}
	_, _ = w.Write(textEnd)
}

// burst writes chunks as fast as they are taken.
func burst(w http.ResponseWriter, chunks int) {
	flush := http.NewResponseController(w)
	for range chunks {
		if _, err := w.Write(textChunk); err != nil {
			return
		}
		_ = flush.Flush()
	}
	_, _ = w.Write(textEnd)
}

// A stamp is a time in nanoseconds, as long as the text that it replaces.
const (
	plainText = "hello world "
	stampSize = len(plainText)
	stampBase = 36
)

func stamp(into []byte, now time.Time) { strconv.AppendInt(into[:0], now.UnixNano(), stampBase) }

func between(b, start []byte, end byte) string {
	_, rest, ok := bytes.Cut(b, start)
	if !ok {
		return ""
	}
	i := bytes.IndexByte(rest, end)
	if i < 0 {
		return ""
	}
	return string(rest[:i])
}
