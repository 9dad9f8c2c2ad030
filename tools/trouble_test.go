package tools_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/tools"
)

func TestACauseIsToldOnceHoweverOftenItIsMet(t *testing.T) {
	var trouble tools.Trouble
	now := time.Unix(1_700_000_000, 0)
	is := func(text string, want bool) {
		t.Helper()
		if got := trouble.Is(errors.New(text), now); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
	is("refused", true)
	now = now.Add(time.Hour)
	is("refused", false)
	is("read tcp 127.0.0.1:40001->127.0.0.1:9443: reset", true)
	is("read tcp 127.0.0.1:40002->127.0.0.1:9443: reset", false)
	is("refused", true)
	is("read tcp 127.0.0.1:40003->127.0.0.1:9443: reset", false) // told a moment ago

	if !trouble.Over() || trouble.Over() || trouble.Err() != nil {
		t.Error("it is not over once")
	}
	is("refused", false) // it flaps
	now = now.Add(time.Minute)
	trouble.Over()
	is("refused", true)

	told := 0
	for n := range 1000 {
		if trouble.Is(fmt.Errorf("cause %d", n), now) {
			told++
		}
	}
	if told > 8 {
		t.Errorf("a thousand causes were told %d times", told)
	}
}

// What comes and goes all the time must not fill a log, and the last word of it must be
// true.
func TestTheLastWordAboutATroubleIsTrue(t *testing.T) {
	var trouble tools.Trouble
	now := time.Unix(1_700_000_000, 0)
	down := errors.New("refused")
	if !trouble.Is(down, now) || !trouble.Over() {
		t.Fatal("neither it nor its end was told")
	}

	if trouble.Is(down, now) || trouble.Over() {
		t.Error("it was told again a moment later, or the end of what nobody was told")
	}

	if trouble.Is(down, now); !trouble.Is(down, now.Add(time.Minute)) || !trouble.Over() {
		t.Error("the last word was that it is over")
	}
}
