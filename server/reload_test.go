package server_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rewrite changes the config file: what stands there once becomes something else.
func (w *world) rewrite(was, is string) {
	w.t.Helper()
	file := w.path("desk", "behalf.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.Count(string(text), was) != 1 {
		w.t.Fatalf("%q is in the config %d times", was, strings.Count(string(text), was))
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), was, is, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// place is where a text first stands in the config file.
func (w *world) place(text string) string {
	w.t.Helper()
	file, err := os.ReadFile(w.path("desk", "behalf.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(file), text)
	return fmt.Sprintf("behalf.yaml:%d:%d", strings.Count(before, "\n")+1, len(before)-strings.LastIndex(before, "\n"))
}

// rules writes a file of an offline model that says one thing.
func (w *world) rules(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path("desk", name), []byte("rules: [{ text: "+text+" }]\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (c *client) reload(t *testing.T) *behalfv1.ReloadConfigResponse {
	t.Helper()
	r, err := c.admin().ReloadConfig(c.ctx(t), &behalfv1.ReloadConfigRequest{})
	if err != nil {
		t.Fatalf("ReloadConfig: %v, %q", err, violations(err))
	}
	return r
}

func (c *client) says(t *testing.T, agent string) (string, error) {
	t.Helper()
	r, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: agent, Input: "hello"})
	return r.GetOutput(), err
}

// violations are the fields that an error names, with what is wrong with them.
func violations(err error) (out []string) {
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, f := range bad.GetFieldViolations() {
				out = append(out, f.GetField()+": "+f.GetDescription())
			}
		}
	}
	return out
}

const aGreeter = `  greeter: { model: new, instructions: greet, description: Greets. }
policy: {`

// withGreeter is a world whose file got one more agent and one more model.
func withGreeter(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, setup{reread: true})
	w.rules("new.yaml", "Welcome.")
	w.rewrite("policy: {", aGreeter)
	w.rewrite("models:\n", "models:\n  new: { demo: new.yaml }\n")
	return w
}

func TestAReloadAddsChangesAndRemovesAgents(t *testing.T) {
	t.Parallel()
	w := withGreeter(t)
	a, b := w.as(alice), w.as(bob)
	status := func() *behalfv1.GetStatusResponse {
		st, err := b.admin().GetStatus(b.ctx(t), &behalfv1.GetStatusRequest{})
		succeed(t, err)
		return st
	}
	before := status()
	_, err := a.says(t, "greeter")
	wantError(t, err, codes.NotFound, "NOT_FOUND") // a file alone changes nothing

	r := b.reload(t)
	if r.GetConfigRevision() == before.GetConfigRevision() || status().GetConfigRevision() != r.GetConfigRevision() {
		t.Errorf("got revision %s after %s, want that of the answer, %s", status().GetConfigRevision(), before.GetConfigRevision(), r.GetConfigRevision())
	}
	if said, err := a.says(t, "greeter"); err != nil || said != "Welcome." {
		t.Errorf("got %q, %v, want the new agent", said, err)
	}
	if list, err := a.agents().ListAgents(a.ctx(t), &behalfv1.ListAgentsRequest{}); err != nil || !strings.Contains(list.String(), "Greets.") {
		t.Errorf("got %v, %v, want it listed", list, err)
	}

	w.rules("other.yaml", "Good day.")
	w.rewrite("demo: new.yaml", "demo: other.yaml")
	b.reload(t)
	if said, err := a.says(t, "greeter"); err != nil || said != "Good day." {
		t.Errorf("got %q, %v, want what the other model says", said, err)
	}

	w.rewrite(aGreeter, "policy: {")
	b.reload(t)
	_, err = a.says(t, "greeter")
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	w.hello(a, "")
	rows := b.records(t, &behalfv1.QueryAuditRequest{User: "bob"})
	if n := len(slices.DeleteFunc(rows, func(r *behalfv1.AuditRecord) bool { return r.GetAction() != "reload_config" })); n != 6 {
		t.Errorf("got %d rows of three reloads, want each decided and done", n)
	}
}

