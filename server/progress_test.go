package server_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
)

const permitAll = `@id("all") permit (principal, action, resource);`

// digger is a tool that says of its progress what the test wants, for as long as it
// wants.
func digger(words <-chan string) tools.Tool {
	return tools.Func("dig", "Digs.", func(ctx context.Context, _ struct{}) (string, error) {
		tell, asked := tools.ProgressFrom(ctx)
		if !asked {
			return "nobody asks", nil
		}
		for i := 1.0; ; i++ {
			word := <-words
			if word == "" { // also when nobody has any more
				return "dug", nil
			}
			tell(tools.Progress{Done: i, Total: 3, Message: word})
		}
	})
}

// digs is a world in which each run calls the digger once, and a chat in which it may.
func digs(t *testing.T, words <-chan string, policies map[string]string, edits ...func(*config.Config)) (*world, *modeltest.Server) {
	t.Helper()
	m := modeltest.NewServer(t)
	peek := tools.Func("peek", "Looks.", func(context.Context, struct{}) (string, error) { return "nothing", nil })
	w := newWorld(t, setup{model: m, spies: []tools.Tool{digger(words), peek}, bare: permitAll, policies: policies, edit: func(c *config.Config) {
		c.GroupChats = map[string]config.GroupChat{"pit": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "support"}}, MaxTurns: 1}}
		for _, edit := range edits {
			edit(c)
		}
	}})
	return w, m
}

func toDig(m *modeltest.Server) {
	m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "dig", Arguments: `{}`}}}, modeltest.Reply{Text: "Dug."})
}

// following is a stream of any kind.
type following func() (*behalfv1.Event, error)

func from[M interface{ GetEvent() *behalfv1.Event }](s interface{ Recv() (M, error) }) following {
	return func() (*behalfv1.Event, error) {
		m, err := s.Recv()
		return m.GetEvent(), err
	}
}

func (s following) until(t *testing.T, want func(*behalfv1.Event) bool) *behalfv1.Event {
	t.Helper()
	for {
		e, err := s()
		if err != nil {
			t.Fatal(err)
		}
		if want(e) {
			return e
		}
	}
}

func tells(word string) func(*behalfv1.Event) bool {
	return func(e *behalfv1.Event) bool { return e.GetToolCallProgress().GetMessage() == word }
}

// TestProgressReachesWhoeverFollowsARun has each kind of stream, and somebody beside it
// who begins to watch in the middle.
func TestProgressReachesWhoeverFollowsARun(t *testing.T) {
	t.Parallel()
	words := make(chan string)
	w, m := digs(t, words, nil)
	a := w.as(alice)
	for name, open := range map[string]func() following{
		"StreamAgent": func() following {
			return from(ok(a.agents().StreamAgent(a.ctx(t), &behalfv1.StreamAgentRequest{Agent: "support", Input: "dig"}))(t))
		},
		"StreamGroupChat": func() following {
			return from(ok(a.chats().StreamGroupChat(a.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "pit", Input: "dig"}))(t))
		},
		"Converse": func() following {
			k := a.converse(t).open("pit", "")
			k.say("dig")
			return from(k)
		},
	} {
		toDig(m)
		s := open()
		words <- "first " + name
		e := s.until(t, tells("first "+name))
		if p := e.GetToolCallProgress(); p.GetProgress() != 1 || p.GetTotal() != 3 || e.GetSequence() != 0 || e.GetCallId() == "" || e.GetSource() != "support" {
			t.Errorf("%s: got %v", name, e)
		}
		watch := from(ok(a.runs().WatchRun(a.ctx(t), &behalfv1.WatchRunRequest{RunId: e.GetRunId()}))(t))
		watch.until(t, func(e *behalfv1.Event) bool { return e.GetToolCallDecided() != nil })

		words <- "second"
		s.until(t, tells("second"))
		watch.until(t, tells("second"))

		words <- ""
		s.until(t, finished)
		watch.until(t, finished)

		got, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: e.GetSessionId()})
		succeed(t, err)
		found := allOfIt{}
		found.add(t, "the session", got)
		if bytes.Contains(found["the session"], []byte("second")) {
			t.Errorf("%s: the session keeps the progress: %s", name, found["the session"])
		}
	}
	for _, r := range m.Requests() {
		if bytes.Contains(r.Body, []byte("second")) {
			t.Error("a model read of the progress")
		}
	}
	r, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "dig", ArgumentsJson: `{}`})
	if err != nil || r.GetResultJson() != `"nobody asks"` {
		t.Errorf("CallTool: got %v, %v, want that nobody asks for the progress", r, err)
	}
}

// TestProgressSaysNothingWhereSpeechIsRedacted has a duty on the run and one on an
// earlier call: neither is one on the results of the call that tells.
func TestProgressSaysNothingWhereSpeechIsRedacted(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{"of the run": cardsOfSpeech, "of an earlier call": `@id("no-cards-after-calls") @redact("stream:pii:card") forbid (principal, action == Action::"call_tool", resource == Tool::"peek");`} {
		words := make(chan string)
		w, m := digs(t, words, map[string]string{"cards.cedar": rule})
		a := w.as(alice)
		m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c0", Tool: "peek", Arguments: `{}`}}})
		toDig(m)

		s := from(ok(a.agents().StreamAgent(a.ctx(t), &behalfv1.StreamAgentRequest{Agent: "support", Input: "dig"}))(t))
		words <- "card 4111 1111"
		e := s.until(t, func(e *behalfv1.Event) bool { return e.GetToolCallProgress() != nil })
		close(words)
		s.until(t, finished)

		if p := e.GetToolCallProgress(); p.GetMessage() != "" || p.GetProgress() != 33 {
			t.Errorf("%s: got %v, want the hundredths alone", name, p)
		}
	}
}
