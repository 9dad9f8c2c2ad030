package mcptool_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// A call that fails says nothing of the same person's others, which the server goes on
// with.
func TestAFailedCallLeavesThePersonsOthersAlone(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", code) }
	}
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, fail := range map[string]http.HandlerFunc{
		"500": status(500), "503": status(503), "400": status(400), "401": status(401), "404": status(404), "418": status(418), "302": status(302),
		"hung up":                          func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no JSON":                          text("application/json", `{`),
		"nothing":                          text("application/json", ``),
		"another kind":                     text("text/plain", `ok`),
		"a stream that ends":               text("text/event-stream", "data: \n\n"),
		"a stream with an id that ends":    text("text/event-stream", "id: 1\ndata: \n\n"),
		"a stream with progress that ends": text("text/event-stream", "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"x\",\"progress\":1}}\n\n"),
		"an event that is no JSON":         text("text/event-stream", "data: {\n\n"),
		"an event that is no message":      text("text/event-stream", "data: {}\n\n"),
		"a line that is none of a stream":  text("text/event-stream", "nonsense\n\n"),
		"a broken stream":                  text("text/event-stream", "\x00\xff: {\n\n"),
		"a giant":                          text("application/json", strings.Repeat(" ", 5<<20)),
		"a giant event":                    text("text/event-stream", "data: "+strings.Repeat("x", 5<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			begun, release := make(chan struct{}), make(chan struct{})
			var calls atomic.Int32
			l := &liar{tools: good, call: func(w http.ResponseWriter, r *http.Request, id json.RawMessage) {
				if calls.Add(1) > 1 {
					fail(w, r)
					return
				}
				close(begun)
				<-release
				reply(w, id, `{"content":[{"type":"text","text":"done"}]}`)
			}}
			w := newWorld(t, serve(t, l)).open("good")
			first := make(chan string, 1)
			go func() { first <- w.call(as(t.Context(), "bob"), "good", `{}`).Result }()
			<-begun

			w.fails("good", `{}`)

			close(release)
			want(t, <-first, "done")
		})
	}
}

// keeper is a server that keeps sessions, of which it hears when they end.
type keeper struct {
	*liar
	made  atomic.Int64
	ended chan string
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Mcp-Session-Id")
	if id == "" {
		id = fmt.Sprint("s", k.made.Add(1))
	}
	if r.Method == http.MethodDelete {
		k.ended <- id
	}
	w.Header().Set("Mcp-Session-Id", id)
	k.liar.ServeHTTP(w, r)
}

// TestABrokenSessionEndsWithItsLastCall has two calls fail in a session in which a third
// one waits.
func TestABrokenSessionEndsWithItsLastCall(t *testing.T) {
	begun, release, by := make(chan struct{}), make(chan struct{}), make(chan string, 8)
	var calls atomic.Int32
	k := &keeper{ended: make(chan string, 64)}
	k.liar = &liar{tools: good, call: func(w http.ResponseWriter, r *http.Request, id json.RawMessage) {
		by <- r.Header.Get("Mcp-Session-Id")
		switch calls.Add(1) {
		case 1:
			close(begun)
			<-release
		case 2:
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		reply(w, id, `{"content":[{"type":"text","text":"done"}]}`)
	}}
	w := newWorld(t, serve(t, k)).open("good")
	first := make(chan string, 1)
	go func() { first <- w.call(as(t.Context(), "bob"), "good", `{}`).Result }()
	<-begun

	w.fails("good", `{}`)
	want(t, w.bob("good", `{}`), "done")

	broken, failed, fresh := <-by, <-by, <-by
	if failed != broken || fresh == broken {
		t.Errorf("the calls went by %s, %s and %s, want the first two by one", broken, failed, fresh)
	}
	for len(k.ended) > 0 {
		if got := <-k.ended; got == broken || got == fresh {
			t.Fatalf("%s ended while a call went by it, or could", got)
		}
	}
	close(release)
	want(t, <-first, "done")
	for got := <-k.ended; got != broken; got = <-k.ended { // those that read the list end at any time
		if got == fresh {
			t.Errorf("the session that was opened instead has ended")
		}
	}
	want(t, w.bob("good", `{}`), "done")
	if got := <-by; got != fresh {
		t.Errorf("the last call went by %s, want %s", got, fresh)
	}
}

// When a source has ended no session is left, not even one that a call still goes by.
func TestASourceThatEndsEndsBrokenSessionsToo(t *testing.T) {
	begun, release, by := make(chan struct{}), make(chan struct{}), make(chan string, 8)
	var calls atomic.Int32
	k := &keeper{ended: make(chan string, 64)}
	k.liar = &liar{tools: good, call: func(w http.ResponseWriter, r *http.Request, id json.RawMessage) {
		by <- r.Header.Get("Mcp-Session-Id")
		if calls.Add(1) > 1 {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		close(begun)
		<-release
		reply(w, id, `{"content":[{"type":"text","text":"done"}]}`)
	}}
	w := newWorld(t, serve(t, k)).open("good")
	first := make(chan string, 1)
	go func() { first <- w.call(as(t.Context(), "bob"), "good", `{}`).Result }()
	<-begun
	w.fails("good", `{}`)

	w.stop()

	var ended []string
	for len(k.ended) > 0 {
		ended = append(ended, <-k.ended)
	}
	if broken := <-by; !slices.Contains(ended, broken) {
		t.Errorf("the sessions %v have ended, want %s too", ended, broken)
	}
	close(release)
	want(t, <-first, "OUTCOME_UNKNOWN")
}