func TestAReloadNamesWhatNeedsARestartAndTakesNothing(t *testing.T) {
	t.Parallel()
	w := withGreeter(t)
	a, b := w.as(alice), w.as(bob)
	w.rewrite("checkpoint_every: 1000", "checkpoint_every: 999")
	w.rewrite("server: {", "call_tokens: { rotate: 2h }\nserver: { limits: { calls_per_user: 7 },")

	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.FailedPrecondition, "ARGUMENT_INVALID")
	var want []string
	for _, at := range []struct{ text, path string }{
		{"2h }", "call_tokens.rotate"}, {"7 },", "server.limits.calls_per_user"}, {"999", "audit.checkpoint_every"},
	} {
		want = append(want, w.place(at.text)+": "+at.path+": has changed, and needs a restart; put it back as it was, or restart the server")
	}
	if got := violations(err); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	_, err = a.says(t, "greeter")
	wantError(t, err, codes.NotFound, "NOT_FOUND")
}

func TestAReloadTellsAllMistakesAndTakesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		was, is string
		want    []string
	}{
		"of the file": {
			"model: new, instructions", "model: nwe, instruction",
			[]string{"unknown key", `there is no model "nwe"`, "wrong.cedar:1"},
		},
		"of what it names": {
			"instructions: greet,", "instructions: greet, tools: [get_custmer],",
			[]string{`there is no tool "get_custmer"`, "wrong.cedar:1"},
		},
		"of a model's file": {"demo: new.yaml", "demo: broken.yaml", []string{"models.new: cannot be used", "wrong.cedar:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withGreeter(t)
			a, b := w.as(alice), w.as(bob)
			w.rewrite(c.was, c.is)
			w.rules("broken.yaml", "[")
			w.policy("wrong.cedar", `@id("wrong") permit (principal, action == Action::"run_agnet", resource);`)

			_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

			wantError(t, err, codes.FailedPrecondition, "ARGUMENT_INVALID")
			got := strings.Join(violations(err), "\n")
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("got %s\nwant %q in it", got, part)
				}
			}
			if strings.Contains(err.Error()+got, w.dir) {
				t.Errorf("got %v with %s, want no path in it", err, got)
			}
			_, err = a.says(t, "greeter")
			wantError(t, err, codes.NotFound, "NOT_FOUND")
			w.hello(a, "")
		})
	}
}

// withBoss has an agent be a tool, for the agent boss of a file.
func withBoss(c *config.Config) {
	c.Tools["ask_support"] = config.Toolset{Agent: "support", Description: "Asks support."}
}

