package model

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
	"github.com/sashabaranov/go-openai"
)

// OpenAIConfig says where a model is and how far it is trusted. BaseURL and
// Model are required; other zero values mean the defaults named here.
type OpenAIConfig struct {
	BaseURL string          // e.g. https://api.openai.com/v1, without user, query or fragment
	APIKey  identity.Secret // sent as a bearer token; none for a local server
	Model   string          // as the server names it

	Temperature *float64 // when the prompt does not say; nil: the server's
	MaxTokens   int      // of an answer, when the prompt does not say; 0: the server's

	IdleTimeout time.Duration // longest silence of the server, 60 s
	MaxWall     time.Duration // whole answer, retries included, 15 min
	MaxBytes    int64         // body of one answer, 8 MiB
	MaxLine     int           // one line of it, 1 MiB
	MaxDeltas   int           // frames of one answer, 100,000

	Retries  int           // further attempts before the first byte, 2; negative: none
	Backoff  time.Duration // before the first of them, doubled each time, 250 ms
	MaxDelay time.Duration // longest wait between attempts, 20 s; a longer Retry-After is given to the caller

	// NoCoalesce yields one chunk per delta instead of joining those that have
	// already arrived.
	NoCoalesce bool

	// Transport sends the requests; nil: one of its own. Redirects are never
	// followed and cookies never kept, whatever it is.
	Transport http.RoundTripper

	buffers *sync.Pool // of firstBuffer bytes, which a stream has for as long as it lasts
}

// NewSecret wraps an API key. Space around it, such as the last line break of a
// file, is not part of it.
func NewSecret(key string) identity.Secret { return identity.NewSecret(strings.TrimSpace(key)) }

// OpenAI is a model behind an OpenAI-compatible chat completion endpoint. It is
// immutable and may be used by many goroutines.
type OpenAI struct {
	cfg    OpenAIConfig
	host   string
	url    string
	client openai.ClientConfig // without HTTPClient, which is made per call
	plain  bool                // requests of the usual form need not go through the library
}

var _ agents.Model = (*OpenAI)(nil)

// NewOpenAI makes a model. It does not contact the server.
func NewOpenAI(cfg OpenAIConfig) (*OpenAI, error) {
	u, err := endpoint(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.Model == "" {
		return nil, errors.New("model: the model's name is missing")
	}
	if strings.ContainsFunc(cfg.APIKey.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("model: the API key holds characters that no header can carry")
	}
	m := &OpenAI{cfg: cfg.withDefaults(), host: u.Host, client: openai.DefaultConfig("")}
	m.client.BaseURL = u.String()
	m.url = strings.TrimRight(m.client.BaseURL, "/") + "/chat/completions"
	m.plain = passes(m.client, cfg.Model)
	return m, nil
}

func endpoint(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("model: base_url must be an absolute http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("model: base_url must not carry a user, a query or a fragment: they end up in logs; use api_key")
	}
	return u, nil
}

func (c OpenAIConfig) withDefaults() OpenAIConfig {
	c.IdleTimeout = or(c.IdleTimeout, time.Minute)
	c.MaxWall = or(c.MaxWall, 15*time.Minute)
	c.MaxBytes = or(c.MaxBytes, 8<<20)
	c.MaxLine = or(c.MaxLine, 1<<20)
	c.MaxDeltas = or(c.MaxDeltas, 100_000)
	c.Retries = max(or(c.Retries, 2), 0)
	c.Backoff = or(c.Backoff, 250*time.Millisecond)
	c.MaxDelay = or(c.MaxDelay, 20*time.Second)
	c.buffers = &sync.Pool{}
	if c.Transport == nil {
		c.Transport = transport()
	}
	return c
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// transport is the standard one with a pool that fits many streams to one host
// and a read buffer that lets a burst of deltas arrive in one read.
func transport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // somebody replaced it on purpose
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
	t.ReadBufferSize = 16 << 10
	t.DisableCompression = true
	return t
}

// Describe names the model for a banner or a log line.
func (m *OpenAI) Describe() string { return m.cfg.Model + " at " + m.host }

// Close drops idle connections. Streams that are open go on.
func (m *OpenAI) Close() {
	if c, ok := m.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Generate asks the model. See agents.Model and the package comment.
func (m *OpenAI) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		req, err := m.request(p)
		if err != nil {
			yield(agents.Chunk{}, err)
			return
		}
		wall, stop := context.WithTimeoutCause(ctx, m.cfg.MaxWall, errWall)
		defer stop()
		call, cut := context.WithCancelCause(wall)
		defer cut(nil)

		if err := m.answer(call, cut, req, yield); err != nil && !errors.Is(err, errBroken) {
			yield(agents.Chunk{}, failure(ctx, call, err))
		}
	}
}

// answer makes one call and yields its chunks. It returns errBroken when the
// consumer left.
func (m *OpenAI) answer(ctx context.Context, cut context.CancelCauseFunc, req openai.ChatCompletionRequest, yield func(agents.Chunk, error) bool) error {
	x := newExchange(m, cut)
	defer x.close()
	if err := m.send(ctx, x, &req); err != nil {
		return x.failed(err)
	}
	s := &stream{lines: x.lines, coalesce: !m.cfg.NoCoalesce, deltas: m.cfg.MaxDeltas, yield: yield}
	if err := s.run(); err != nil {
		return err
	}
	x.lines.drain(ctx)
	return nil
}

// send asks, by hand or through the library. The library's reader of the answer
// is not used: it takes a cut stream for a finished one, loses most error frames,
// and costs three times what all of this does (BenchmarkRead200). The exchange
// keeps the body; see lines.
func (m *OpenAI) send(ctx context.Context, x *exchange, req *openai.ChatCompletionRequest) error {
	if m.plain {
		if body, ok := appendBody(make([]byte, 0, 1<<10), req); ok {
			return x.post(ctx, m.url, body)
		}
	}
	client := m.client
	client.HTTPClient = x
	_, err := openai.NewClientWithConfig(client).CreateChatCompletionStream(ctx, *req)
	if errors.Is(err, errKept) {
		return nil
	}
	return err
}
