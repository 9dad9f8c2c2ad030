package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Card numbers that must be nowhere: each stands at another place where it comes
// in. They are what issuers publish for tests.
const (
	cardInResult   = "5500005555555559"
	cardInFailure  = "3566002020360505"
	cardInArgument = "6011000990139424"
	cardInSpeech   = "4111111111111111"
	cardInThought  = "5105105105105100"
)

var canaries = []string{cardInResult, cardInFailure, cardInArgument, cardInSpeech, cardInThought}

// ledger is a toolset that says and is told card numbers.
type ledger struct {
	mu   sync.Mutex
	told []string
}

type charge struct {
	Note string `json:"note"`
}

func (l *ledger) tools() []tools.Tool {
	pay := tools.Func("pay", "Pays.", func(_ context.Context, in charge) (map[string]any, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.told = append(l.told, in.Note)
		return map[string]any{"card": "5500-0055 5555 5559", "number": 5500005555555559, cardInResult: "by name", "kept": "order 42"}, nil
	})
	fail := tools.Func("decline", "Declines.", func(context.Context, charge) (string, error) {
		return "", errors.New("card 3566 0020 2036 0505 declined")
	})
	return []tools.Tool{pay, fail}
}

const (
	cardsOfCalls  = `@id("no-cards-in-calls") @redact("pii:card") forbid (principal, action == Action::"call_tool", resource in Toolset::"spy");`
	cardsOfSpeech = `@id("no-cards-in-speech") @redact("stream:pii:card") forbid (principal, action in [Action::"run_agent", Action::"run_group_chat"], resource);`
)

// allOfIt collects all that leaves a world, or stays behind.
type allOfIt map[string][]byte

func (e allOfIt) add(t *testing.T, where string, m proto.Message) {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	e[where] = append(append(e[where], text...), '\n')
}

// disk adds the log and all files of a world that has stopped.
func (e allOfIt) disk(t *testing.T, w *world) {
	t.Helper()
	e["the log"] = []byte(w.log.String())
	err := filepath.WalkDir(w.path("state"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			e[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// clean fails for every canary that is anywhere, in one piece or in groups.
func (e allOfIt) clean(t *testing.T) {
	t.Helper()
	groups := strings.NewReplacer(" ", "", "-", "")
	for where, text := range e {
		plain := groups.Replace(string(text))
		for _, c := range canaries {
			if strings.Contains(plain, c) {
				t.Errorf("%s holds %s", where, c)
			}
		}
	}
}

func TestWhatIsRedactedIsNowhere(t *testing.T) {
	t.Parallel()
	m, l, found := modeltest.NewServer(t), &ledger{}, allOfIt{}
	m.Queue("scripted",
		modeltest.Reply{
			Text: "I pay with 4111 1111 1111 1111 – jetzt.", Chunks: 39, Thought: "it is 5105-1051-0510-5100",
			Calls: []agents.CallRequest{
				{ID: "c1", Tool: "pay", Arguments: `{"note":"from 6011 0009 9013 9424, thanks"}`},
				{ID: "c2", Tool: "decline", Arguments: `{"note":"6011000990139424"}`},
				{ID: "c3", Tool: "pay", Arguments: `{"note":"6011000990139424","extra":6011000990139424}`},
				{ID: "c4", Tool: "pay", Arguments: `{"note":"6011000990139424"`},
			},
		},
		modeltest.Reply{Text: "Paid with 4111-1111-1111-1111.", Chunks: 30})
	w := newWorld(t, setup{
		model: m, spies: l.tools(), embedded: true, edit: withHTTP,
		policies: map[string]string{"cards.cedar": cardsOfCalls + cardsOfSpeech},
	})
	a := w.as(alice)

	events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay please"})
	if err != nil {
		t.Fatal(err)
	}
	_, refused := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "decline", ArgumentsJson: `{"note":"x"}`})
	got, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: events[0].GetSessionId()})
	if err != nil {
		t.Fatal(err)
	}

	var text strings.Builder
	for _, e := range events {
		found.add(t, "an event", e)
		text.WriteString(e.GetTextDelta().GetText())
	}
	found.add(t, "the session", got)
	if refused != nil {
		found["an error"] = []byte(refused.Error())
	}
	for _, r := range w.as(carol).records(t, &behalfv1.QueryAuditRequest{}) {
		found.add(t, "an audit row", r)
	}
	for _, r := range m.Requests() {
		found["a prompt"] = append(found["a prompt"], r.Body...)
	}
	found["what the tool was told"] = []byte(strings.Join(l.told, "\n"))
	metrics := scrape(t, w.http)
	found["the metrics"] = metrics
	w.stop()
	found.disk(t, w)
	found.clean(t)

	if want := "I pay with [redacted] – jetzt.Paid with [redacted]."; text.String() != want {
		t.Errorf("got %q, want %q", text.String(), want)
	}
	if len(l.told) != 1 || l.told[0] != "from [redacted], thanks" {
		t.Errorf("the tool was told %q", l.told)
	}
	if !bytes.Contains(found["a prompt"], []byte("order 42")) {
		t.Error("the model did not see the rest of the result")
	}
	for _, want := range []string{
		`behalf_redacted_bytes_total{class="card",place="args"}`, `behalf_redacted_bytes_total{class="card",place="result"}`,
		`behalf_redacted_bytes_total{class="card",place="stream"} 57`, `behalf_stream_held_seconds_count`,
	} {
		if !bytes.Contains(metrics, []byte(want)) {
			t.Errorf("got no %s in\n%s", want, metrics)
		}
	}
}

