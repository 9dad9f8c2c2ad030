package teams_test

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/behalf-dev/behalf/examples/teams"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/lifecycle"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

var update = flag.Bool("update", false, "write the golden files")

func TestThePoliciesPassTheirTestsAndAllAreCovered(t *testing.T) {
	cfg, err := config.Load("behalf.yaml", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	set, err := behalf.Policies(cfg, deskTools(t))
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(teams.Files, "policies")
	if err != nil {
		t.Fatal(err)
	}

	results, err := lifecycle.RunTests(set, files)
	if err != nil {
		t.Fatal(err)
	}

	for _, r := range results {
		for _, f := range r.Failures {
			t.Errorf("%s (%s): %s", r.Case.Name, r.At, f)
		}
	}
	if c := lifecycle.CoverageOf(set, results); len(c.Undetermined)+len(c.Unpaired) > 0 {
		t.Errorf("not covered: %+v", c)
	}
}

// Each chat is run by Alice over gRPC, offline. The golden file tells the story.
func TestTheTeamsPlayTheirStories(t *testing.T) {
	w := newWorld(t)
	for name, story := range map[string]struct {
		chat, task string
		answers    []string // to input requests, in their order
	}{
		"desk_refund":       {"desk", "Customer C-1001 wants a refund for the broken milk jug of order O-5002.", nil},
		"desk_lookup":       {"desk", "Who is customer C-1001?", nil},
		"essay":             {"essay", "Write about our espresso machine.", nil},
		"research":          {"research", "How much has customer C-1001 spent with us?", nil},
		"offer":             {"offer", "Write an offer to customer C-1001.", []string{"Give them a discount.", "APPROVE"}},
		"offer_as_somebody": {"offer", "Write an offer.", []string{"APPROVE"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.play(t, "alice", story.chat, story.task, story.answers)
			golden(t, filepath.Join("testdata", name+".txt"), got)
		})
	}
}

// What Alice wants remembered is hers, in her next conversation too.
func TestTheDeskRemembersAPerson(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice", "desk", "Please remember that customers of mine get a call first.", nil)

	for who, want := range map[string]string{"alice": "That you want to call customers first.", "bob": "Hello. I can look up"} {
		if got := w.play(t, who, "desk", "What do you remember?", nil); !strings.Contains(got, want) {
			t.Errorf("%s: got\n%s\nwant %q", who, got, want)
		}
	}
}

// Dave has no right to read customers, so nobody who acts for him has: not the
// clerk in a team, and not the clerk as a tool.
func TestNobodyGainsRightsInATeam(t *testing.T) {
	w := newWorld(t)

	got := w.play(t, "dave", "offer", "Write an offer to customer C-1001.", []string{"APPROVE"})

	if !strings.Contains(got, "seller>clerk refused get_customer SCOPE_MISSING") {
		t.Errorf("got\n%s\nwant a refusal", got)
	}
}

// joining lets managers answer in other people's sessions, as far as policy goes.
const joining = `
@id("managers-answer")
permit (principal in Role::"manager", action in [Action::"send_input", Action::"join_session"], resource);
`

// Who may answer for a person in a chat is not policy's to widen: the config says
// who it is.
func TestOnlyThePersonAnswersForThemselves(t *testing.T) {
	for name, tc := range map[string]struct {
		who, wrong, answer string
	}{
		"whoever opened the session": {"", "bob", "alice"},
		"a role":                     {"who: { role: manager }", "alice", "bob"},
		"a name":                     {"who: { user: bob }", "alice", "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(dir string) {
				edit(t, filepath.Join(dir, "behalf.yaml"), func(s string) string {
					return strings.Replace(s, "    kind: human", "    "+tc.who+"\n    kind: human", 1)
				})
				edit(t, filepath.Join(dir, "policies", "teams.cedar"), func(s string) string { return s + joining })
				if err := os.Remove(filepath.Join(dir, "policies", "teams.policytest.yaml")); err != nil { // it says that they may not
					t.Fatal(err)
				}
			})
			stream, err := w.chats.StreamGroupChat(w.as(t, "alice"), &behalfv1.StreamGroupChatRequest{GroupChat: "offer", Input: "Write an offer to customer C-1001."})
			if err != nil {
				t.Fatal(err)
			}
			asked := until(t, stream, func(e *behalfv1.Event) bool { return e.GetInputRequested() != nil })
			in := &behalfv1.SendInputRequest{RunId: asked.GetRunId(), Text: "APPROVE"}

			if _, err := w.runs.SendInput(w.as(t, tc.wrong), in); !strings.Contains(fmt.Sprint(err), "another person's turn") {
				t.Errorf("%s: got %v, want a refusal", tc.wrong, err)
			}
			if _, err := w.runs.SendInput(w.as(t, tc.answer), in); err != nil {
				t.Fatalf("%s: %v", tc.answer, err)
			}
			said := until(t, stream, func(e *behalfv1.Event) bool { return e.GetInputReceived() != nil })

			if got := said.GetInputReceived().GetSpeaker().GetSubject(); got != tc.answer {
				t.Errorf("got %s as the speaker, want %s", got, tc.answer)
			}
			until(t, stream, func(e *behalfv1.Event) bool { return e.GetRunFinished() != nil && e.GetThread() == "" })
		})
	}
}

