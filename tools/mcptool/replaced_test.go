package mcptool_test

import (
	"net/http"
	"strings"
	"testing"
)

// A source that was replaced goes on for the sake of the calls that began. What it
// meets there is no news about the server any more, and nothing of it is trusted: what
// replaced it may trust nobody.
func TestASourceThatWasReplacedSaysNothingAndTrustsNobody(t *testing.T) {
	b := newBackend()
	t.Cleanup(func() { // sessions that nobody could take leave of
		for s := range b.Sessions() {
			_ = s.Close()
		}
	})
	var down chanSwitch
	inner := b.handler(nil)
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.on() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	w := newWorld(t, c).open("say_hello")
	said := w.logs.String()

	w.source.Retire()

	want(t, w.bob("say_hello", `{"name":"bob"}`), "hello bob")
	b.raw("late", "Comes late.", `{"type":"object"}`, ok)
	w.until("it is listed", func() bool { return strings.Contains(strings.Join(w.source.Listed(), " "), "late") })
	if pins, err := w.pins.Load("ext"); err != nil || w.has("late") || len(pins) != 2 {
		t.Errorf("got %v, %v, want nothing more accepted", pins, err)
	}
	down.set(true)
	b.raw("later", "Comes later.", `{"type":"object"}`, ok) // and has the list read again
	w.until("it is away", func() bool { return w.source.Problem() != nil })
	if now := w.logs.String(); now != said {
		t.Errorf("got %s, want nothing more said", now[len(said):])
	}
}
