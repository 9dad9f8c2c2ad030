package model

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// Only a test binary has this flag.
var update = flag.Bool("update", false, "write what the tests got into their golden files")

// TestRecordedAnswers replays each file of testdata/http byte for byte, closes
// the connection, and compares what the consumer sees. The files are the traps
// of STACK 10 and the habits of providers.
func TestRecordedAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/http/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { replayFile(t, name) })
	}
}

func replayFile(t *testing.T, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	a := txtar.Parse(data)
	response, want := a.Files[0].Data, string(a.Files[1].Data)
	m := newModel(t, replay(t, wire(response)), func(c *OpenAIConfig) { c.NoCoalesce, c.Retries = true, -1 })

	got := transcribe(m.Generate(background(), ask("canary")))

	if strings.Contains(got, "canary") {
		t.Errorf("got a canary in\n%s", got)
	}
	if *update {
		a.Files[1].Data = []byte(got)
		if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("got (+), want (-):\n%s", diff)
	}
}

// wire gives a recorded response its header's line breaks and takes the last
// line break of the file, which txtar adds, from a body that ends without one.
func wire(response []byte) []byte {
	head, body, _ := bytes.Cut(response, []byte("\n\n"))
	if bytes.Contains(head, []byte("chunked")) {
		size, chunk, _ := bytes.Cut(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
		body = bytes.Join([][]byte{size, chunk}, []byte("\r\n"))
	}
	if !bytes.HasSuffix(body, []byte("\n\n")) && !bytes.HasSuffix(body, []byte("\r\n")) {
		body = bytes.TrimSuffix(body, []byte("\n"))
	}
	head = bytes.ReplaceAll(head, []byte("\n"), []byte("\r\n"))
	return bytes.Join([][]byte{head, body}, []byte("\r\n\r\n"))
}
