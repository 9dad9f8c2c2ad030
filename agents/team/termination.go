package team

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

// Condition says when a team stops. It is a value: the types of this file, which
// Any and All combine to any depth. What a condition saw is never part of it but
// folded anew in each run, from the run's RunStarted on.
type Condition interface {
	// watch makes the fold of one run that began at start: given each turn in
	// order it says why to stop, empty to go on. After that it is not asked again.
	watch(start time.Time) watcher
	check() error
}

type watcher func(*Delta) string

// Conditions.
type (
	// MaxMessages fires when so many messages were said, the task included. With
	// Events it counts the agents' requests, results, thoughts and memories too.
	MaxMessages struct {
		N      int
		Events bool
	}
	// TextMention fires when a message or event contains Text, with Sources only
	// one of theirs.
	TextMention struct {
		Text    string
		Sources []string
	}
	// StopMessage fires on a message of KindStop.
	StopMessage struct{}
	// TextMessage fires on a plain text message: of Source, or empty of anybody.
	TextMessage struct{ Source string }
	// TokenUsage fires when the run used so many tokens; 0 is no limit.
	TokenUsage struct{ Total, Prompt, Completion int64 }
	// HandoffTo fires on a hand-off to Target.
	HandoffTo struct{ Target string }
	// SourceMatch fires when one of Sources said or did something.
	SourceMatch struct{ Sources []string }
	// FunctionCall fires when a tool of that name has a result, also a failed one.
	FunctionCall struct{ Name string }
	// Timeout fires at the first check so long after the run began, by the time
	// of the stored events.
	Timeout struct{ After time.Duration }
	// External fires when a stop was requested from outside: by a stop message of
	// the user that is stored in the team's thread after the run's first speaker
	// was selected, or by Requested, which the team turns into such a message.
	External struct{ Requested func() bool }
	// Func fires when Met says so. It must be a function of the turn alone, or a
	// resumed run would stop elsewhere.
	Func struct{ Met func(*Delta) bool }
	// Any fires when one of its conditions does. All of them see each turn.
	Any []Condition
	// All fires when each of its conditions has fired, each once.
	All []Condition
)

// Watch is one run's fold of a condition. It is for one goroutine.
type Watch struct {
	check watcher
	fired bool
}

// ErrStopped says that a watch was asked after it had fired.
var ErrStopped = errors.New("the condition has already fired; start a new watch")

// NewWatch starts to watch a run that began at start.
func NewWatch(c Condition, start time.Time) (*Watch, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Watch{check: c.watch(start)}, nil
}

// Check gives the watch the next turn, or first the task, and says why to stop,
// empty to go on.
func (w *Watch) Check(d *Delta) (string, error) {
	if w.fired {
		return "", ErrStopped
	}
	stop := w.check(d)
	w.fired = stop != ""
	return stop, nil
}

func (c MaxMessages) watch(time.Time) watcher {
	count := 0
	return func(d *Delta) string {
		for i := range d.Items {
			if c.Events || d.Items[i].Said() {
				count++
			}
		}
		if count < c.N {
			return ""
		}
		return fmt.Sprintf("Maximum number of messages %d reached, current message count: %d", c.N, count)
	}
}

func (c MaxMessages) check() error {
	return require(c.N > 0, "the number of messages must be positive")
}

func (c TextMention) watch(time.Time) watcher {
	return whenItem(func(it *Item) string {
		if (len(c.Sources) > 0 && !slices.Contains(c.Sources, it.Source)) || !strings.Contains(it.Text, c.Text) {
			return ""
		}
		return fmt.Sprintf("Text '%s' mentioned", c.Text)
	})
}

func (c TextMention) check() error {
	return require(c.Text != "", "the text to be mentioned is missing")
}

func (StopMessage) watch(time.Time) watcher {
	return whenItem(func(it *Item) string {
		if it.Kind != ItemKind(agents.KindStop) {
			return ""
		}
		return "Stop message received"
	})
}

func (StopMessage) check() error { return nil }

func (c TextMessage) watch(time.Time) watcher {
	return whenItem(func(it *Item) string {
		if it.Kind != ItemKind(agents.KindText) || (c.Source != "" && it.Source != c.Source) {
			return ""
		}
		return fmt.Sprintf("Text message received from '%s'", it.Source)
	})
}

func (TextMessage) check() error { return nil }

func (c TokenUsage) watch(time.Time) watcher {
	var sum agents.Usage
	over := func(limit, used int64) bool { return limit > 0 && used >= limit }
	return func(d *Delta) string {
		sum = sum.Add(d.Usage)
		if !over(c.Total, sum.Total()) && !over(c.Prompt, sum.PromptTokens) && !over(c.Completion, sum.CompletionTokens) {
			return ""
		}
		return fmt.Sprintf("Token usage limit reached, total token count: %d, prompt token count: %d, completion token count: %d.",
			sum.Total(), sum.PromptTokens, sum.CompletionTokens)
	}
}

