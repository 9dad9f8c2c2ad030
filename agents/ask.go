package agents

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

var (
	errCutOff  = fault.New(codes.Unavailable, fault.ModelUnavailable, "the model's answer was cut off; try again")
	ErrTooLong = fault.New(codes.ResourceExhausted, fault.ModelUnavailable, "the model's answer is too long; ask for less")
)

// ask puts the conversation to the model.
func (r *run) ask(ctx context.Context, s *state) bool {
	if s.part.rejected > repairs {
		return r.fail(ctx, errMisfit)
	}
	question, err := r.a.question(ctx, s)
	if err != nil {
		return r.fail(ctx, err)
	}
	return r.put(ctx, s, question)
}

// put puts a question to the model and yields its reply: deltas live, then the
// message. If the model fails, what it said so far is kept.
func (r *run) put(ctx context.Context, s *state, question *Prompt) bool {
	id := r.a.cfg.MessageID(r.t.RunID(), s.asked)
	l := &listener{run: r, id: id}
	err := l.listen(ctx, question)
	if l.gone {
		return false
	}
	if err == nil {
		err = l.answers(question.ToolChoice == ToolNone)
	}
	if err == nil {
		return r.emit(Event{MessageID: id, Body: l.message(ctx)})
	}
	if l.size() > 0 && !r.emit(Event{MessageID: id, Body: l.partial()}) {
		return false
	}
	return r.fail(ctx, err)
}

// question is the prompt: the conversation so far and what may be called.
func (a *Assistant) question(ctx context.Context, s *state) (*Prompt, error) {
	p := &Prompt{Agent: a.cfg.Name, System: a.cfg.Instructions, Messages: a.view(s), Schema: a.cfg.Output.Schema}
	if a.withheld(s) {
		p.ToolChoice = ToolNone
		return p, nil
	}
	p.Tools = a.offers[:len(a.offers):len(a.offers)]
	if a.cfg.Toolbox == nil {
		return p, nil
	}
	for spec, err := range a.cfg.Toolbox.Specs(ctx) {
		if err != nil {
			return nil, err
		}
		// A tool must not be mistaken for a hand-off, which no gate sees.
		if !a.handsOff(spec.Name) {
			p.Tools = append(p.Tools, spec)
		}
	}
	return p, nil
}

// view is the conversation as the model sees it now: its window, then what is
// only for this part and is not kept.
func (a *Assistant) view(s *state) []PromptMessage {
	n := len(s.messages)
	shown := s.messages[:n:n]
	if a.cfg.Window != nil {
		shown = a.cfg.Window.Show(shown)
	}
	if len(s.part.recalled) > 0 {
		shown = append(shown, remembered(a.cfg.Memory, s.part.recalled))
	}
	return append(shown, s.part.repair...)
}

// listener collects one reply.
type listener struct {
	run     *run
	id      string
	text    strings.Builder
	thought strings.Builder
	reply   *Reply
	gone    bool // the consumer broke the loop
}

// listen relays the reply's pieces until it is complete.
func (l *listener) listen(ctx context.Context, p *Prompt) error {
	chunks := 0
	for c, err := range l.run.a.cfg.Model.Generate(ctx, p) {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		chunks++
		if chunks > l.run.a.cfg.MaxReplyChunks || l.size()+len(c.Text)+len(c.Thought) > l.run.a.cfg.MaxReplyBytes {
			return ErrTooLong
		}
		if l.gone = !l.relay(c); l.gone {
			return nil
		}
		if l.reply = c.Done; l.reply != nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errCutOff
}

func (l *listener) size() int { return l.text.Len() + l.thought.Len() }

// relay shows a piece to who is watching, false if nobody is any more.
func (l *listener) relay(c Chunk) bool {
	l.thought.WriteString(c.Thought)
	l.text.WriteString(c.Text)
	if c.Thought != "" && !l.run.emit(Event{MessageID: l.id, Body: ThoughtDelta{c.Thought}}) {
		return false
	}
	return c.Text == "" || l.run.emit(Event{MessageID: l.id, Body: TextDelta{c.Text}})
}

// answers refuses a reply that had to be words and is not.
func (l *listener) answers(withheld bool) error {
	if withheld && (len(l.reply.Calls) > 0 || l.text.Len() == 0) {
		return errNotText
	}
	return nil
}

// message is the complete reply. Calls are kept as the model wrote them, within
// bounds; what is wrong with them is decided when it is their turn.
func (l *listener) message(ctx context.Context) Message {
	usage := l.reply.Usage
	usage.ModelCalls = max(usage.ModelCalls, 1)
	m := Message{
		Role: RoleAssistant, Text: l.text.String(), Thought: l.thought.String(),
		Calls: l.run.a.bound(ctx, l.reply.Calls), Usage: usage,
	}
	if len(m.Calls) > 0 {
		m.Kind = KindToolCalls
		return m
	}
	return l.run.a.shape(m)
}

// partial is what there is of a reply that was cut off.
func (l *listener) partial() Message {
	m := Message{
		Role: RoleAssistant, Text: l.text.String(), Thought: l.thought.String(),
		Usage: Usage{ModelCalls: 1}, Incomplete: true,
	}
	if l.reply != nil {
		m.Usage = l.reply.Usage.Add(Usage{ModelCalls: 1 - min(1, l.reply.Usage.ModelCalls)})
	}
	return m
}

// bound cuts what no transcript should hold, and hides what none may show: of too many calls it keeps one more
// than may be made, of too long a text a little more than is allowed, so that
// what is left is still seen to be too much, also after a resume.
func (a *Assistant) bound(ctx context.Context, calls []CallRequest) []CallRequest {
	if len(calls) == 0 {
		return nil
	}
	kept := make([]CallRequest, min(len(calls), a.cfg.MaxToolsPerRun+1))
	for i := range kept {
		kept[i] = CallRequest{
			ID:        clip(calls[i].ID, maxCallID),
			Tool:      clip(calls[i].Tool, maxToolName),
			Arguments: clip(calls[i].Arguments, a.cfg.MaxArgumentBytes),
		}
		a.veil(ctx, &kept[i])
	}
	return kept
}

// veil keeps apart what may be shown of a call and what its tool gets. Hand-offs
// have no arguments.
func (a *Assistant) veil(ctx context.Context, c *CallRequest) {
	if a.cfg.Toolbox == nil || a.handsOff(c.Tool) {
		return
	}
	if shown := a.cfg.Toolbox.Shown(ctx, *c); shown != c.Arguments {
		c.Written, c.Arguments = c.Arguments, shown
	}
}

// clip leaves a text within limit alone and cuts a longer one between runes, to
// no less than limit+1 bytes.
func clip(text string, limit int) string {
	if len(text) <= limit+utf8.UTFMax {
		return text
	}
	end := limit + utf8.UTFMax
	for end > limit+1 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
