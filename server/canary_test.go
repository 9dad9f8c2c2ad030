package server_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
)

// What people and tools say. The first two are redacted and must be nowhere; the
// others belong to the conversation, and must be nowhere else.
const (
	secretArgument = "canary-argument-4b1d9c"
	secretResult   = "canary-result-77f0e2"
	saidPrompt     = "canary-prompt-0c5a3e"
	saidResult     = "canary-kept-91d2b8"
	inClaim        = "canary-claim-e6a4f1"
)

// canaryFolder says, in the environment of the process that does the work, where.
const canaryFolder = "BEHALF_TEST_CANARY_FOLDER"

// TestCanariesAreNowhere uses every service with a credential, prompts, arguments and
// results that are known, rightly and wrongly, and looks for them in everything that
// was written: answers, errors, audit rows, the log, the metrics, all files, and what
// the process wrote to its outputs, for which it is one of its own.
func TestCanariesAreNowhere(t *testing.T) {
	if dir := os.Getenv(canaryFolder); dir != "" {
		sing(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCanariesAreNowhere$", "-test.v")
	c.Env = append(os.Environ(), canaryFolder+"="+dir)
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestCanariesAreNowhere") {
		t.Fatalf("%v\n%s", err, out)
	}
	tokens, err := os.ReadFile(filepath.Join(dir, "tokens"))
	succeed(t, err)
	places{"its outputs": string(out)}.without(t, append(forbidden(strings.Fields(string(tokens))...), saidPrompt, saidResult))
}

// places are texts by where they were found.
type places map[string]string

func (p places) add(where string, text ...any) { p[where] += fmt.Sprintln(text...) }

// failed keeps an error as the caller gets it.
func (p places) failed(err error) {
	p.add("errors", status.Convert(err).Message(), prototext.Format(status.Convert(err).Proto()))
}

func (p places) without(t *testing.T, secrets []string) {
	t.Helper()
	for where, text := range p {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s: holds %.24s…", where, s)
			}
		}
	}
}

// forbidden is what must be nowhere: tokens, whole and in parts, and what is in them.
func forbidden(tokens ...string) []string {
	out := []string{secretArgument, secretResult, inClaim}
	for _, token := range tokens {
		out = append(append(out, token), strings.Split(token, ".")...)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

type noted struct {
	Note string `json:"note"`
}

func notes() tools.Tool {
	return tools.Func("note", "Takes a note.", func(context.Context, noted) (map[string]string, error) {
		return map[string]string{"ssn": secretResult, "kept": saidResult}, nil
	})
}

// sing does all of it in dir.
func sing(t *testing.T, dir string) {
	m := modeltest.NewServer(t)
	w := newWorld(t, setup{
		dir: dir, optional: true, embedded: true, model: m, spies: []tools.Tool{notes()}, edit: withHTTP,
		policies: map[string]string{"notes.cedar": `@id("notes") @redact("args:$.note, result:$.ssn") forbid (principal, action == Action::"call_tool", resource == Tool::"note");
@id("chats") permit (principal, action == Action::"run_group_chat", resource);`},
	})
	m.Always("scripted", modeltest.Reply{Text: "I heard " + saidPrompt + "."})
	m.Queue("scripted", modeltest.Reply{Text: "Let me see.", Calls: []agents.CallRequest{{ID: "c1", Tool: "note", Arguments: `{"note":"` + secretArgument + `"}`}}})
	s := &singer{t: t, w: w, outside: places{}, inside: places{}}
	s.client = s.as("first")

	s.talk()
	s.everyMethod()
	s.wrongly()
	for _, r := range s.records(t, &behalfv1.QueryAuditRequest{}) {
		s.outside.add("audit rows", prototext.Format(r))
	}
	s.outside.add("metrics", string(scrape(t, w.http)))
	w.stop()
	s.outside.add("the log", w.log.String())
	s.files(filepath.Join(dir, "state"))

	succeed(t, os.WriteFile(filepath.Join(dir, "tokens"), []byte(strings.Join(s.tokens, "\n")), 0o600))
	s.inside.without(t, forbidden(s.tokens...))
	s.outside.without(t, append(forbidden(s.tokens...), saidPrompt, saidResult))
	for _, want := range []string{saidPrompt, saidResult} {
		if !strings.Contains(strings.Join(slices.Collect(maps.Values(s.inside)), ""), want) {
			t.Errorf("%s is not in the conversation either, so the test proves nothing", want)
		}
	}
}

// singer is somebody who may do everything, and what they got to see.
type singer struct {
	*client
	t       *testing.T
	w       *world
	tokens  []string
	outside places // where nothing of a conversation may be
	inside  places // conversations and their log
}

// as is the singer with a token of its own.
func (s *singer) as(jti string) *client {
	p := person{"zoe", []string{"support", "manager", "auditor"}, "crm.read orders.read orders.refund audit.read ops"}
	token := s.w.token(s.w.idp, p, map[string]any{"canary": inClaim, "jti": jti, "email": "zoe@example.test"})
	s.tokens = append(s.tokens, token)
	return &client{s.w.dial(s.w.workload(s.w.acme, "/app")), bearer(token)}
}

// talk says what is private in each way in which one can say something.
func (s *singer) talk() {
	events, err := s.stream(s.t, &behalfv1.StreamAgentRequest{Agent: "support", Input: saidPrompt})
	succeed(s.t, err)
	for _, e := range events {
		s.inside.add("events", prototext.Format(e))
	}
	r, err := s.agents().RunAgent(s.ctx(s.t), &behalfv1.RunAgentRequest{Agent: "support", Input: saidPrompt})
	succeed(s.t, err)
	s.inside.add("answers", prototext.Format(r))
	called, err := s.tools().CallTool(s.ctx(s.t), &behalfv1.CallToolRequest{Tool: "note", ArgumentsJson: `{"note":"` + secretArgument + `"}`})
	succeed(s.t, err)
	s.inside.add("answers", prototext.Format(called))
	if !strings.Contains(called.GetResultJson(), saidResult) {
		s.t.Errorf("got %v, want the rest of the result", called)
	}
	k := s.converse(s.t)
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{Target: &behalfv1.OpenConversation_Agent{Agent: "support"}}}})
	k.say(saidPrompt)
	k.until(func(e *behalfv1.Event) bool { return e.GetRunFinished() != nil })
	s.as("second")
	s.tokens = append(s.tokens, tampered(s.tokens[0]))
	for _, token := range s.tokens {
		k.refresh(token)
	}
	succeed(s.t, k.CloseSend())
	for {
		m, err := k.Recv()
		if err != nil {
			s.outside.failed(err)
			return
		}
		s.inside.add("events", prototext.Format(m))
	}
}

