package agents

import "fmt"

// Window is how much of a long conversation a model is shown: [Buffered],
// [HeadTail] or [TokenLimit], and without one all of it. It changes prompts only;
// the transcript keeps everything.
//
// A reply with calls and the results of these calls are shown or left out
// together and count as two messages. The newest message is always shown.
type Window interface {
	// Check says what is wrong with the window itself.
	Check() error
	// Show is the part of a conversation that is shown. It does not change messages.
	Show(messages []PromptMessage) []PromptMessage
}

// Buffered shows the last N messages.
type Buffered struct{ N int }

// HeadTail shows the first and the last messages, and says how many are not shown.
type HeadTail struct{ Head, Tail int }

// TokenLimit leaves out messages from the middle until the others fit. Count
// gives the tokens of a text; nil is one for four bytes. It is asked for every
// message of every prompt.
type TokenLimit struct {
	Max   int
	Count func(text string) int
}

// without leaves out the messages from up to, and not with, to.
func without(messages []PromptMessage, from, to int) []PromptMessage {
	if from >= to {
		return messages
	}
	return append(messages[:from:from], messages[to:]...)
}

// unitEnd is where the unit that starts at i ends.
func unitEnd(messages []PromptMessage, i int) int {
	for i++; i < len(messages) && messages[i].Role == RoleTool; i++ {
	}
	return i
}

// unitStart is where the unit that ends before i starts.
func unitStart(messages []PromptMessage, i int) int {
	for i--; i > 0 && messages[i].Role == RoleTool; i-- {
	}
	return i
}

// count is how many messages the units are: all results of a reply are one.
func count(messages []PromptMessage) int {
	n := 0
	for i := range messages {
		if messages[i].Role != RoleTool || i > 0 && messages[i-1].Role != RoleTool {
			n++
		}
	}
	return n
}

// tail is where the last n messages start. The newest unit is always among them.
func tail(messages []PromptMessage, n int) int {
	start := unitStart(messages, len(messages))
	for n -= count(messages[start:]); n > 0 && start > 0; {
		next := unitStart(messages, start)
		if n -= count(messages[next:start]); n >= 0 {
			start = next
		}
	}
	return start
}

// Check refuses a window that would be empty.
func (b Buffered) Check() error {
	return require(b.N > 0, "a buffered window needs at least one message")
}

// Show shows the last messages.
func (b Buffered) Show(messages []PromptMessage) []PromptMessage {
	if len(messages) == 0 {
		return messages
	}
	return messages[tail(messages, b.N):]
}

// Check refuses a window that lacks one of its ends.
func (h HeadTail) Check() error {
	return require(h.Head > 0 && h.Tail > 0, "a window of head and tail needs at least one message of each")
}

// Show shows both ends, and in place of the rest says how much that is.
func (h HeadTail) Show(messages []PromptMessage) []PromptMessage {
	if count(messages) <= h.Head+h.Tail {
		return messages
	}
	from, to := h.head(messages), tail(messages, h.Tail)
	if from >= to {
		return messages
	}
	skipped := PromptMessage{Role: RoleUser, Name: "System", Text: fmt.Sprintf("Skipped %d messages.", count(messages[from:to]))}
	return append(append(messages[:from:from], skipped), messages[to:]...)
}

// head is where the first messages end.
func (h HeadTail) head(messages []PromptMessage) int {
	head, room := 0, h.Head
	for head < len(messages) {
		next := unitEnd(messages, head)
		if room -= count(messages[head:next]); room < 0 {
			break
		}
		head = next
	}
	return head
}

// Check refuses a limit of nothing.
func (l TokenLimit) Check() error {
	return require(l.Max > 0, "a token limit must be positive")
}

// Show leaves out units from the middle on, in both directions, until the others fit.
func (l TokenLimit) Show(messages []PromptMessage) []PromptMessage {
	starts, tokens, total := l.measure(messages)
	n := len(tokens)
	from, to := n/2, n/2
	for total > l.Max && from+n-to > 1 {
		last := n - to // units behind the hole
		if middle := (from + last) / 2; middle < from || last == 1 {
			from--
			total -= tokens[from]
		} else {
			total -= tokens[to]
			to++
		}
	}
	return without(messages, starts[from], starts[to])
}

// measure gives where each unit starts, and at last the end, and its tokens.
func (l TokenLimit) measure(messages []PromptMessage) (starts, tokens []int, total int) {
	for i := 0; i < len(messages); {
		end := unitEnd(messages, i)
		n := 0
		for j := i; j < end; j++ {
			n += l.tokens(&messages[j])
		}
		starts, tokens, total = append(starts, i), append(tokens, n), total+n
		i = end
	}
	return append(starts, len(messages)), tokens, total
}

func (l TokenLimit) tokens(m *PromptMessage) int {
	tally := l.Count
	if tally == nil {
		tally = func(text string) int { return (len(text) + 3) / 4 }
	}
	n := tally(m.Text)
	for _, p := range m.Parts {
		n += tally(p.Text) + tally(p.JSON)
	}
	for _, c := range m.Calls {
		n += tally(c.Tool) + tally(c.Arguments)
	}
	return n
}