// TestWhatARunsAgentLosesIsLostToTheRun narrows an agent while one of its tools works.
func TestWhatARunsAgentLosesIsLostToTheRun(t *testing.T) {
	t.Parallel()
	const chat = "group_chats:\n  room: { kind: round_robin, max_turns: 1, scopes: [crm.read], participants: [{ name: support, scopes: [crm.read] }] }\npolicy: {"
	const boss = "agents:\n  boss: { model: default, instructions: asks, description: Asks., tools: [ask_support] }\n"
	for name, c := range map[string]struct{ was, is, why string }{
		"in a chat, nothing":           {chat, chat, ""},
		"in a chat, its scopes":        {"scopes: [crm.read], participants", "scopes: [], participants", "DELEGATION_SCOPE"},
		"in a chat, those of its part": {"name: support, scopes: [crm.read]", "name: support, scopes: []", "DELEGATION_SCOPE"},
		"in a chat, its part":          {"[{ name: support, scopes: [crm.read] }]", "[billing]", "TOOL_UNAVAILABLE"},
		"in a chat, all of it":         {chat, "policy: {", "TOOL_UNAVAILABLE"},

		"nothing":            {"scopes: [crm.read, orders.read]\n    max_turns", "scopes: [crm.read, orders.read]\n    max_turns", ""},
		"a scope":            {"scopes: [crm.read, orders.read]\n    max_turns", "scopes: [orders.read]\n    max_turns", "DELEGATION_SCOPE"},
		"a tool":             {"tools: [get_customer, list_orders, handbook/*]", "tools: [list_orders, handbook/*]", "TOOL_UNAVAILABLE"},
		"a scope above it":   {"{ to: support, scopes: [crm.read, orders.read] }", "{ to: support, scopes: [orders.read] }", "DELEGATION_SCOPE"},
		"all that is above":  {"- { to: support, scopes: [crm.read, orders.read] }\n", "\n", "TOOL_UNAVAILABLE"},
		"the agent above it": {"scopes: [crm.read, orders.read, orders.refund]\n    handoffs", "scopes: []\n    handoffs", "DELEGATION_SCOPE"},
		"all of that agent":  {"  triage:\n    description", "  reception:\n    description", "TOOL_UNAVAILABLE"},

		"as a tool, nothing":       {boss, boss, ""},
		"as a tool, who called it": {boss, strings.ReplaceAll(boss, "boss:", "head:"), "TOOL_UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			works, reloaded := make(chan struct{}), make(chan struct{})
			spy := tools.Func("wait", "Waits.", func(ctx context.Context, _ struct{}) (string, error) {
				close(works)
				select {
				case <-reloaded:
					return "done", nil
				case <-ctx.Done():
					return "", ctx.Err()
				}
			})
			m := modeltest.NewServer(t)
			calls := func(name, args string) modeltest.Reply {
				return modeltest.Reply{Calls: []agents.CallRequest{{ID: "call_" + name, Tool: name, Arguments: args}}}
			}
			inChat, first := strings.HasPrefix(name, "in a chat"), "triage"
			switch {
			case strings.HasPrefix(name, "as a tool"):
				first = "boss"
				m.Queue("scripted", calls("ask_support", `{"task":"look"}`))
			case !inChat:
				m.Queue("scripted", calls("transfer_to_support", `{}`))
			}
			m.Queue("scripted", calls("wait", `{}`), calls("get_customer", `{"customer_id":"C-1001"}`), modeltest.Reply{Text: "That is all."}, modeltest.Reply{Text: "So it is."})
			w := newWorld(t, setup{reread: true, model: m, spies: []tools.Tool{spy}, edit: withBoss, policies: map[string]string{
				"chat.cedar": `@id("staff-may-chat") permit (principal in Role::"support", action == Action::"run_group_chat", resource);`,
				"ask.cedar":  `@id("staff-may-ask") permit (principal in Role::"support", action == Action::"call_tool", resource == Tool::"ask_support");`,
			}})
			a, b := w.as(alice), w.as(bob)
			w.rewrite("policy: {", chat)
			w.rewrite("agents:\n", boss)
			b.reload(t)
			ended := make(chan []*behalfv1.ToolCallSummary, 1)
			go func() { // ends with the run
				if inChat {
					r, err := a.chats().RunGroupChat(a.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "room", Input: "hello"})
					ended <- r.GetToolCalls()
					if err != nil {
						t.Error(err)
					}
					return
				}
				r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: first, Input: "hello"})
				ended <- r.GetToolCalls()
				if err != nil {
					t.Error(err)
				}
			}()
			until(t, "the tool", works)

			w.rewrite(c.was, c.is)
			b.reload(t)
			close(reloaded)

			var got []string
			for _, call := range until(t, "the run", ended) {
				if call.GetTool() == "get_customer" {
					got = append(got, strings.TrimPrefix(call.GetReason().String(), "ERROR_REASON_"))
				}
			}
			if c.why == "" {
				c.why = "UNSPECIFIED"
			}
			if !slices.Equal(got, []string{c.why}) {
				t.Errorf("got %q, want %s", got, c.why)
			}
		})
	}
}

// TestReloadsDisturbNoRuns changes agents, models and policies while people work.
func TestReloadsDisturbNoRuns(t *testing.T) {
	t.Parallel()
	w := withGreeter(t)
	a, b := w.as(alice), w.as(bob)
	stop := make(chan struct{})
	var reloads sync.WaitGroup
	n := 0
	reloads.Go(func() {
		was, is := aGreeter, "policy: {"
		for {
			select {
			case <-stop:
				return
			default:
			}
			b.reload(t)
			w.rewrite(was, is)
			w.policy("more.cedar", fmt.Sprintf(`@id("more-%d") forbid (principal in Role::"robot", action == Action::"call_tool", resource);`, n%2))
			was, is = is, was
			n++
		}
	})

	var runs sync.WaitGroup
	for range 10 {
		runs.Go(func() {
			for range 5 {
				r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "Who is customer C-1001?"})
				if err != nil || len(r.GetToolCalls()) == 0 {
					t.Errorf("got %v, %v", r, err)
				}
			}
		})
	}
	runs.Wait()
	close(stop)
	reloads.Wait()

	if n < 3 {
		t.Errorf("there were %d reloads, so the test proves nothing", n)
	}
}
