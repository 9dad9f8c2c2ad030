package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/model/modeltest"
	"google.golang.org/grpc/codes"
)

func TestGenerateGivesTextCallsAndUsage(t *testing.T) {
	s := modeltest.NewServer(t)
	call := agents.CallRequest{ID: "c1", Tool: "get_customer", Arguments: `{"customer_id":"C-1001"}`}
	s.Queue("gpt", modeltest.Reply{Thought: "I need to look.", Text: "One moment.", Calls: []agents.CallRequest{call}, Usage: agents.Usage{PromptTokens: 7, CompletionTokens: 9}})

	text, reply, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))
	if err != nil {
		t.Fatal(err)
	}
	if text != "One moment." || len(reply.Calls) != 1 || reply.Calls[0] != call {
		t.Errorf("got %q, %+v", text, reply.Calls)
	}
	if want := (agents.Usage{PromptTokens: 7, CompletionTokens: 9, ModelCalls: 1}); reply.Usage != want || reply.Finish != "tool_calls" {
		t.Errorf("got %+v %s, want %+v tool_calls", reply.Usage, reply.Finish, want)
	}
}

func TestGenerateIsLazyAndServesManyGoroutines(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("gpt", modeltest.Reply{Text: strings.Repeat("word ", 200)})
	m := newModel(t, s.URL)
	stream := m.Generate(t.Context(), ask("hi"))
	if s.Count() != 0 {
		t.Fatal("got a request before the stream was ranged over")
	}

	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			text, _, err := collect(t, stream)
			if err != nil || text != strings.Repeat("word ", 200) {
				t.Errorf("got %d bytes, %v", len(text), err)
			}
		})
	}
	group.Wait()
}

func TestDeltasThatHaveArrivedAreJoined(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("gpt", modeltest.Reply{Text: strings.Repeat("word ", 200), Chunks: 200})

	joined := chunks(t, newModel(t, s.URL))
	single := chunks(t, newModel(t, s.URL, func(c *OpenAIConfig) { c.NoCoalesce = true }))

	if len(single) != 200 {
		t.Errorf("got %d chunks without joining, want 200", len(single))
	}
	if len(joined) > 60 {
		t.Errorf("got %d chunks with joining, want far fewer than 200", len(joined))
	}
	if strings.Join(joined, "") != strings.Join(single, "") {
		t.Error("got different texts with and without joining")
	}
}

// A delta must not wait for the next one: each is sent only after the one
// before it has been seen.
func TestJoiningNeverWaits(t *testing.T) {
	seen := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 5 {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"%d\"}}]}\n\n: still here\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)

	var got []string
	for c, err := range newModel(t, s.URL).Generate(t.Context(), ask("hi")) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Done == nil {
			got = append(got, c.Text)
			seen <- struct{}{}
		}
	}

	if strings.Join(got, ",") != "0,1,2,3,4" {
		t.Errorf("got %q, want each delta as it came", got)
	}
}

func TestChunksAreCappedAtWholeRunes(t *testing.T) {
	s := modeltest.NewServer(t)
	want := "x" + strings.Repeat("ü", 40<<10)
	s.Always("gpt", modeltest.Reply{Text: want, Chunks: 1})

	got := chunks(t, newModel(t, s.URL))

	for _, c := range got {
		if len(c) > maxChunk || strings.ContainsRune(c, '�') {
			t.Errorf("got a chunk of %d bytes that is not whole runes of at most %d", len(c), maxChunk)
		}
	}
	if strings.Join(got, "") != want {
		t.Error("got another text")
	}
}

func chunks(t *testing.T, m agents.Model) (out []string) {
	t.Helper()
	for c, err := range m.Generate(t.Context(), ask("hi")) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Done == nil {
			out = append(out, c.Text)
		}
	}
	return out
}

func TestThoughtAndTextAreNeverInOneChunk(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Thought: "let me think ", Text: "an answer"})

	got := transcribe(newModel(t, s.URL).Generate(t.Context(), ask("hi")))

	if want := "thought \"let me think \"\ntext \"an answer\"\ndone stop 1+2/1\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHeartbeatsAreNoMessages(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Text: "after a while", Fault: modeltest.Heartbeat})

	text, _, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))

	if err != nil || text != "after a while" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestFaultsOfAStreamAreErrors(t *testing.T) {
	rows := map[modeltest.Fault]error{
		modeltest.Cut:      errCut,
		modeltest.HalfLine: errMalformed,
		modeltest.Abort:    errBody,
		modeltest.MidError: nil,
		modeltest.Garbage:  errNotEvents,
	}
	for f, cause := range rows {
		t.Run(string(f), func(t *testing.T) {
			s := modeltest.NewServer(t)
			s.Queue("gpt", modeltest.Reply{Text: "half of an answer", Fault: f, FaultAfter: 2})

			text, _, err := collect(t, newModel(t, s.URL).Generate(t.Context(), ask("hi")))

			wantUnavailable(t, err, cause)
			if text != "half of " {
				t.Errorf("got %q before the error, want what had come", text)
			}
			if s.Count() != 1 {
				t.Errorf("got %d requests, want no retry in the middle of a stream", s.Count())
			}
			if strings.Contains(err.Error(), "secret-detail") {
				t.Errorf("got the provider's text in %v", err)
			}
		})
	}
}

