package behalf_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const crew = `
models: { m: { demo: rules.yaml } }
tools:
  probe: { builtin: probe }
  ask_solo: { agent: solo, result: last }
  ask_room: { group_chat: room, result: last }
agents:
  a: { model: m, instructions: x, tools: [whoami], scopes: [one, two, three], handoffs: [{ to: b, scopes: [one, two] }] }
  b: { model: m, instructions: x, tools: [whoami], scopes: [two, three] }
  solo: { model: m, instructions: x, tools: [whoami], scopes: [three], handoffs: [a] }
  caller: { model: m, instructions: x, tools: [ask_solo, ask_room, whoami] }
  voice: { kind: society, model: m, group_chat: room }
  opened: { model: m, instructions: x, opening: [{ role: user, text: The word is plum. }, { role: assistant, text: I shall remember. }] }
  coder: { kind: code, tools: [run_code], scopes: [one, five] }
  tuned: { kind: code, tools: [run_code], model: m, retries: 1 }
group_chats:
  lab: { kind: round_robin, participants: [coder], max_turns: 1, scopes: [one, two] }
  room: { kind: round_robin, participants: [{ name: a, scopes: [one, four] }], max_turns: 1, scopes: [one, two, four] }
  lobby: { kind: round_robin, participants: [room], max_turns: 1, scopes: [two, one] }
  pass: { kind: swarm, participants: [a, b], termination: { text_message: b } }
  filtered: { kind: round_robin, participants: [{ name: a, filter: [{ source: user }] }], max_turns: 1 }
  chosen: { kind: selector, model: m, participants: [caller, b], max_turns: 1, prompt: "Who? {participants}" }
  loud: { kind: selector, model: m, participants: [caller, b], max_turns: 1, prompt: "Who? {participants}", stream: true }
  ruled: { kind: selector, model: m, participants: [caller, b], max_turns: 1, choose: "source == 'user' && text.contains('urgent') ? 'b' : ''" }
policy: { dir: policies }
`

const crewRules = `
rules:
  - { agent: a, pattern: pass it on, calls: [{ tool: transfer_to_b }] }
  - { agent: caller, pattern: (?P<tool>ask_\w+), after: [], calls: [{ tool: ask_solo, args: { task: look } }, { tool: ask_room, args: { task: look } }] }
  - { agent: caller, after: [ask_solo, ask_room], text: "{{ .result.ask_solo }} | {{ .result.ask_room }}" }
  - { agent: voice, seen: 'a@', text: heard a }
  - { agent: chosen, text: caller }
  - { agent: loud, text: b }
  - { agent: ruled, text: caller }
  - { agent: opened, seen: plum, text: It is plum. }
  - { agent: tuned, seen: "ran it", text: It was run. }
  - { agent: tuned, text: "\x60\x60\x60sh\nls\n\x60\x60\x60" }
  - { after: [], calls: [{ tool: whoami }] }
  - { after: [whoami], text: "{{ .result.whoami }}" }
`

