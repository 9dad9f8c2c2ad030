package model

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/policy/pii"
)

// saying is a model that says these chunks, then fails if it has an error.
type saying struct {
	chunks []agents.Chunk
	err    error
}

func (s saying) Generate(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		for _, c := range s.chunks {
			if !yield(c, nil) {
				return
			}
		}
		if s.err != nil {
			yield(agents.Chunk{}, s.err)
		}
	}
}

func cardFilters(context.Context) (func() Filter, error) {
	set, err := pii.Parse("card")
	return func() Filter { return set.Stream(nil) }, err
}

func texts(parts ...string) (all []agents.Chunk) {
	for _, p := range parts {
		all = append(all, agents.Chunk{Text: p})
	}
	return all
}

func TestGovernedFiltersTextAndThoughtEachForItself(t *testing.T) {
	said := append(texts("pay 4111 11"), agents.Chunk{Thought: "the card 4111-1111-"}, agents.Chunk{Text: "11 1111 "}, agents.Chunk{Thought: "1111-1111"},
		agents.Chunk{Text: "1111"}, agents.Chunk{Done: &agents.Reply{Finish: "stop"}})
	m := Governed(saying{chunks: said}, GovernedConfig{Filters: cardFilters})

	var text, thought string
	var last agents.Chunk
	for c, err := range m.Generate(t.Context(), ask("x")) {
		if err != nil {
			t.Fatal(err)
		}
		text, thought, last = text+c.Text, thought+c.Thought, c
	}

	if text != "pay [redacted]" || thought != "the card [redacted]" || last.Done == nil || last.Done.Finish != "stop" {
		t.Errorf("got %q, thought %q, last %+v", text, thought, last)
	}
}

func TestWhatIsHeldWhenAnAnswerIsCutOffIsDropped(t *testing.T) {
	cut := errors.New("cut")
	for name, m := range map[string]agents.Model{"error": saying{texts("pay ", "4111 1111"), cut}, "silence": saying{chunks: texts("pay ", "4111 1111")}} {
		var text string
		var failed error
		for c, err := range Governed(m, GovernedConfig{Filters: cardFilters}).Generate(t.Context(), ask("x")) {
			text, failed = text+c.Text, err
		}

		if text != "pay " || name == "error" && !errors.Is(failed, cut) {
			t.Errorf("%s: got %q and %v", name, text, failed)
		}
	}
}

func TestWithoutAFilterChunksPassAsTheyAre(t *testing.T) {
	none := func(context.Context) (func() Filter, error) { return nil, nil }
	m := Governed(saying{chunks: texts("4111 1111", " 1111 1111")}, GovernedConfig{Filters: none})

	if got := transcribe(m.Generate(t.Context(), ask("x"))); got != transcribe(saying{chunks: texts("4111 1111", " 1111 1111")}.Generate(t.Context(), nil)) {
		t.Errorf("got %s", got)
	}
}

func TestWhatCannotBeFilteredIsNotSaid(t *testing.T) {
	denied := errors.New("denied")
	m := Governed(saying{chunks: texts("hello")}, GovernedConfig{Filters: func(context.Context) (func() Filter, error) { return nil, denied }})

	for c, err := range m.Generate(t.Context(), ask("x")) {
		if c.Text != "" || !errors.Is(err, denied) {
			t.Errorf("got %+v and %v", c, err)
		}
	}
}

func TestABrokenLoopEndsTheFilterToo(t *testing.T) {
	m := Governed(saying{chunks: append(texts("a ", "b "), agents.Chunk{Done: &agents.Reply{}})}, GovernedConfig{Filters: cardFilters})

	n := 0
	for range m.Generate(t.Context(), ask("x")) {
		n++
		break
	}

	if n != 1 {
		t.Errorf("got %d chunks", n)
	}
}

func TestHowLongTextIsHeldIsTold(t *testing.T) {
	now := time.Unix(0, 0)
	var held []time.Duration
	clocked := func(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
		return func(yield func(agents.Chunk, error) bool) {
			for _, c := range append(texts("pay ", "4111 ", "1111 ", "x ", "12"), agents.Chunk{Done: &agents.Reply{}}) {
				now = now.Add(time.Second)
				if !yield(c, nil) {
					return
				}
			}
		}
	}
	m := Governed(generator(clocked), GovernedConfig{Filters: cardFilters, Held: func(d time.Duration) { held = append(held, d) }, Clock: func() time.Time { return now }})

	var text strings.Builder
	for c := range m.Generate(t.Context(), ask("x")) {
		text.WriteString(c.Text)
	}

	if text.String() != "pay 4111 1111 x 12" || len(held) != 2 || held[0] != 2*time.Second || held[1] != time.Second {
		t.Errorf("got %q held for %v, want 2 s and 1 s", text.String(), held)
	}
}

type generator func(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error]

func (g generator) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return g(ctx, p)
}

// BenchmarkGoverned is an answer of 200 pieces. ungoverned is what the pieces cost
// without.
func BenchmarkGoverned(b *testing.B) {
	answer := saying{chunks: append(texts(strings.Split(strings.Repeat("so many words ,", 66), " ")...), agents.Chunk{Done: &agents.Reply{}})}
	all := func(context.Context) (func() Filter, error) { return func() Filter { return pii.All.Stream(nil) }, nil }
	none := func(context.Context) (func() Filter, error) { return nil, nil }
	for name, filters := range map[string]func(context.Context) (func() Filter, error){"none": none, "card": cardFilters, "all": all} {
		b.Run(name, func(b *testing.B) {
			m := Governed(answer, GovernedConfig{Filters: filters})
			b.ReportAllocs()
			for b.Loop() {
				for range m.Generate(b.Context(), nil) {
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(answer.chunks)), "ns/delta")
		})
	}
}
