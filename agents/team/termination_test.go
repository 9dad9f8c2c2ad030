package team_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"go.yaml.in/yaml/v4"
)

// conformance is the part of the cases that asks conditions directly.
type conformance []struct {
	ID        string
	Condition map[string]any
	Check     []any
}

func TestConditionsAnswerAsTheCasesSay(t *testing.T) {
	text, err := os.ReadFile("../../conformance/autogen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases conformance
	if err := yaml.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, c := range cases {
		if c.Condition == nil {
			continue
		}
		tried++
		t.Run(c.ID, func(t *testing.T) { checkCase(t, c.Condition, c.Check) })
	}
	if tried < 16 {
		t.Errorf("got %d cases, want at least 16", tried)
	}
}

func checkCase(t *testing.T, condition map[string]any, checks []any) {
	t.Helper()
	now := time.Unix(0, 0)
	c := fromCase(t, condition)
	w := newWatch(t, c, now)
	stopRequested := false
	for i, check := range checks {
		step := check.([]any)
		switch what := step[0].(type) {
		case string:
			switch what {
			case "set":
				stopRequested = true
			case "reset":
				w, stopRequested = newWatch(t, c, now), false
			}
		case map[string]any:
			now = now.Add(time.Duration(what["sleep"].(float64) * float64(time.Second)))
		case []any:
			d := deltaFromCase(what)
			d.Time, d.StopRequested = now, stopRequested
			compareCheck(t, i, step[1], w, d)
		}
	}
}

func compareCheck(t *testing.T, i int, want any, w *team.Watch, d *team.Delta) {
	t.Helper()
	got, err := w.Check(d)
	expected, _ := want.(string)
	if strings.HasPrefix(expected, "raises") {
		if !errors.Is(err, team.ErrStopped) {
			t.Errorf("check %d: got %q, %v; want ErrStopped", i, got, err)
		}
		return
	}
	prefix, suffix, wild := strings.Cut(expected, "*")
	matches := got == expected || wild && strings.HasPrefix(got, prefix) && strings.HasSuffix(got, suffix)
	if err != nil || !matches {
		t.Errorf("check %d: got %q, %v; want %q", i, got, err, expected)
	}
}

func newWatch(t *testing.T, c team.Condition, start time.Time) *team.Watch {
	t.Helper()
	w, err := team.NewWatch(c, start)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// fromCase builds the condition of a case.
func fromCase(t *testing.T, f map[string]any) team.Condition {
	t.Helper()
	for key, value := range f {
		switch key {
		case "max_messages":
			events, _ := f["include_events"].(bool)
			return team.MaxMessages{N: value.(int), Events: events}
		case "text":
			return team.TextMention{Text: value.(string), Sources: texts(f["sources"])}
		case "stop_message":
			return team.StopMessage{}
		case "text_message":
			return team.TextMessage{Source: strings.TrimPrefix(value.(string), "any")}
		case "tokens":
			limits := value.(map[string]any)
			n := func(name string) int64 { v, _ := limits[name].(int); return int64(v) }
			return team.TokenUsage{Total: n("total"), Prompt: n("prompt"), Completion: n("completion")}
		case "handoff":
			return team.HandoffTo{Target: value.(string)}
		case "source":
			return team.SourceMatch{Sources: texts(value)}
		case "function":
			return team.FunctionCall{Name: value.(string)}
		case "timeout":
			return team.Timeout{After: time.Duration(value.(float64) * float64(time.Second))}
		case "external":
			return team.External{}
		case "func":
			return team.Func{Met: func(d *team.Delta) bool { return len(d.Items) > 0 && d.Items[len(d.Items)-1].Text == "stop" }}
		case "any":
			return team.Any(allFromCase(t, value))
		case "all":
			return team.All(allFromCase(t, value))
		}
	}
	t.Fatalf("unknown condition %v", f)
	return nil
}

func allFromCase(t *testing.T, value any) []team.Condition {
	t.Helper()
	var all []team.Condition
	for _, f := range value.([]any) {
		all = append(all, fromCase(t, f.(map[string]any)))
	}
	return all
}

func texts(value any) []string {
	list, _ := value.([]any)
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// deltaFromCase reads items of source, kind, value and usage.
func deltaFromCase(items []any) *team.Delta {
	d := &team.Delta{}
	for _, item := range items {
		f := item.([]any)
		it := team.Item{Source: fmt.Sprint(f[0])}
		value := ""
		if len(f) > 2 {
			value = fmt.Sprint(f[2])
		}
		switch f[1] {
		case "text":
			it.Text = value
		case "stop":
			it.Kind, it.Text = team.ItemKind(agents.KindStop), value
		case "handoff":
			it.Kind, it.HandoffTo = team.ItemKind(agents.KindHandoff), value
		case "res":
			it.Kind, it.Tools = team.ItemResults, []string{value}
		case "event":
			it.Kind = team.ItemThought
		}
		if len(f) > 3 {
			u := f[3].([]any)
			d.Usage = d.Usage.Add(agents.Usage{PromptTokens: int64(u[0].(int)), CompletionTokens: int64(u[1].(int))})
		}
		d.Items = append(d.Items, it)
	}
	return d
}

func TestConditionsThatSayNothingAreRefused(t *testing.T) {
	for _, c := range []team.Condition{
		team.MaxMessages{}, team.TextMention{}, team.TokenUsage{}, team.TokenUsage{Total: -1}, team.HandoffTo{},
		team.SourceMatch{}, team.FunctionCall{}, team.Timeout{}, team.Func{}, team.Any{}, team.All{nil},
		team.Any{team.All{team.MaxMessages{}}},
	} {
		if _, err := team.NewWatch(c, time.Time{}); err == nil {
			t.Errorf("%T%+v: got no error", c, c)
		}
	}
}