func edit(t *testing.T, file string, change func(string) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(change(string(data))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// until gives the next event that is looked for.
func until(t *testing.T, stream grpc.ServerStreamingClient[behalfv1.StreamGroupChatResponse], so func(*behalfv1.Event) bool) *behalfv1.Event {
	t.Helper()
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if so(m.GetEvent()) {
			return m.GetEvent()
		}
	}
}

// world is the service with the example, over loopback mutual TLS.
type world struct {
	issuer *identity.DevIssuer
	chats  behalfv1.GroupChatServiceClient
	runs   behalfv1.RunServiceClient
}

func newWorld(t *testing.T, changes ...func(dir string)) *world {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "teams"), teams.Files); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(filepath.Join(dir, "teams"))
	}
	cfg, err := config.Load(filepath.Join(dir, "teams", "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Server.HTTP, cfg.Runs.Log = "127.0.0.1:0", "", "memory"
	ca, err := identity.NewDevCA(identity.DevCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const url = "https://issuer.example"
	issuer, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	s, err := behalf.New(t.Context(), cfg, deskTools(t), behalf.WithLogger(slog.New(slog.DiscardHandler)), behalf.WithIdentity(behalf.Identity{
		Source: ca, Issuers: []identity.Issuer{issuer.Issuer("behalf", "acme")}, Tenants: map[string]string{ca.TrustDomain(): "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + ca.TrustDomain() + "/**", Issuers: []string{url}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with stop, below
	conn := dial(t, ca, s.Addr())
	t.Cleanup(func() {
		_ = conn.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &world{issuer, behalfv1.NewGroupChatServiceClient(conn), behalfv1.NewRunServiceClient(conn)}
}

func deskTools(t *testing.T) behalf.Option {
	t.Helper()
	desk, err := supportdesk.New()
	if err != nil {
		t.Fatal(err)
	}
	return behalf.WithTools("supportdesk", desk.Tools()...)
}

func dial(t *testing.T, ca *identity.DevCA, addr string) *grpc.ClientConn {
	t.Helper()
	c, err := identity.ClientTLS(identity.ClientConfig{Source: ca, Servers: []string{"spiffe://" + ca.TrustDomain() + "/**"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// as carries the token of one of the people.
func (w *world) as(t *testing.T, who string) context.Context {
	t.Helper()
	people := map[string]struct {
		role, scopes string
	}{"alice": {"support", "crm.read orders.read orders.refund"}, "bob": {"manager", "crm.read"}, "dave": {"support", "orders.read"}}
	p := people[who]
	token, err := w.issuer.Mint(map[string]any{"sub": who, "aud": "behalf", "roles": []string{p.role}, "scope": p.scopes, "client_id": "test"})
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token.Reveal())
}

// play runs a chat to its end, answers what it asks, and tells what happened.
func (w *world) play(t *testing.T, who, chat, task string, answers []string) string {
	t.Helper()
	ctx := w.as(t, who)
	stream, err := w.chats.StreamGroupChat(ctx, &behalfv1.StreamGroupChatRequest{GroupChat: chat, Input: task})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	tools := map[string]string{}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatalf("%v after\n%s", err, &out)
		}
		e := m.GetEvent()
		tell(&out, e, tools)
		if r := e.GetInputRequested(); r != nil {
			if len(answers) == 0 {
				t.Fatalf("nobody answers after\n%s", &out)
			}
			_, err := w.runs.SendInput(ctx, &behalfv1.SendInputRequest{RunId: e.GetRunId(), InputRequestId: r.GetInputRequestId(), Text: answers[0]})
			if err != nil {
				t.Fatal(err)
			}
			answers = answers[1:]
		}
		if e.GetRunFinished() != nil && e.GetThread() == "" {
			return out.String()
		}
	}
}

// tell writes a line for what a reader wants to know.
func tell(out *strings.Builder, e *behalfv1.Event, tools map[string]string) {
	who := strings.Join(e.GetDelegationChain(), ">")
	switch {
	case e.GetSpeakerSelected() != nil && e.GetThread() == "":
		fmt.Fprintf(out, "-- %s (%s)\n", strings.Join(e.GetSpeakerSelected().GetSpeakers(), ", "), e.GetSpeakerSelected().GetReason())
	case e.GetMessage() != nil && e.GetThread() == "":
		fmt.Fprintf(out, "%s: %s\n", e.GetSource(), e.GetMessage().GetText())
	case e.GetToolCallRequested() != nil:
		tools[e.GetCallId()] = e.GetToolCallRequested().GetTool()
	case e.GetToolCallFinished() != nil && e.GetToolCallFinished().GetFailed():
		fmt.Fprintf(out, "   %s refused %s %s\n", who, tools[e.GetCallId()], strings.TrimPrefix(e.GetToolCallFinished().GetReason().String(), "ERROR_REASON_"))
	case e.GetToolCallFinished() != nil:
		fmt.Fprintf(out, "   %s called %s\n", who, tools[e.GetCallId()])
	case e.GetPlanUpdated().GetText() != "":
		fmt.Fprintf(out, "   plan: %s\n", e.GetPlanUpdated().GetText())
	case e.GetInputRequested() != nil:
		fmt.Fprintf(out, "   %s asks: %s\n", e.GetInputRequested().GetFrom(), e.GetInputRequested().GetPrompt())
	case e.GetRunFinished() != nil && e.GetThread() == "":
		fmt.Fprintf(out, "== %s: %s\n", e.GetRunFinished().GetStopReason(), e.GetRunFinished().GetOutput())
	}
}

// golden compares a story. Calls of one reply end in any order, so lines of calls
// that follow each other are sorted.
func golden(t *testing.T, file, got string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	for i := 0; i < len(lines); i++ {
		j := i
		for j < len(lines) && strings.Contains(lines[j], " called ") {
			j++
		}
		slices.Sort(lines[i:j])
		i = max(i, j-1)
	}
	got = strings.Join(lines, "\n")
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("want, got (-update writes it):\n%s", d)
	}
}