func TestCancellationIsTheCallersOwn(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("gpt", modeltest.Reply{Text: "half of an answer", Fault: modeltest.Hang, FaultAfter: 2})
	locked := fault.New(codes.PermissionDenied, fault.PrincipalLocked, "locked")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)

	var last error
	for _, err := range newModel(t, s.URL).Generate(ctx, ask("hi")) {
		cancel(locked)
		last = err
	}

	if !errors.Is(last, context.Canceled) || !errors.Is(last, fault.PrincipalLocked) {
		t.Errorf("got %v, want the cancellation and its cause", last)
	}
}

func TestDeadlineIsTheCallersOwn(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("gpt", modeltest.Reply{Text: "half of an answer", Fault: modeltest.Hang, FaultAfter: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	_, _, err := collect(t, newModel(t, s.URL).Generate(ctx, ask("hi")))

	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fault.ModelUnavailable) {
		t.Errorf("got %v, want the deadline alone", err)
	}
}

func TestBrokenLoopCutsTheConnection(t *testing.T) {
	left := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(new(any))
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(left)
	}))
	t.Cleanup(s.Close)

	for range newModel(t, s.URL).Generate(t.Context(), ask("hi")) {
		break
	}

	<-left
}

// The end of a chunked body often comes in a packet of its own, after [DONE].
func TestConnectionsAreKept(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		w.(http.Flusher).Flush()
		<-time.After(3 * time.Millisecond)
	}))
	t.Cleanup(s.Close)
	dials := &counting{RoundTripper: transport()}
	m := newModel(t, s.URL, func(c *OpenAIConfig) { c.Transport = dials })

	for range 20 {
		for c := range m.Generate(t.Context(), ask("hi")) {
			if c.Done != nil {
				break // as an assistant does
			}
		}
	}

	if n := dials.fresh(); n > 5 { // a busy machine may miss drainWait
		t.Errorf("got %d connections for 20 answers one after the other, want 1", n)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := modeltest.NewServer(t)
	other.Always("gpt", modeltest.Reply{Text: "stolen"})
	s := httptest.NewServer(http.RedirectHandler(other.URL+"/chat/completions", http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	m := newModel(t, s.URL, func(c *OpenAIConfig) { c.APIKey = NewSecret("sk-canary") })

	_, _, err := collect(t, m.Generate(t.Context(), ask("hi")))

	wantUnavailable(t, err, nil)
	if other.Count() != 0 {
		t.Error("got the request, and with it the key, at the other host")
	}
}

func TestKeyGoesToTheServerAndNowhereElse(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("gpt", modeltest.Reply{Text: "yes"},
		modeltest.Reply{Status: 401, Body: `{"error":{"message":"Incorrect API key: sk-canary","code":"sk-canary","type":"sk-canary"}}`})
	cfg := OpenAIConfig{BaseURL: s.URL, Model: "gpt", APIKey: NewSecret(" sk-canary\n")}
	m, err := NewOpenAI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)

	_, _, good := collect(t, m.Generate(t.Context(), ask("hi")))
	_, _, bad := collect(t, m.Generate(t.Context(), ask("hi")))

	if got := s.Requests()[0].Header.Get("Authorization"); good != nil || got != "Bearer sk-canary" {
		t.Errorf("got %q, %v", got, good)
	}
	wantUnavailable(t, bad, nil)
	text, jsonErr := json.Marshal(cfg)
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "cfg", cfg, "key", cfg.APIKey, "model", m, "err", bad)
	shown := fmt.Sprintf("%v %+v %#v %s %x %v %+v %s %v", cfg, cfg, cfg, cfg.APIKey, cfg.APIKey, m, *m, text, bad) + logged.String()
	if strings.Contains(shown, "canary") || jsonErr != nil {
		t.Errorf("got the key in %s", shown)
	}
}

func TestConfigIsChecked(t *testing.T) {
	rows := map[string]OpenAIConfig{
		"no url":       {Model: "m"},
		"no host":      {BaseURL: "https://", Model: "m"},
		"other scheme": {BaseURL: "file:///etc", Model: "m"},
		"user":         {BaseURL: "https://u:p@h/v1", Model: "m"},
		"query":        {BaseURL: "https://h/v1?key=canary", Model: "m"},
		"no model":     {BaseURL: "https://h/v1"},
		"key":          {BaseURL: "https://h/v1", Model: "m", APIKey: identity.NewSecret("a\nb")},
	}
	for name, cfg := range rows {
		if _, err := NewOpenAI(cfg); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want an error without values", name, err)
		}
	}
}

func TestDescribeNamesModelAndHost(t *testing.T) {
	m := newModel(t, "https://api.openai.com/v1/")

	if got, want := m.Describe(), "gpt at api.openai.com"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// counting counts the connections that answers came over.
type counting struct {
	http.RoundTripper
	mu    sync.Mutex
	conns map[string]bool
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.RoundTripper.RoundTrip(r.WithContext(c.trace(r.Context())))
}

func (c *counting) CloseIdleConnections() { c.RoundTripper.(*http.Transport).CloseIdleConnections() }

func (c *counting) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.conns == nil {
			c.conns = map[string]bool{}
		}
		c.conns[g.Conn.LocalAddr().String()] = true
	}})
}

func (c *counting) fresh() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}