func scrape(t *testing.T, addr string) []byte {
	t.Helper()
	r, err := http.Get("http://" + addr + "/metrics") //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A call with a stream duty concerns what is said from then on, in the whole
// session, also after a restart: its result is in the transcript.
func TestACallsStreamDutyHoldsForTheRestOfTheSession(t *testing.T) {
	t.Parallel()
	m, l := modeltest.NewServer(t), &ledger{}
	said := modeltest.Reply{Text: "It is 4111 1111 1111 1111.", Chunks: 5}
	called := said
	called.Calls = []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: `{"note":"x"}`}}
	m.Queue("scripted", said, called, said, said)
	w := newWorld(t, setup{model: m, spies: l.tools(), embedded: true, policies: map[string]string{
		"cards.cedar": strings.Replace(cardsOfCalls, "pii:card", "result:$.card, pii:card, stream:pii:card", 1),
	}})
	run := func(session string) (string, string) {
		t.Helper()
		events, err := w.as(alice).stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "go", SessionId: session})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, e := range events {
			text.WriteString(e.GetTextDelta().GetText())
		}
		return text.String(), events[0].GetSessionId()
	}

	before, session := run("")
	after, _ := run(session)
	w.restart()
	later, _ := run(session)

	if before != said.Text {
		t.Errorf("before a call: got %q, want %q", before, said.Text)
	}
	if want := said.Text + "It is [redacted]."; after != want {
		t.Errorf("with a call: got %q, want %q", after, want)
	}
	if later != "It is [redacted]." {
		t.Errorf("after a restart: got %q", later)
	}
}

