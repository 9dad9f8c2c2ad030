package model

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sashabaranov/go-openai"
	"golang.org/x/tools/txtar"
)

const (
	fields = `{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" customer"},"logprobs":null,"finish_reason":null}],"usage":null`
	common = fields + `}`
	padded = fields + `,"obfuscation":"%"}`
)

func TestScanReadsTheCommonDelta(t *testing.T) {
	rows := map[string]string{
		common: " customer",
		`{"choices":[{"delta":{"content":"a"}}]}`:                                                        "a",
		`{"choices":[{"delta":{"role":"assistant","content":""}}]}`:                                      "",
		`{"choices":[{"delta":{}}]}`:                                                                     "",
		`{"choices":[{"delta":{"content":null,"refusal":null}}]}`:                                        "",
		` { "choices" : [ { "index" : 0 , "delta" : { "content" : "x" } , "finish_reason" : null } ] } `: "x",
		`{"choices":[{"delta":{"content":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}}]}`:                       "\"\\/\b\f\n\r\té😀",
		`{"provider":"X","x":true,"y":12,"choices":[{"delta":{"content":"grüße"}}]}`:                     "grüße",
	}
	for frame, want := range rows {
		got, ok := scanDelta([]byte(frame), []byte("before "))

		if !ok || string(got) != "before "+want {
			t.Errorf("scan %s: got %q, %v, want %q", frame, got, ok, want)
		}
	}
}

func TestScanOfOneFrameDoesNotMisleadTheNext(t *testing.T) {
	rows := []struct{ frame, want string }{
		{common, " customer"},
		{strings.Replace(common, " customer", "two", 1), "two"},
		{strings.Replace(common, `" customer"`, `"three"}}],"usage":null}`, 1), "refused"},
		{common[:len(common)-1], "refused"},
		{padded, " customer"},
		{strings.Replace(padded, "%", "abc", 1), " customer"},
		{strings.Replace(padded, `"%"`, `"a","error":"b"`, 1), "refused"},
		{strings.Replace(padded, `"%"`, `7`, 1), "refused"},
		{strings.Replace(common, "null}]", `"stop"}]`, 1), "refused"},
		{strings.Replace(padded, " customer", `\u00e9`, 1), "é"},
	}
	var m mould
	for _, r := range rows {
		got, ok := m.scan([]byte(r.frame), nil)
		if !ok {
			got = []byte("refused")
		}

		if string(got) != r.want {
			t.Errorf("scan %s: got %q, want %q", r.frame, got, r.want)
		}
	}
}

func TestScanLeavesTheUnusualToTheDecoder(t *testing.T) {
	rows := []string{
		``, `{`, `{}`, `[]`, `null`, common + "x", common[:len(common)-1],
		`{"choices":[]}`,
		`{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}`,
		`{"choices":[{"index":1,"delta":{"content":"a"}}]}`,
		`{"choices":[{"index":00,"delta":{"content":"a"}}]}`,
		`{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`,
		`{"choices":[{"delta":{"content":"a","content":"b"}}]}`,
		`{"choices":[{"delta":{"content":"a"},"delta":{}}]}`,
		`{"choices":[{"delta":{"content":"a"}}],"choices":null}`,
		`{"choices":[{"delta":{"content":"a"}}],"Choices":null}`,
		`{"choices":[{"delta":{"Content":"a"}}]}`,
		`{"choices":[{"delta":{"content":"a","reasoning_content":"b"}}]}`,
		`{"choices":[{"delta":{"tool_calls":[]}}]}`,
		`{"choices":[{"delta":{"content":"a"}}],"error":{"message":"x"}}`,
		`{"choices":[{"delta":{"content":"a"}}],"ERROR":"x"}`,
		`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}`,
		`{"choices":[{"delta":{"content":"\ud83d"}}]}`,
		`{"choices":[{"delta":{"content":"\ude00"}}]}`,
		`{"choices":[{"delta":{"content":"\ud83d \ude00"}}]}`,
		`{"choices":[{"delta":{"content":"\x"}}]}`,
		"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}",
		"{\"choices\":[{\"delta\":{\"content\":\"a\nb\"}}]}",
		`{"ch\u006fices":[{"delta":{"content":"a"}}]}`,
		`{"created":01,"choices":[{"delta":{"content":"a"}}]}`,
		`{"choices":[{"delta":{"content":"a",}}]}`,
		`{"choices":[{"delta":{"content":"a"}},]}`,
	}
	for _, frame := range rows {
		got, ok := scanDelta([]byte(frame), []byte("before"))

		if ok || string(got) != "before" {
			t.Errorf("scan %s: got %q, %v, want it refused", frame, got, ok)
		}
	}
}