// tampered is a token whose signature is another's.
func tampered(token string) string {
	i := strings.LastIndexByte(token, '.') + 1
	return token[:i] + strings.Repeat("A", 10) + token[i+10:]
}

// everyMethod calls what there is, as the matrix does.
func (s *singer) everyMethod() {
	m := &matrix{world: s.w, alice: s.client}
	methods := m.methods()
	for name, requests := range m.requests() {
		for _, request := range requests {
			s.outside.failed(s.call(s.t, name, methods[name], request()))
		}
	}
}

// wrongly sends the same where it does not belong.
func (s *singer) wrongly() {
	token, app := s.tokens[0], s.w.dial(s.w.workload(s.w.acme, "/app"))
	expired := s.w.token(s.w.idp, alice, map[string]any{"canary": inClaim, "iat": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(-time.Hour).Unix()})
	s.tokens = append(s.tokens, expired)
	for _, c := range []*client{
		s.with("authorization", "Bearer "+token), s.with("x-access-token", token), s.with("authorization-bin", token), s.with("x-user-id", token),
		s.with("x-forwarded-user-bin", token),
		{app, bearer(tampered(token))},
		{app, bearer(token + "," + token)},
		{app, bearer(expired)},
		{app, bearer(token[:len(token)/2])},
	} {
		s.outside.failed(c.whoAmI(s.t))
	}
	for _, arguments := range []string{`{"note":["` + saidPrompt + `"]}`, `{"note":"` + saidPrompt, `"` + saidPrompt + `"`, `{"` + saidPrompt + `":1}`} {
		_, err := s.tools().CallTool(s.ctx(s.t), &behalfv1.CallToolRequest{Tool: "note", ArgumentsJson: arguments})
		if !strings.HasSuffix(arguments, ":1}") { // whoever sent a name that there is not is told which
			s.outside.failed(err)
		}
	}
	for _, r := range []*behalfv1.RunAgentRequest{
		{Agent: saidPrompt + "!", Input: saidPrompt},
		{Agent: "nobody", Input: saidPrompt},
		{Agent: "support", Input: saidPrompt, SessionId: saidPrompt},
		{Agent: "support", Input: saidPrompt, Tenant: "globex"},
		{Agent: "support", Input: saidPrompt, Labels: map[string]string{saidPrompt + "!": "x"}},
	} {
		_, err := s.agents().RunAgent(s.ctx(s.t), r)
		if err == nil {
			s.t.Errorf("%v was allowed, so it proves nothing", r)
		}
		s.outside.failed(err)
	}
}

// files reads what is left on the disk. The log of conversations may hold them.
func (s *singer) files(dir string) {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if n++; strings.HasPrefix(path, filepath.Join(dir, "runs")) {
			s.inside.add(path, string(text))
			return err
		}
		s.outside.add(path, string(text))
		return err
	})
	if err = errors.Join(err); err != nil || n < 4 {
		s.t.Errorf("got %d files, %v, want the store, its log, the witness and the runs", n, err)
	}
}