// Whoever speaks in a run: agents after a hand-off, participants of nested chats,
// who selects them, an agent that is a tool.
func TestEverybodyWhoSpeaksInARunIsFiltered(t *testing.T) {
	t.Parallel()
	m, found := modeltest.NewServer(t), allOfIt{}
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		reply := modeltest.Reply{Text: "writer helper reviewer 4111 1111 1111 1111", Chunks: 21}
		if bytes.Contains(r.Body, []byte("transfer_to_helper")) && !bytes.Contains(r.Body, []byte(`"tool_call_id"`)) {
			reply.Calls = []agents.CallRequest{{ID: "h", Tool: "transfer_to_helper", Arguments: "{}"}}
		}
		return reply
	})
	w := newWorld(t, setup{
		model: m, embedded: true, policies: map[string]string{"cards.cedar": cardsOfSpeech + `@id("crew") permit (principal, action == Action::"run_group_chat", resource);
@id("agents-all") permit (principal, action == Action::"run_agent", resource);`},
		edit: func(c *config.Config) {
			one := c.Agents["support"]
			one.Tools, one.Handoffs, one.Kind = nil, nil, config.KindAssistant
			two := one
			two.Handoffs = []config.Handoff{{To: "helper"}}
			c.Agents["helper"], c.Agents["reviewer"], c.Agents["writer"] = one, one, two
			inner := config.GroupChat{Kind: config.RoundRobin, MaxTurns: 2, Participants: []config.Participant{{Name: "helper"}, {Name: "reviewer"}}}
			c.GroupChats = map[string]config.GroupChat{
				"inner": inner,
				"outer": {Kind: config.RoundRobin, MaxTurns: 2, Participants: []config.Participant{{Name: "inner"}, {Name: "reviewer"}}},
				"pick":  {Kind: config.Selector, Model: "default", MaxTurns: 2, MaxAttempts: 1, Participants: []config.Participant{{Name: "helper"}, {Name: "reviewer"}}},
				"plan":  {Kind: config.Magentic, Model: "default", MaxTurns: 2, MaxStalls: 1, MaxAttempts: 1, Participants: []config.Participant{{Name: "helper"}}},
			}
		},
	})
	a, marks := w.as(alice), 0

	events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "writer", Input: "go"})
	if err != nil {
		t.Fatal(err)
	}
	for _, chat := range []string{"outer", "pick", "plan"} {
		s, err := behalfv1.NewGroupChatServiceClient(a).StreamGroupChat(a.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: chat, Input: "go"})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := messages(s) // the orchestrator may give up: it is told no JSON
		if len(all) < 3 {
			t.Errorf("%s: got %d events", chat, len(all))
		}
		events = append(events, eventsOf(all)...)
	}
	for _, e := range events {
		found.add(t, "an event", e)
		marks += strings.Count(e.GetMessage().GetText(), "[redacted]")
	}
	for _, r := range m.Requests() {
		found["a prompt"] = append(found["a prompt"], r.Body...)
	}
	w.stop()
	found.disk(t, w)

	found.clean(t)
	if marks < 5 {
		t.Errorf("got %d messages with a mark, want one of each speaker", marks)
	}
}

// A new policy filters from the next words on, and one that forbids the run keeps
// models from being asked.
func TestANewPolicyFiltersARunThatIsOpen(t *testing.T) {
	t.Parallel()
	m, l := modeltest.NewServer(t), &ledger{}
	w := newWorld(t, setup{model: m, spies: l.tools()})
	steps := 0
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		steps++
		reply := modeltest.Reply{Text: "It is 4111 1111 1111 1111.", Chunks: 5}
		if steps == 1 {
			w.policy("cards.cedar", cardsOfSpeech)
			reply.Calls = []agents.CallRequest{{ID: "c1", Tool: "reload", Arguments: `{}`}}
			b := w.as(bob)
			if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
				t.Error(err)
			}
		}
		return reply
	})

	a := w.as(alice)
	events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "go"})
	if err != nil {
		t.Fatal(err)
	}

	last := events[len(events)-1].GetRunFinished().GetOutput()
	if last != "It is [redacted]." {
		t.Errorf("got %q", last)
	}
}

func TestAMisspeltClassKeepsThePoliciesThatAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.policy("cards.cedar", strings.Replace(cardsOfSpeech, "pii:card", "pii:cards", 1))

	b := w.as(bob)
	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.FailedPrecondition, "POLICY_ERROR")
}
