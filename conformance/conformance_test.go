package conformance_test

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
)

func TestConformance(t *testing.T) {
	g, err := newGates()
	if err != nil {
		t.Fatal(err)
	}
	sum := &tally{}
	known := map[string]bool{}
	for _, c := range loadCases(t) {
		known[c.ID] = true
		t.Run(c.ID, func(t *testing.T) { sum.judge(t, &c, problems(t, &c, g)) })
	}
	for id := range wants {
		if !known[id] {
			t.Errorf("there is a want for %s, which is no case", id)
		}
	}
	for id := range notYet {
		if !known[id] {
			t.Errorf("%s is said to fail, and is no case", id)
		}
	}
	t.Log(sum)
}

// tally counts how the cases came out.
type tally struct {
	passed, diverged, broken int
	notYet, never            []string
}

func (s *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "passed %d, diverged as wanted %d, failed %d, skipped %d", s.passed, s.diverged, s.broken+len(s.notYet), len(s.never))
	for _, id := range s.notYet {
		fmt.Fprintf(&b, "\n  failed, not yet: %s: %s", id, notYet[id].why)
	}
	for _, id := range s.never {
		fmt.Fprintf(&b, "\n  skipped: %s: %s", id, notYet[id].why)
	}
	return b.String()
}

// judge compares what is wrong with what is known to be missing.
func (s *tally) judge(t *testing.T, c *testCase, problems []string) {
	t.Helper()
	gap, missing := notYet[c.ID]
	switch {
	case missing && len(problems) == 0:
		s.broken++
		t.Errorf("the case passes now: remove it from notYet (%s)", gap.why)
	case missing && len(problems) == 1 && strings.Contains(problems[0], gap.shows):
		if gap.never {
			s.never = append(s.never, c.ID)
		} else {
			s.notYet = append(s.notYet, c.ID)
		}
		t.Skipf("%s\n%s", gap.why, problems[0])
	case len(problems) > 0:
		s.broken++
		t.Errorf("%s\n%s", c.Src, strings.Join(problems, "\n"))
	case len(wants[c.ID]) > 0:
		s.diverged++
	default:
		s.passed++
	}
}

// problems runs a case, or all that is wanted instead of it.
func problems(t *testing.T, c *testCase, g *gates) []string {
	t.Helper()
	if c.Diverge && len(wants[c.ID]) == 0 {
		return []string{"the case diverges, and nothing says how we want it: " + c.Want}
	}
	if len(wants[c.ID]) == 0 {
		return perform(t, c, g)
	}
	var all []string
	for _, want := range wants[c.ID] {
		w, err := c.changed(want)
		if err != nil {
			return []string{err.Error()}
		}
		all = append(all, perform(t, w, g)...)
	}
	return all
}

// perform runs a case and gives all that is wrong.
func perform(t *testing.T, c *testCase, g *gates) (found []string) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			found = append(found, fmt.Sprintf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	if c.Condition != nil {
		return checkCondition(c)
	}
	b := &builder{c: c, models: newScripted(t, c), gates: g}
	a, err := b.build()
	if c.BuildError != "" {
		return compact(wrong(c.BuildError, err))
	}
	if err != nil {
		return []string{"build: " + err.Error()}
	}
	s := newSession(b, a)
	for i := range c.Steps {
		if p := s.step(t, &c.Steps[i]); len(p) > 0 { // what follows would follow from it
			return []string{fmt.Sprintf("step %d: %s", i+1, strings.Join(p, "\n"))}
		}
	}
	return checkModels(c, b.models)
}

