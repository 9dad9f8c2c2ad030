package model

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sashabaranov/go-openai"
)

// exchange sends one call's request, again if need be, and keeps its body. It
// stands in for an http.Client: it follows no redirect, because the key and the
// prompt would follow too, and it lets nothing but a 200 through, so that no
// body of an error ever reaches the library.
type exchange struct {
	cfg   *OpenAIConfig
	idle  *time.Timer // cuts the call; runs only while we wait for the server
	sent  bool
	lines *lines
}

func newExchange(m *OpenAI, cut context.CancelCauseFunc) *exchange {
	t := time.AfterFunc(time.Hour, func() { cut(errIdle) })
	t.Stop()
	return &exchange{cfg: &m.cfg, idle: t}
}

func (x *exchange) close() {
	x.idle.Stop()
	if x.lines != nil {
		x.lines.close()
	}
}

// Do implements openai.HTTPDoer. Its error after a response is errKept.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	if err := x.ask(req); err != nil {
		return nil, err
	}
	return nil, errKept
}

// ask sends the request until there is a response, which it keeps.
func (x *exchange) ask(req *http.Request) error {
	x.sent = true
	if key := x.cfg.APIKey.Reveal(); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("Accept-Encoding", "identity") // a compressed stream hides what is complete
	for attempt := 0; ; attempt++ {
		err := x.try(req)
		if err == nil {
			return nil
		}
		wait, again := x.cfg.again(req.Context(), attempt, err)
		if !again {
			return err
		}
		if err := pause(req.Context(), wait); err != nil {
			return err
		}
		if req, err = rewind(req); err != nil {
			return err
		}
	}
}

func (x *exchange) try(req *http.Request) error {
	x.idle.Reset(x.cfg.IdleTimeout)
	defer x.idle.Stop()
	res, err := x.cfg.Transport.RoundTrip(req)
	if err != nil {
		return lost(err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return refusal(res)
	}
	x.lines = newLines(res.Body, x.idle, x.cfg)
	return nil
}

// rewind copies a request whose body was sent, so that it can be sent again.
func rewind(req *http.Request) (*http.Request, error) {
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	c := req.Clone(req.Context())
	c.Body = body
	return c, nil
}

// pause waits, or returns the reason why ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refusal reads an answer that is not a stream. Of its body it keeps one word
// of a closed list.
func refusal(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		body = nil
	}
	return &refused{
		status: res.StatusCode,
		kind:   kindOf(body),
		retry:  retryAfter(res.Header.Get("Retry-After"), time.Now()),
	}
}

// kindOf finds a word that we know in an error object of any form.
func kindOf(body []byte) string {
	var e struct {
		Error json.RawMessage `json:"error"`
		labels
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	var inner labels
	if json.Unmarshal(e.Error, &inner) == nil {
		if k := inner.known(); k != "" {
			return k
		}
	}
	return e.known()
}

// labels are where providers put their names of errors.
type labels struct {
	Code any `json:"code"`
	Type any `json:"type"`
}

// known gives the first name that we know. The list is closed because a
// provider may echo what it was sent, a key for example, anywhere.
func (l labels) known() string {
	for _, v := range [...]any{l.Code, l.Type} {
		switch s, _ := v.(string); s {
		case "rate_limit_exceeded", kindQuota, "invalid_api_key", kindLength, "model_not_found", "content_filter",
			"content_policy_violation", "server_error", "invalid_request_error", "authentication_error", "permission_error",
			"not_found_error", "rate_limit_error", "overloaded_error", "api_error", "tokens", "requests":
			return s
		}
	}
	return ""
}

const (
	kindQuota  = "insufficient_quota"
	kindLength = "context_length_exceeded"
)

// failed tells the errors of the library itself, such as a schema that is no
// JSON, from those of the exchange.
func (x *exchange) failed(err error) error {
	if x.sent {
		return err
	}
	return &unsendable{err}
}

// unsendable is a request that the library would not make. Its own errors are
// constants; others may quote the request.
type unsendable struct{ err error }

func (u *unsendable) Error() string {
	if isAny(u.err, openai.ErrReasoningToolsRequireResponses, openai.ErrReasoningModelLimitationsOther, openai.ErrChatCompletionInvalidModel) {
		return "make the request: " + u.err.Error()
	}
	return fmt.Sprintf("make the request: %T", u.err)
}

// unreachable is a request that got no answer.
type unreachable struct {
	why   string
	final bool // asking again is no use
}

func (u *unreachable) Error() string { return "reach the model: " + u.why }

// lost describes a transport's error. Only errors of the socket and of the
// certificate are quoted; others may hold what the server sent.
func lost(err error) *unreachable {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &unreachable{why: e.Error(), final: true}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return &unreachable{why: e.Error()}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &unreachable{why: io.ErrUnexpectedEOF.Error()}
	}
	return &unreachable{why: fmt.Sprintf("%T", err)}
}

// refused is an answer that is not a stream.
type refused struct {
	status int
	kind   string
	retry  time.Duration
}

func (r *refused) Error() string {
	s := "the model's server answered " + statusText(r.status)
	if r.kind != "" {
		s += " (" + r.kind + ")"
	}
	return s
}
