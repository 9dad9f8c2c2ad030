package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/behalf-dev/behalf/agents"
)

// The chats have three participants in turn. Their model is in the server's own
// process and answers at once, so that all that is measured is ours.
const (
	chatsAtOnce    = 1000
	fewChats       = 100
	shortChat      = 10 // messages, with the one of the person
	longChat       = 100
	endless        = 0
	chatTurns      = shortChat - 1
	chatSpeakers   = 3
	chatPrefix     = "talk"
	whatTheySay    = "That is so, and there is more to say about it."
	chatsName      = "1,000 group chats of 10 messages; floor: 100 chats"
	chatsOpenName  = "1,000 group chats open after 10 messages; floor: 100"
	chatsGrownName = "1,000 group chats open after 100 messages; floor: 10"
)

// chatLengths are how many messages there are when a chat stands still; endless
// is one that goes on until its limit of turns.
func chatLengths() []int { return []int{endless, shortChat, longChat} }

// chatOf is the group chat, and the model of all who speak in it, of a length.
func chatOf(length int) string { return fmt.Sprintf("%s-%d", chatPrefix, length) }

func isChat(target string) bool { return strings.HasPrefix(target, chatPrefix) }

func writeChats(y io.Writer) {
	for _, n := range chatLengths() {
		for i := range chatSpeakers {
			fmt.Fprintf(y, "  %s-%d: { model: %s, instructions: You are a helpful agent. }\n", chatOf(n), i, chatOf(n))
		}
	}
	fmt.Fprintln(y, "group_chats:")
	for _, n := range chatLengths() {
		turns := chatTurns
		if n > 0 {
			turns = 1000
		}
		fmt.Fprintf(y, "  %s: { kind: round_robin, max_turns: %d, participants: [", chatOf(n), turns)
		for i := range chatSpeakers {
			fmt.Fprintf(y, "%s-%d, ", chatOf(n), i)
		}
		fmt.Fprintln(y, "] }")
	}
}

// talker is a model that says the same each time. From so many messages on it
// says it once more and does not come to an end; 0 is never.
type talker struct{ stands int }

func (t talker) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		if !yield(agents.Chunk{Text: whatTheySay}, nil) {
			return
		}
		if t.stands > 0 && len(p.Messages) >= t.stands {
			<-ctx.Done()
			yield(agents.Chunk{}, context.Cause(ctx))
			return
		}
		yield(agents.Chunk{Done: &agents.Reply{Usage: agents.Usage{ModelCalls: 1}}}, nil)
	}
}

// chats gives the rows of group chats: what their turns cost when many run, and
// what they hold when they stand still.
func (w *world) chats(ctx context.Context, o options) ([]row, error) {
	var rows []row
	if o.wants(chatsName) {
		r, err := w.manyChats(ctx, o)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r...)
	}
	if !o.wants(chatsOpenName) && !o.wants(chatsGrownName) {
		return rows, nil
	}
	r, err := w.openChats(ctx, o.rounds())
	return append(rows, r...), err
}

func wantsChats(o options) bool {
	return o.wants(chatsName) || o.wants(chatsOpenName) || o.wants(chatsGrownName)
}

// manyChats compares many at once with a few.
func (w *world) manyChats(ctx context.Context, o options) ([]row, error) {
	runs := 4 * chatsAtOnce
	if o.quick {
		runs = chatsAtOnce
	}
	got := map[int][]result{}
	for i := range o.rounds() + 1 {
		for _, n := range []int{fewChats, chatsAtOnce} {
			say("%s: %s, %d at once", chatsName, turn(i, o.rounds()), n)
			r, err := w.round(ctx, "memory", job{name: chatsName, agent: chatOf(endless), callers: n, runs: runs})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", chatsName, err)
			}
			if i > 0 { // the first warms up
				got[n] = append(got[n], r)
			}
		}
	}
	var rows []row
	for _, m := range costs(times(1.25), target{})[:3] { // the memory at the peak is garbage; see openChats
		rows = append(rows, newRow(chatsName, m.figure, each(got[fewChats], m.of), each(got[chatsAtOnce], m.of)))
	}
	return rows, nil
}

// grown is what a chat holds, in KiB: one of few and one of many after a few
// messages, and one of many when it has become long.
type grown struct{ few, many, long float64 }

// perMessage is what each message more holds.
func (g grown) perMessage() float64 { return (g.long - g.many) / (longChat - shortChat) }

// openChats measures servers with chats that stand still. It includes the log,
// which is in memory.
func (w *world) openChats(ctx context.Context, rounds int) ([]row, error) {
	var got []grown
	for i := range rounds {
		say("%s: %s", chatsOpenName, turn(i+1, rounds))
		short, err := w.holdRound(ctx, "memory", holding{chatOf(shortChat), shortChat, fewChats, chatsAtOnce, true})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", chatsOpenName, err)
		}
		say("%s: %s", chatsGrownName, turn(i+1, rounds))
		long, err := w.holdRound(ctx, "memory", holding{chatOf(longChat), longChat, fewChats, chatsAtOnce, true})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", chatsGrownName, err)
		}
		got = append(got, grown{short.few, short.many, long.many})
	}
	few, many := each(got, func(g grown) float64 { return g.few }), each(got, func(g grown) float64 { return g.many })
	perChat := figure{what: "memory per chat", unit: "KiB"}
	flat := figure{"memory per chat", "KiB", times(1.25), target{}}
	return []row{
		newRow(chatsOpenName, flat, few, many),
		newRow(chatsGrownName, perChat, many, each(got, func(g grown) float64 { return g.long })),
		newRow(chatsGrownName, figure{what: "memory per message", unit: "KiB"}, nil, each(got, grown.perMessage)),
	}, nil
}