// FuzzScanAgreesWithTheDecoder holds that what the scanner accepts is, for
// encoding/json, exactly one delta of text and nothing else.
func FuzzScanAgreesWithTheDecoder(f *testing.F) {
	f.Add([]byte(common))
	f.Add([]byte(padded))
	f.Add([]byte(strings.Replace(padded, "%", "abc", 1)))
	f.Add([]byte(strings.Replace(common, "customer", `a\n\ud83d\ude00`, 1)))
	f.Add([]byte(`{"usage":null,"choices":[{"delta":{"content":"\ud83d\ude00\n"}}]}`))
	for _, frame := range recordedFrames(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, ok := scanDelta(data, nil)
		var m mould
		m.scan([]byte(padded), nil)
		again, second := m.scan(data, nil)
		if ok != second || string(text) != string(again) {
			t.Fatalf("scan of %q: got %q, %v, and after another frame %q, %v", data, text, ok, again, second)
		}
		if !ok {
			return
		}
		var got frame
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("scan accepted %q, encoding/json says %v", data, err)
		}
		if got.Usage != nil || present(got.Error) || got.Choices == nil || len(*got.Choices) != 1 {
			t.Fatalf("scan accepted %q, which is more than a delta", data)
		}
		c := (*got.Choices)[0]
		if c.Delta.Content != string(text) || c.Index != 0 || c.FinishReason != "" || present(c.Error) ||
			c.Delta.Refusal+c.Delta.Reasoning+c.Delta.ReasoningContent != "" || c.Delta.ToolCalls != nil {
			t.Fatalf("scan of %q: got %q, decoder %+v", data, text, c)
		}
	})
}

// recordedFrames are the data lines of all recorded answers.
func recordedFrames(t testing.TB) [][]byte {
	var out [][]byte
	files, err := filepath.Glob("testdata/http/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range txtar.Parse(b).Files {
			for s := bufio.NewScanner(bytes.NewReader(f.Data)); s.Scan(); {
				if data, ok := bytes.CutPrefix(s.Bytes(), []byte("data: ")); ok {
					out = append(out, bytes.Clone(data))
				}
			}
		}
	}
	return out
}

// BenchmarkScanDelta reads frames that differ in their text only, and frames
// that differ elsewhere too.
func BenchmarkScanDelta(b *testing.B) {
	other := strings.Replace(common, "1741569952", "1741569953", 1)
	b.Run("alike", func(b *testing.B) { benchScan(b, common, strings.Replace(common, " customer", " order", 1)) })
	b.Run("padded", func(b *testing.B) {
		benchScan(b, strings.Replace(padded, "%", "kqZ8", 1), strings.Replace(padded, "%", "x5Jd2a", 1))
	})
	b.Run("other", func(b *testing.B) { benchScan(b, common, other) })
}

func benchScan(b *testing.B, frames ...string) {
	buf := make([]byte, 0, 64)
	var m mould
	data := [][]byte{[]byte(frames[0]), []byte(frames[1])}
	b.ReportAllocs()
	defer reportCPU(b)()
	for i := 0; b.Loop(); i++ {
		if _, ok := m.scan(data[i%2], buf); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkDecodeDelta(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		defer reportCPU(b)()
		for b.Loop() {
			if _, err := decode([]byte(common)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-openai", func(b *testing.B) {
		b.ReportAllocs()
		defer reportCPU(b)()
		for b.Loop() {
			var r openai.ChatCompletionStreamResponse
			if err := json.Unmarshal([]byte(common), &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
