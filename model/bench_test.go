package model

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/sashabaranov/go-openai"
)

// BenchmarkStream200 reads an answer of 200 deltas over loopback with a server
// in the same process, side by side with the library alone. Compare cpu-ns/op;
// it includes the server and HTTP, which are the same in each row.
func BenchmarkStream200(b *testing.B) {
	s, err := modeltest.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	s.Forget()
	s.Always("gpt", modeltest.Reply{Text: strings.Repeat("word ", 200), Chunks: 200})

	b.Run("behalf", func(b *testing.B) { benchOurs(b, newModel(b, s.URL)) })
	b.Run("behalf-each-delta", func(b *testing.B) { benchOurs(b, newModel(b, s.URL, eachDelta)) })
	b.Run("go-openai-RecvRaw", func(b *testing.B) { benchTheirs(b, s.URL, transport(), recvRaw) })
	b.Run("go-openai-Recv", func(b *testing.B) { benchTheirs(b, s.URL, transport(), recv) })
}

// BenchmarkRead200 reads the same answer from memory: what reading alone costs.
func BenchmarkRead200(b *testing.B) {
	body := recordedBody(b)
	mem := roundTrip(func(*http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
	})
	inMemory := func(c *OpenAIConfig) { c.Transport = mem }

	b.Run("behalf", func(b *testing.B) { benchOurs(b, newModel(b, "http://model", inMemory)) })
	b.Run("behalf-each-delta", func(b *testing.B) { benchOurs(b, newModel(b, "http://model", inMemory, eachDelta)) })
	b.Run("go-openai-RecvRaw", func(b *testing.B) { benchTheirs(b, "http://model", mem, recvRaw) })
	b.Run("go-openai-Recv", func(b *testing.B) { benchTheirs(b, "http://model", mem, recv) })
}

func eachDelta(c *OpenAIConfig) { c.NoCoalesce = true }

func recordedBody(b *testing.B) []byte {
	s, err := modeltest.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.Always("gpt", modeltest.Reply{Text: strings.Repeat("word ", 200), Chunks: 200})
	res, err := http.Post(s.URL+"/chat/completions", "application/json", strings.NewReader(`{"model":"gpt"}`))
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func benchOurs(b *testing.B, m *OpenAI) {
	p := ask("hi")
	chunks := 0
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		for _, err := range m.Generate(context.Background(), p) {
			if err != nil {
				b.Fatal(err)
			}
			chunks++
		}
	}
	b.ReportMetric(float64(chunks)/float64(b.N), "chunks/op")
}

func benchTheirs(b *testing.B, url string, t http.RoundTripper, read func(*openai.ChatCompletionStream) error) {
	cfg := openai.DefaultConfig("")
	cfg.BaseURL, cfg.HTTPClient = url, &http.Client{Transport: t}
	client := openai.NewClientWithConfig(cfg)
	req := openai.ChatCompletionRequest{
		Model: "gpt", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "hi"}},
		StreamOptions: &openai.StreamOptions{IncludeUsage: true},
	}
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		stream, err := client.CreateChatCompletionStream(context.Background(), req)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			err = read(stream)
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		stream.Close()
	}
	if c, ok := t.(*http.Transport); ok {
		c.CloseIdleConnections()
	}
}

func recv(s *openai.ChatCompletionStream) error {
	_, err := s.Recv()
	return err
}

func recvRaw(s *openai.ChatCompletionStream) error {
	_, err := s.RecvRaw()
	return err
}
