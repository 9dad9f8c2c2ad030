package agents_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/google/go-cmp/cmp"
)

// conversation makes messages of a line: u and a are words of a user and an agent,
// c a reply with two calls and their results.
func conversation(line string) []agents.PromptMessage {
	var all []agents.PromptMessage
	for i, kind := range line {
		text := fmt.Sprint(string(kind), i)
		switch kind {
		case 'c':
			all = append(all,
				agents.PromptMessage{Role: agents.RoleAssistant, Text: text, Calls: make([]agents.CallRequest, 2)},
				agents.PromptMessage{Role: agents.RoleTool, Text: "r"}, agents.PromptMessage{Role: agents.RoleTool, Text: "r"})
		case 'a':
			all = append(all, agents.PromptMessage{Role: agents.RoleAssistant, Text: text})
		default:
			all = append(all, agents.PromptMessage{Role: agents.RoleUser, Text: text})
		}
	}
	return all
}

func shown(messages []agents.PromptMessage) string {
	words := make([]string, len(messages))
	for i, m := range messages {
		words[i] = m.Text
	}
	return strings.Join(words, " ")
}

func words(s string) int { return len(strings.Fields(s)) }

func TestWindowsShowWholeUnits(t *testing.T) {
	for _, c := range []struct {
		window agents.Window
		of     string
		want   string
	}{
		{agents.Buffered{N: 2}, "", ""},
		{agents.Buffered{N: 2}, "ua", "u0 a1"},
		{agents.Buffered{N: 2}, "uau", "a1 u2"},
		{agents.Buffered{N: 2}, "ucu", "u2"},
		{agents.Buffered{N: 3}, "ucu", "c1 r r u2"},
		{agents.Buffered{N: 1}, "uc", "c1 r r"},
		{agents.HeadTail{Head: 1, Tail: 1}, "", ""},
		{agents.HeadTail{Head: 1, Tail: 1}, "ua", "u0 a1"},
		{agents.HeadTail{Head: 1, Tail: 1}, "uauau", "u0 Skipped 3 messages. u4"},
		{agents.HeadTail{Head: 2, Tail: 2}, "ucuau", "u0 Skipped 3 messages. a3 u4"},
		{agents.HeadTail{Head: 2, Tail: 2}, "uauc", "u0 a1 Skipped 1 messages. c3 r r"},
		{agents.HeadTail{Head: 1, Tail: 1}, "uc", "u0 c1 r r"},
		{agents.TokenLimit{Max: 1, Count: words}, "", ""},
		{agents.TokenLimit{Max: 2, Count: words}, "uau", "u0 u2"},
		{agents.TokenLimit{Max: 3, Count: words}, "uaucu", "u0 a1 u4"},
		{agents.TokenLimit{Max: 1, Count: words}, "uc", "c1 r r"},
		{agents.TokenLimit{Max: 2}, "uau", "u0 u2"},
	} {
		got := shown(c.window.Show(conversation(c.of)))
		if got != c.want {
			t.Errorf("%T%+v of %s: got %q, want %q", c.window, c.window, c.of, got, c.want)
		}
	}
}

func TestWindowsKeepTheNewestAndNeverSplitCallsFromResults(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		line := make([]byte, 1+rng.IntN(12))
		for i := range line {
			line[i] = "uac"[rng.IntN(3)]
		}
		whole := conversation(string(line))
		before := slices.Clone(whole)
		for _, w := range []agents.Window{
			agents.Buffered{N: 1 + rng.IntN(6)}, agents.HeadTail{Head: 1 + rng.IntN(4), Tail: 1 + rng.IntN(4)},
			agents.TokenLimit{Max: 1 + rng.IntN(15), Count: words},
		} {
			got := w.Show(whole)

			if !sound(got) || shown(got[len(got)-1:]) != shown(whole[len(whole)-1:]) {
				t.Errorf("%T%+v of %s: got %q", w, w, line, shown(got))
			}
		}
		if diff := cmp.Diff(whole, before); diff != "" {
			t.Fatalf("the conversation itself has changed:\n%s", diff)
		}
	}
}

// sound says that each reply with calls has its two results and no other result is there.
func sound(messages []agents.PromptMessage) bool {
	owed := 0
	for _, m := range messages {
		switch {
		case m.Role == agents.RoleTool:
			owed--
		case owed != 0:
			return false
		}
		owed += len(m.Calls)
	}
	return owed == 0
}

// TestTokenLimitTakesTheMiddleAway compares with the plain way to do it.
func TestTokenLimitTakesTheMiddleAway(t *testing.T) {
	for n := 1; n <= 12; n++ {
		for limit := 1; limit <= n; limit++ {
			plain := conversation(strings.Repeat("u", n))
			for len(plain) > limit {
				middle := min(len(plain)/2, len(plain)-2)
				plain = slices.Delete(plain, middle, middle+1)
			}

			got := agents.TokenLimit{Max: limit, Count: words}.Show(conversation(strings.Repeat("u", n)))

			if shown(got) != shown(plain) {
				t.Errorf("%d of %d: got %q, want %q", limit, n, shown(got), shown(plain))
			}
		}
	}
}