func (c TokenUsage) check() error {
	return require(min(c.Total, c.Prompt, c.Completion) >= 0 && max(c.Total, c.Prompt, c.Completion) > 0,
		"at least one token limit is needed, and none may be negative")
}

func (c HandoffTo) watch(time.Time) watcher {
	return whenItem(func(it *Item) string {
		if it.Kind != ItemKind(agents.KindHandoff) || it.HandoffTo != c.Target {
			return ""
		}
		return fmt.Sprintf("Handoff to %s from %s detected.", c.Target, it.Source)
	})
}

func (c HandoffTo) check() error { return require(c.Target != "", "the hand-off's target is missing") }

func (c SourceMatch) watch(time.Time) watcher {
	return whenItem(func(it *Item) string {
		if !slices.Contains(c.Sources, it.Source) {
			return ""
		}
		return fmt.Sprintf("'%s' answered", it.Source)
	})
}

func (c SourceMatch) check() error { return require(len(c.Sources) > 0, "the sources are missing") }

func (c FunctionCall) watch(time.Time) watcher {
	return whenItem(func(it *Item) string {
		if it.Kind != ItemResults || !slices.Contains(it.Tools, c.Name) {
			return ""
		}
		return fmt.Sprintf("Function '%s' was executed.", c.Name)
	})
}

func (c FunctionCall) check() error { return require(c.Name != "", "the function's name is missing") }

func (c Timeout) watch(start time.Time) watcher {
	return func(d *Delta) string {
		if d.Time.Sub(start) < c.After {
			return ""
		}
		return fmt.Sprintf("Timeout of %v seconds reached", c.After.Seconds())
	}
}

func (c Timeout) check() error { return require(c.After > 0, "the timeout must be positive") }

func (External) watch(time.Time) watcher {
	return func(d *Delta) string {
		if !d.StopRequested {
			return ""
		}
		return stopRequested
	}
}

func (External) check() error { return nil }

// stopRequested is what a team that External stopped says.
const stopRequested = "External termination requested"

func (c Func) watch(time.Time) watcher {
	return func(d *Delta) string {
		if !c.Met(d) {
			return ""
		}
		return "Functional termination condition met"
	}
}

func (c Func) check() error { return require(c.Met != nil, "the function is missing") }

func (c Any) watch(start time.Time) watcher {
	members := watchAll(c, start)
	return func(d *Delta) string {
		var stops []string
		for _, member := range members {
			if stop := member(d); stop != "" {
				stops = append(stops, stop)
			}
		}
		return strings.Join(stops, ", ")
	}
}

func (c Any) check() error { return checkAll("any", c) }

func (c All) watch(start time.Time) watcher {
	pending := watchAll(c, start)
	var stops []string
	return func(d *Delta) string {
		pending = slices.DeleteFunc(pending, func(member watcher) bool {
			stop := member(d)
			if stop != "" {
				stops = append(stops, stop)
			}
			return stop != ""
		})
		if len(pending) > 0 {
			return ""
		}
		return strings.Join(stops, ", ")
	}
}

func (c All) check() error { return checkAll("all", c) }

func watchAll(members []Condition, start time.Time) []watcher {
	watchers := make([]watcher, len(members))
	for i, c := range members {
		watchers[i] = c.watch(start)
	}
	return watchers
}

func checkAll(name string, members []Condition) error {
	problems := []error{require(len(members) > 0, name+" combines no conditions")}
	for _, c := range members {
		if c == nil {
			problems = append(problems, errors.New(name+" combines a condition that is nil"))
			continue
		}
		problems = append(problems, c.check())
	}
	return errors.Join(problems...)
}

// whenItem fires with the first item for which say has something to say.
func whenItem(say func(*Item) string) watcher {
	return func(d *Delta) string {
		for i := range d.Items {
			if stop := say(&d.Items[i]); stop != "" {
				return stop
			}
		}
		return ""
	}
}

// stopRequests are the Requested functions anywhere in a condition.
func stopRequests(c Condition) []func() bool {
	var found []func() bool
	switch c := c.(type) {
	case External:
		if c.Requested != nil {
			found = append(found, c.Requested)
		}
	case Any:
		for _, member := range c {
			found = append(found, stopRequests(member)...)
		}
	case All:
		for _, member := range c {
			found = append(found, stopRequests(member)...)
		}
	}
	return found
}