func compact(all ...string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// step does one step and gives all that is wrong.
func (s *session) step(t *testing.T, st *step) []string {
	t.Helper()
	switch st.Op {
	case "reset":
		s.reset()
		return nil
	case "sleep":
		s.clock = s.clock.Add(seconds(st.S))
		return nil
	case "save_load":
		if err := s.reload(); err != nil {
			return []string{err.Error()}
		}
		return nil
	case "dump_load":
		if err := s.dumpLoad(); err != nil {
			return []string{err.Error()}
		}
		return nil
	case "":
	default:
		return []string{"no such step here: " + st.Op}
	}
	f := newFold(s.b.c)
	f.hide = st.OutputTask != nil && !*st.OutputTask
	if st.SecondRun > 0 {
		err, second := s.runTwice(t.Context(), st, f)
		return compact(checkRun(st, f, err), f.check(st), wrong(st.Second, second))
	}
	err := s.run(t.Context(), st, f)
	return compact(checkRun(st, f, err), f.check(st), s.checkHandoff(st))
}

// checkRun compares how a run ended.
func checkRun(st *step, f *fold, err error) string {
	switch {
	case st.Error != "":
		return wrong(st.Error, err)
	case err != nil:
		return "error " + err.Error() + " after\n" + indent(f.stream)
	case st.Stop.Kind == 0:
		return ""
	}
	want := st.Stop.Value
	if st.Stop.Tag == "!!null" {
		want = agents.StopCompleted
	}
	if ours, ok := stops[want]; ok {
		want = ours
	}
	if !matches(want, *f.stop) {
		return fmt.Sprintf("stop: got %q, want %q", *f.stop, want)
	}
	return ""
}

// check compares what was said.
func (f *fold) check(st *step) string {
	if len(f.chunks) > 0 && f.stop != nil {
		return "there are chunks of messages that never came"
	}
	got := f.result
	if st.Stream {
		got = f.stream
	}
	var found []string
	if st.Events != nil {
		found = append(found, follow("events", st.Events.ours(), got))
	}
	if st.Result != nil {
		found = append(found, follow("result", st.Result.ours(), f.result))
	}
	return strings.Join(compact(found...), "\n")
}

// ours are expected lines in our words.
func (l lines) ours() lines {
	var out lines
	for _, set := range l {
		var texts []string
		for _, text := range set {
			texts = append(texts, wording.Replace(text))
		}
		out = append(out, texts)
	}
	return out
}

// checkHandoff compares what the next agent is shown between the task and the
// hand-off.
func (s *session) checkHandoff(st *step) string {
	if st.HandoffCtx == nil {
		return ""
	}
	to := s.b.c.Agents[s.b.c.Agent].Handoffs[0].Target
	asked, err := s.b.models.asked(to)
	if err != nil || len(asked) != 1 || len(asked[0].messages) < 2 {
		return fmt.Sprintf("hand-off: %s was asked %+v, %v", to, asked, err)
	}
	shown := asked[0].messages
	return follow("hand-off context", each(st.HandoffCtx), shown[1:len(shown)-1])
}

// checkModels compares what models were asked.
func checkModels(c *testCase, models *scripted) []string {
	var found []string
	read := func(key string) []asked {
		all, err := models.asked(key)
		if err != nil {
			found = append(found, err.Error())
		}
		return all
	}
	for key, want := range c.Calls {
		if got := len(read(key)); got != want {
			found = append(found, fmt.Sprintf("calls of %s: got %d, want %d", key, got, want))
		}
	}
	nth := func(key string, n int, what string, want []string, of func(asked) []string) {
		all := read(key)
		if len(all) < n {
			found = append(found, fmt.Sprintf("%s was asked %d times, want %d", key, len(all), n))
			return
		}
		found = append(found, follow(fmt.Sprintf("%s %s of call %d", key, what, n), each(want), of(all[n-1])))
	}
	for key, sees := range c.Sees {
		for n, want := range sees {
			nth(key, n, "sees", want, func(a asked) []string { return a.messages })
		}
	}
	for key, offers := range c.Offers {
		for n, want := range offers {
			nth(key, n, "offers", want, func(a asked) []string { return a.tools })
		}
	}
	return compact(found...)
}
