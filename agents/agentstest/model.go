package agentstest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/behalf-dev/behalf/agents"
)

// Reply is one scripted answer of a model. Its text comes one word per chunk.
type Reply struct {
	Text    string
	Thought string
	Calls   []agents.CallRequest
	Usage   agents.Usage
	Hang    bool  // after the text: say nothing more until the context ends
	Cut     bool  // after the text: end without the closing chunk
	Err     error // after the text
}

// Script is a model that answers each agent from its own list, in order.
type Script struct {
	mu      sync.Mutex
	replies map[string][]Reply
	prompts []agents.Prompt
}

// NewScript makes a model with the replies of each agent.
func NewScript(replies map[string][]Reply) *Script {
	s := &Script{replies: make(map[string][]Reply, len(replies))}
	for name, list := range replies {
		s.replies[name] = list
	}
	return s
}

// Skip uses up the replies that the events already hold, as another process that
// continues a transcript would find them used up: one for each model call.
func (s *Script) Skip(events []agents.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		switch b := e.Body.(type) {
		case agents.Message:
			s.skip(e.Source, int(b.Usage.ModelCalls))
		case agents.SpeakerSelected:
			s.skip(e.Source, int(b.Usage.ModelCalls))
		case agents.PlanUpdated:
			s.skip(e.Source, int(b.Usage.ModelCalls))
		}
	}
}

func (s *Script) skip(name string, n int) {
	list := s.replies[name]
	s.replies[name] = list[min(n, len(list)):]
}

// Prompts are the questions so far.
func (s *Script) Prompts() []agents.Prompt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]agents.Prompt(nil), s.prompts...)
}

// Generate answers with the agent's next reply.
func (s *Script) Generate(ctx context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		r, err := s.next(p)
		if err != nil {
			yield(agents.Chunk{}, err)
			return
		}
		if r.Thought != "" && !yield(agents.Chunk{Thought: r.Thought}, nil) {
			return
		}
		for word := range strings.SplitAfterSeq(r.Text, " ") {
			if word != "" && !yield(agents.Chunk{Text: word}, nil) {
				return
			}
		}
		r.end(ctx, yield)
	}
}

func (s *Script) next(p *agents.Prompt) (Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := *p // the messages are the agent's again once it has the answer
	kept.Messages = slices.Clone(p.Messages)
	s.prompts = append(s.prompts, kept)
	list := s.replies[p.Agent]
	if len(list) == 0 {
		return Reply{}, fmt.Errorf("the script has no more replies of %s", p.Agent)
	}
	s.replies[p.Agent] = list[1:]
	return list[0], nil
}

func (r *Reply) end(ctx context.Context, yield func(agents.Chunk, error) bool) {
	switch {
	case r.Hang:
		<-ctx.Done()
		yield(agents.Chunk{}, errors.New("the connection to the model was closed"))
	case r.Err != nil:
		yield(agents.Chunk{}, r.Err)
	case !r.Cut:
		yield(agents.Chunk{Done: &agents.Reply{Calls: r.Calls, Usage: r.Usage}}, nil)
	}
}
