package conformance_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
)

// checkCondition calls a condition directly. To reset it is to watch anew.
func checkCondition(c *testCase) []string {
	cond, err := c.Condition.build()
	if err != nil {
		return []string{err.Error()}
	}
	now, stop := time.Now(), false
	watch, err := team.NewWatch(cond, now)
	if err != nil {
		return []string{err.Error()}
	}
	for i, ch := range c.Check {
		switch ch.Op {
		case "reset":
			stop = false
			if watch, err = team.NewWatch(cond, now); err != nil {
				return []string{err.Error()}
			}
			continue
		case "set":
			stop = true
			continue
		case "sleep":
			now = now.Add(seconds(ch.Sleep))
			continue
		}
		got, err := watch.Check(ch.delta(now, stop))
		if problem := ch.compare(got, err); problem != "" {
			return []string{fmt.Sprintf("check %d: %s", i+1, problem)}
		}
	}
	return nil
}

func (c *check) compare(got string, err error) string {
	if c.Expect == "raises TerminatedException" {
		if errors.Is(err, team.ErrStopped) {
			return ""
		}
		return fmt.Sprintf("got %q, %v, want ErrStopped", got, err)
	}
	if err != nil || !matches(c.Expect, got) {
		return fmt.Sprintf("got %q, %v, want %q", got, err, c.Expect)
	}
	return ""
}

func (c *check) delta(now time.Time, stop bool) *team.Delta {
	d := &team.Delta{Time: now, StopRequested: stop}
	for _, it := range c.Delta {
		d.Items = append(d.Items, it.item())
		if len(it.Usage) == 2 {
			d.Usage = d.Usage.Add(agents.Usage{PromptTokens: it.Usage[0], CompletionTokens: it.Usage[1], ModelCalls: 1})
		}
	}
	return d
}

func (i *item) item() team.Item {
	out := team.Item{Source: i.Source, Text: i.Value}
	switch i.Kind {
	case "text":
	case "event":
		out.Kind = team.ItemThought
	case "stop":
		out.Kind = team.ItemKind(agents.KindStop)
	case "handoff":
		out.Kind, out.HandoffTo = team.ItemKind(agents.KindHandoff), i.Value
	case "res":
		out.Kind, out.Tools = team.ItemResults, []string{i.Value}
	default:
		panic("no such kind of item: " + i.Kind)
	}
	return out
}
