package model

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/model/modeltest"
)

func TestStalledStreamIsCut(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Text: "half of an answer", Fault: modeltest.Hang, FaultAfter: 2})
	m := newModel(t, s.URL, func(c *OpenAIConfig) { c.IdleTimeout = 400 * time.Millisecond })

	text, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, errIdle)
	if text != "half of " {
		t.Errorf("got %q", text)
	}
}

func TestSilenceBeforeTheHeadersIsCut(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(new(any))
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	m := newModel(t, s.URL, func(c *OpenAIConfig) { c.IdleTimeout = 50 * time.Millisecond })

	_, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, errIdle)
}

// A slow consumer is not a silent server.
func TestBackpressureIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := strings.Repeat("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n", 3) +
			"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
		m := newModel(t, "http://model", eachDelta, func(c *OpenAIConfig) {
			c.Transport = roundTrip(func(*http.Request) *http.Response { return response(http.StatusOK, body, "") })
		})

		for _, err := range m.Generate(t.Context(), ask("hi")) {
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(3 * time.Minute) // far beyond IdleTimeout, within MaxWall
		}
	})
}

func TestWallTimeIsBounded(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Text: strings.Repeat("word ", 10_000), Delay: time.Millisecond})
	m := newModel(t, s.URL, func(c *OpenAIConfig) { c.MaxWall = 50 * time.Millisecond })

	_, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, errWall)
}

func TestSizesAreBounded(t *testing.T) {
	rows := []struct {
		name   string
		reply  modeltest.Reply
		change func(*OpenAIConfig)
		want   error
	}{
		{"bytes", modeltest.Reply{Text: strings.Repeat("word ", 1000)}, func(c *OpenAIConfig) { c.MaxBytes = 100_000 }, errBytes},
		{"line", modeltest.Reply{Text: strings.Repeat("x", 3<<20), Chunks: 1}, func(*OpenAIConfig) {}, errLine},
		{"short line", modeltest.Reply{Text: strings.Repeat("x", 2000), Chunks: 1}, func(c *OpenAIConfig) { c.MaxLine = 1000 }, errLine},
		{"deltas", modeltest.Reply{Text: strings.Repeat("x ", 200)}, func(c *OpenAIConfig) { c.MaxDeltas = 100 }, errDeltas},
		{"calls", modeltest.Reply{Calls: make([]agents.CallRequest, 200)}, func(*OpenAIConfig) {}, errCalls},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s := modeltest.NewServer(t)
			s.Queue("gpt", r.reply)

			_, _, err := collect(t, newModel(t, s.URL, r.change).Generate(t.Context(), ask("hi")))

			wantUnavailable(t, err, r.want)
		})
	}
}
