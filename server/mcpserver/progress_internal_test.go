package mcpserver

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func calls(tool string) *behalfv1.Event {
	return &behalfv1.Event{CallId: "c", Source: "support", Body: &behalfv1.Event_ToolCallRequested{ToolCallRequested: &behalfv1.ToolCallRequested{Tool: tool}}}
}

func progress(done, total float64, text string) *behalfv1.Event {
	return &behalfv1.Event{CallId: "c", Body: &behalfv1.Event_ToolCallProgress{ToolCallProgress: &behalfv1.ToolCallProgress{Progress: done, Total: total, Message: text}}}
}

func TestAClientIsToldTenTimesASecondAtMostOfEverMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*mcp.ProgressNotificationParams
		tell := newTeller("mine", func(n *mcp.ProgressNotificationParams) error { all = append(all, n); return nil })

		tell.hear(calls("dig"))
		for range 1000 { // of ten seconds
			tell.hear(progress(1, 0, "still digging")) // a backend's own number does not grow
			<-time.After(10 * time.Millisecond)        // of the bubble's clock
		}
		tell.close()

		if len(all) < 90 || len(all) > 101 {
			t.Errorf("told %d times in ten seconds, want ten a second", len(all))
		}
		for i, n := range all[1:] {
			if n.Progress <= all[i].Progress {
				t.Fatalf("told of %g after %g", n.Progress, all[i].Progress)
			}
		}
		if last := all[len(all)-1]; last.Progress < 980 || last.Message != "dig: 1, still digging" {
			t.Errorf("got %+v, want the newest that there was", last)
		}
	})
}

// TestAClientThatDoesNotReadHoldsUpNobody: what it does not take is not kept either.
func TestAClientThatDoesNotReadHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, told := make(chan struct{}), 0
		tell := newTeller("mine", func(*mcp.ProgressNotificationParams) error { told++; <-stuck; return nil })
		tell.hear(calls("dig"))
		synctest.Wait()

		for range 10000 {
			tell.hear(progress(1, 2, "more"))
		}

		if kept := len(tell.newest); kept != 1 || told != 1 {
			t.Errorf("kept %d words and told %d, want the newest alone", kept, told)
		}
		close(stuck)
		tell.close()
	})
}

func TestAClientThatIsGoneIsToldNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		tell := newTeller("mine", func(*mcp.ProgressNotificationParams) error { told++; return errors.New("gone") })
		for range 5 {
			tell.hear(progress(1, 2, "more"))
			<-time.After(time.Second) // of the bubble's clock
		}
		tell.close()
		if told != 1 {
			t.Errorf("told %d times, want once", told)
		}
	})
}

func TestProgressSaysWhatTheEventsSay(t *testing.T) {
	turn := &behalfv1.Event{Source: "support", Body: &behalfv1.Event_TurnStarted{TurnStarted: &behalfv1.TurnStarted{Agent: "support", Turn: 2}}}
	text := &behalfv1.Event{Body: &behalfv1.Event_TextDelta{TextDelta: &behalfv1.TextDelta{Text: "secret"}}}
	result := &behalfv1.Event{CallId: "c", Body: &behalfv1.Event_ToolCallFinished{ToolCallFinished: &behalfv1.ToolCallFinished{ResultJson: "secret"}}}
	tell, got := &teller{tools: map[string]string{}}, []string{}

	for _, e := range []*behalfv1.Event{turn, text, calls("dig"), progress(1, 3, "deep"), progress(2.5, 0, ""), result, calls("rm -rf /\n"), calls(strings.Repeat("x", 65))} {
		got = append(got, tell.said(e))
	}

	want := []string{"support: turn 2", "", "support calls dig", "dig: 1 of 3, deep", "dig: 2.5", "", "support calls a tool", "support calls a tool"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyWhatAsksForAnAgentsProgressIsAStream(t *testing.T) {
	for text, want := range map[string]bool{
		`{"method":"tools/call","params":{"name":"agent-a","_meta":{"progressToken":"x"}}}`:  true,
		`{"method":"tools/call","params":{"name":"agent-a","_meta":{"progressToken":0}}}`:    true,
		`{"method":"tools/call","params":{"name":"agent-a"}}`:                                false,
		`{"method":"tools/call","params":{"name":"agent-a","_meta":{"progressToken":null}}}`: false,
		`{"method":"tools/call","params":{"name":"dig","_meta":{"progressToken":"x"}}}`:      false,
		`{"method":"tools/list","params":{"_meta":{"progressToken":"x"}}}`:                   false,
		`{`: false,
	} {
		if got := asksForProgress([]byte(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	for token, want := range map[any]bool{"x": true, 1.0: true, nil: false, true: false, strings.Repeat("x", maxToken+1): false} {
		if got := isToken(token); got != want {
			t.Errorf("%v: got %v", token, got)
		}
	}
}
