package model

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/tools/txtar"
)

// FuzzStream holds the contract of a stream over any body: one end, no panic,
// and the same answer however the bytes arrive and whether or not deltas are
// joined.
func FuzzStream(f *testing.F) {
	files, err := filepath.Glob("testdata/http/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := strings.Cut(string(wire(txtar.Parse(data).Files[0].Data)), "\r\n\r\n")
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		whole := said(t, strings.NewReader(body))
		bytewise := said(t, iotest.OneByteReader(strings.NewReader(body)))
		single := said(t, strings.NewReader(body), eachDelta)

		if whole != bytewise || whole != single {
			t.Errorf("got %q as a whole, %q byte by byte, %q delta by delta", whole, bytewise, single)
		}
	})
}

// said gives text, thought and end of the answer in body.
func said(t *testing.T, body io.Reader, change ...func(*OpenAIConfig)) string {
	mem := roundTrip(func(*http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body)}
	})
	m := newModel(t, "http://model", append(change, func(c *OpenAIConfig) { c.Transport = mem; c.MaxDeltas = 1000 })...)
	var text, thought, end strings.Builder
	for c, err := range m.Generate(t.Context(), ask("hi")) {
		if end.Len() > 0 {
			t.Error("got a chunk after the end")
		}
		text.WriteString(c.Text)
		thought.WriteString(c.Thought)
		switch {
		case err != nil:
			end.WriteString(err.Error())
		case c.Done != nil:
			end.WriteString(c.Done.Finish)
		}
	}
	if end.Len() == 0 {
		t.Error("got no end")
	}
	return text.String() + "|" + thought.String() + "|" + end.String()
}