// Each place narrows: the agent, its place in the chat, the chat, the hand-off,
// and whoever is around.
func TestAuthorityNarrowsOnEveryWayIntoATeam(t *testing.T) {
	w := crewOf(t)
	for name, row := range map[string]struct{ chat, task, want string }{
		"in a chat":          {"room", "look", "a@a one"},
		"in a nested chat":   {"lobby", "look", "a@room>a one"},
		"after a hand-off":   {"pass", "pass it on", "b@a>b two"},
		"behind a filter":    {"filtered", "look", "a@a>a one,three,two"},
		"an agent as a tool": {"chosen", "use ask_solo", "solo@caller>solo three | a@caller>room>a one"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.ask(t, row.chat, row.task); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestASocietyAnswersWithOneVoice(t *testing.T) {
	w := crewOf(t)

	r, err := behalfv1.NewAgentServiceClient(w.conn).RunAgent(w.person(t), &behalfv1.RunAgentRequest{Agent: "voice", Input: "look"})
	if err != nil {
		t.Fatal(err)
	}

	if got := r.GetOutput(); got != "heard a" {
		t.Errorf("got %q, want the society's own words", got)
	}
}

// The code of a person is run by a tool behind the gate, under the coder's ceiling.
func TestAConversationBeginsWithTheOpeningOfTheFile(t *testing.T) {
	w := crewOf(t)

	r, err := behalfv1.NewAgentServiceClient(w.conn).RunAgent(w.person(t), &behalfv1.RunAgentRequest{Agent: "opened", Input: "What is the word?"})

	if err != nil || r.GetOutput() != "It is plum." {
		t.Errorf("got %q and %v", r.GetOutput(), err)
	}
}

func TestTheChoiceOfASpeakerIsShownIfTheFileSaysSo(t *testing.T) {
	w := crewOf(t)
	for chat, want := range map[string]string{"chosen": "", "loud": "b"} {
		stream, err := behalfv1.NewGroupChatServiceClient(w.conn).StreamGroupChat(w.person(t), &behalfv1.StreamGroupChatRequest{GroupChat: chat, Input: "look"})
		if err != nil {
			t.Fatal(err)
		}
		shown := ""
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e := m.GetEvent(); e.GetSource() == chat {
				shown += e.GetTextDelta().GetText()
			}
		}
		if shown != want {
			t.Errorf("%s: got %q of the choosing, want %q", chat, shown, want)
		}
	}
}

func TestAnExpressionChoosesTheSpeakerBeforeTheModelDoes(t *testing.T) {
	w := crewOf(t)
	for task, want := range map[string]string{"look, it is urgent": "b@b ", "look": "caller@caller "} {
		if got := w.ask(t, "ruled", task); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want it from %s", task, got, want)
		}
	}
}

func TestCodeIsRunUnderTheCodersAuthority(t *testing.T) {
	w := crewOf(t)

	got := w.ask(t, "lab", "Run this:\n```sh\nls\n```\nplease")

	if want := "coder@coder one: sh ls\nran it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAModelWritesCodeAndAnswers(t *testing.T) {
	w := crewOf(t)

	r, err := behalfv1.NewAgentServiceClient(w.conn).RunAgent(w.person(t), &behalfv1.RunAgentRequest{Agent: "tuned", Input: "do it"})
	if err != nil {
		t.Fatal(err)
	}

	if got := r.GetOutput(); got != "It was run." || len(r.GetToolCalls()) == 0 {
		t.Errorf("got %q after %v, want the model's answer to what was run", got, r.GetToolCalls())
	}
}

func TestATeamIsShownAsItIsConfigured(t *testing.T) {
	w := crewOf(t)

	r, err := w.chats.GetGroupChat(w.person(t), &behalfv1.GetGroupChatRequest{GroupChat: "pass"})
	if err != nil {
		t.Fatal(err)
	}

	g := r.GetGroupChat()
	if g.GetKind() != behalfv1.GroupChatKind_GROUP_CHAT_KIND_SWARM || strings.Join(g.GetParticipants(), " ") != "a b" || g.GetTerminationJson() != `{"text_message":"b"}` {
		t.Errorf("got %v", g)
	}
}

func TestAnAgentThatIsAToolIsNoToolForPersons(t *testing.T) {
	w := crewOf(t)
	service := behalfv1.NewToolServiceClient(w.conn)

	list, err := service.ListTools(w.person(t), &behalfv1.ListToolsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = service.CallTool(w.person(t), &behalfv1.CallToolRequest{Tool: "ask_solo", ArgumentsJson: `{"task":"look"}`})

	if n := len(list.GetTools()); n != 2 || err == nil {
		t.Errorf("got %d tools and %v, want whoami and run_code alone, and a refusal", n, err)
	}
}

func TestASchemaThatCannotBeUsedIsFoundBeforeAnythingIsOpened(t *testing.T) {
	dir := crewDir(t)
	file := filepath.Join(dir, "behalf.yaml")
	text := strings.Replace(crew, "solo: { model: m,", "solo: { model: m, output: { schema: { type: objekt } },", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	_, _, err = behalf.Check(cfg, behalf.WithTools("probe", whoami(), runCode()))

	if err == nil || !strings.Contains(err.Error(), "behalf.yaml:10:31: agents.solo.output.schema: ") {
		t.Errorf("got %v, want the place of the schema", err)
	}
}

// crewWorld is a running service with the crew.
type crewWorld struct {
	conn   *grpc.ClientConn
	issuer *identity.DevIssuer
	chats  behalfv1.GroupChatServiceClient
}

func whoami() tools.Tool {
	return tools.Func("whoami", "Says who acts.", func(ctx context.Context, _ struct{}) (string, error) {
		g, _ := identity.FromContext(ctx)
		return g.Agent() + "@" + strings.Join(g.Chain(), ">") + " " + strings.Join(g.Scopes().Names(), ","), nil
	}, tools.ReadOnly())
}

// runCode runs nothing: it says who wants what to be run.
func runCode() tools.Tool {
	type block struct {
		Language string `json:"language"`
		Code     string `json:"code"`
	}
	type in struct {
		Blocks []block `json:"blocks"`
	}
	type out struct {
		ExitCode int    `json:"exit_code"`
		Output   string `json:"output"`
	}
	return tools.Func("run_code", "Runs code.", func(ctx context.Context, i in) (out, error) {
		g, _ := identity.FromContext(ctx)
		who := g.Agent() + "@" + strings.Join(g.Chain(), ">") + " " + strings.Join(g.Scopes().Names(), ",")
		b := i.Blocks[0]
		return out{0, who + ": " + b.Language + " " + b.Code + "ran it"}, nil
	})
}

func crewDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"behalf.yaml": crew, "rules.yaml": crewRules, "policies/all.cedar": `@id("all") permit (principal, action, resource);`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func crewOf(t *testing.T) *crewWorld {
	t.Helper()
	cfg, err := config.Load(filepath.Join(crewDir(t), "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Runs.Log = "127.0.0.1:0", "memory"
	ca, err := identity.NewDevCA(identity.DevCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const url = "https://issuer.example"
	issuer, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	s, err := behalf.New(t.Context(), cfg, behalf.WithTools("probe", whoami(), runCode()),
		behalf.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		behalf.WithIdentity(behalf.Identity{
			Source: ca, Issuers: []identity.Issuer{issuer.Issuer("behalf", "acme")}, Tenants: map[string]string{ca.TrustDomain(): "acme"},
			Grants: []identity.WorkloadGrant{{ID: "spiffe://" + ca.TrustDomain() + "/**", Issuers: []string{url}}},
		}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with stop, below
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	conn := dial(t, ca, s.Addr())
	return &crewWorld{conn, issuer, behalfv1.NewGroupChatServiceClient(conn)}
}

// person is somebody with four scopes.
func (w *crewWorld) person(t *testing.T) context.Context {
	t.Helper()
	token, err := w.issuer.Mint(map[string]any{"sub": "ann", "aud": "behalf", "scope": "one two three four", "client_id": "test"})
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token.Reveal())
}

func (w *crewWorld) ask(t *testing.T, chat, task string) string {
	t.Helper()
	r, err := w.chats.RunGroupChat(w.person(t), &behalfv1.RunGroupChatRequest{GroupChat: chat, Input: task})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetOutput()
}
