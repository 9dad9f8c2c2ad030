package model

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/model/modeltest"
)

func TestRefusalsBeforeTheFirstByteAreRetried(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Status: 503}, modeltest.Reply{Status: 429, Body: `{"error":{"code":"rate_limit_exceeded"}}`}, modeltest.Reply{Text: "at last"})

	text, _, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))

	if err != nil || text != "at last" || s.Count() != 3 {
		t.Fatalf("got %q, %v after %d requests", text, err, s.Count())
	}
	for _, r := range s.Requests() {
		if string(r.Body) != string(s.Requests()[0].Body) {
			t.Errorf("got another body in a retry: %s", r.Body)
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("gpt", modeltest.Reply{Status: 500, Body: "canary"})

	_, _, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, nil)
	if s.Count() != 3 || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v after %d requests, want 3 and no body", err, s.Count())
	}
}

func TestWhatWillNotChangeIsNotRetried(t *testing.T) {
	rows := map[string]modeltest.Reply{
		"the language model refused the server's account; tell the operator":                     {Status: 401},
		"the language model refused the request; tell the operator":                              {Status: 400, Body: `{"error":{"code":"x"}}`},
		"the conversation is too long for the language model; start a new session":               {Status: 400, Body: `{"error":{"code":"context_length_exceeded"}}`},
		"the language model refused the server's account; tell the operator" + " (quota)":        {Status: 429, Body: `{"error":{"type":"insufficient_quota","code":"x"}}`},
		"the language model is busy; try again later":                                            {Status: 429, RetryAfter: "3600"},
		"the language model refused the request; tell the operator" + " (redirect)":              {Status: 302},
		"the language model refused the request; tell the operator" + " (answer without stream)": {Status: 204},
	}
	for want, reply := range rows {
		s := modeltest.NewServer(t)
		s.Queue("gpt", reply)

		_, _, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))

		want, _, _ := strings.Cut(want, " (")
		wantUnavailable(t, err, nil)
		if got := fault.From(err).Message; got != want || s.Count() != 1 {
			t.Errorf("got %q after %d requests, want %q after 1", got, s.Count(), want)
		}
	}
}

func TestLongRetryAfterIsGivenToTheCaller(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Status: 429, RetryAfter: "3600"})

	_, _, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))

	if got := fault.From(err).RetryAfter(); got != time.Hour {
		t.Errorf("got %v, want an hour", got)
	}
}

func TestNobodyListeningIsRetriedAndTyped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()

	_, _, err = collect(t, newModel(t, url).Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, nil)
	if !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want the operator to see why", err)
	}
}

// The transports below answer in memory, so that time can be the bubble's.
func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, header := range []string{"7", "date", "20"} {
			start, want := time.Now(), 11*time.Second
			if header == "date" {
				header = start.Add(want).UTC().Format(http.TimeFormat)
			} else {
				want = retryAfter(header, start)
			}
			m := newModel(t, "http://model", func(c *OpenAIConfig) { c.Transport = busy(1, header) })

			_, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

			if err != nil || time.Since(start) != want {
				t.Errorf("got %v after %v, want %v", err, time.Since(start), want)
			}
		}
	})
}

func TestBackoffGrowsWithJitterAndKeepsItsBounds(t *testing.T) {
	cfg := OpenAIConfig{Backoff: 100 * time.Millisecond, MaxDelay: time.Second}
	for attempt, top := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Second, time.Second} {
		for range 100 {
			if d := cfg.backoff(attempt); d < top/2 || d > top {
				t.Errorf("attempt %d: got %v, want %v to %v", attempt, d, top/2, top)
			}
		}
	}
}

func TestRetryDoesNotOutliveTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		m := newModel(t, "http://model", func(c *OpenAIConfig) { c.Transport = busy(1, "10") })

		_, _, err := collect(t, m.Generate(ctx, ask("hi")))

		wantUnavailable(t, err, nil)
		if time.Since(start) != 0 {
			t.Errorf("got an answer after %v, want it at once", time.Since(start))
		}
	})
}

func TestCancellationEndsTheWaitForARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		m := newModel(t, "http://model", func(c *OpenAIConfig) { c.Transport = busy(1, "10") })

		_, _, err := collect(t, m.Generate(ctx, ask("hi")))

		if !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want the cancellation after 1s", err, time.Since(start))
		}
	})
}

func TestRetryAfterIsReadStrictly(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rows := map[string]time.Duration{
		"": 0, "0": 0, "x": 0, "-1": 0, "1.5": 0, "99999999999999999999": 0,
		"12": 12 * time.Second, " 3 ": 3 * time.Second,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	}
	for v, want := range rows {
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: got %v, want %v", v, got, want)
		}
	}
}

func TestFallbackAsksTheNextModel(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("first", modeltest.Reply{Status: 401})
	s.Always("second", modeltest.Reply{Text: "second here"})
	m := Fallback(named(t, s, "first"), named(t, s, "second"))

	text, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	if err != nil || text != "second here" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestFallbackKeepsAnAnswerThatHasBegun(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("first", modeltest.Reply{Text: "half of an answer", Fault: modeltest.Cut, FaultAfter: 2})
	s.Always("second", modeltest.Reply{Text: "second here"})
	m := Fallback(named(t, s, "first"), named(t, s, "second"))

	text, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, errCut)
	if text != "half of " || s.Count() != 1 {
		t.Errorf("got %q after %d requests", text, s.Count())
	}
}

func TestFallbackReportsTheLastModelAndTheOthers(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("first", modeltest.Reply{Status: 401})
	s.Always("second", modeltest.Reply{Status: 429, RetryAfter: "60"})
	m := Fallback(named(t, s, "first"), named(t, s, "second"))

	_, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, nil)
	if f := fault.From(err); f.RetryAfter() != time.Minute || !strings.Contains(err.Error(), "401") {
		t.Errorf("got %v", err)
	}
}

func TestFallbackDoesNotHideOtherErrors(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("second", modeltest.Reply{Text: "second here"})
	m := Fallback(named(t, s, "first"), named(t, s, "second"))
	p := ask("hi")
	p.Messages[0].Parts = []agents.Part{{URI: "file:///etc/passwd"}}

	_, _, err := collect(t, m.Generate(t.Context(), p))

	if !errors.Is(err, fault.ArgumentInvalid) || s.Count() != 0 {
		t.Errorf("got %v after %d requests", err, s.Count())
	}
}

func named(t *testing.T, s *modeltest.Server, name string) *OpenAI {
	return newModel(t, s.URL, func(c *OpenAIConfig) { c.Model = name })
}

// busy answers 429 n times and then well.
func busy(n int, retryAfter string) http.RoundTripper {
	return roundTrip(func(*http.Request) *http.Response {
		if n--; n >= 0 {
			return response(http.StatusTooManyRequests, "", retryAfter)
		}
		return response(http.StatusOK, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", "")
	})
}
