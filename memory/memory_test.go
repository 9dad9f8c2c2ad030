package memory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/memory"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
	"github.com/behalf-dev/behalf/tools"
	"github.com/google/go-cmp/cmp"
)

// world is the tools behind a real gate, over a real store.
type world struct {
	t     *testing.T
	store *storetest.Running
	gate  *tools.Gate
	calls int
}

const rules = `
@id("staff-remember") permit (principal, action == Action::"call_tool", resource in Toolset::"memory");
@id("guests-do-not") forbid (principal in Role::"guest", action == Action::"call_tool", resource == Tool::"remember");
`

func newWorld(t *testing.T, rules string) *world {
	t.Helper()
	w := &world{t: t, store: storetest.Start(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")})}
	var list []tools.Tool
	for _, tool := range memory.Tools(w.store) {
		tool.Toolset = "memory"
		list = append(list, tool)
	}
	registry, err := tools.NewRegistry(list...)
	must(t, err)
	set, err := policy.Load(policy.Config{FS: fstest.MapFS{"rules.cedar": {Data: []byte(rules)}}, Tools: registry.Schemas()})
	must(t, err)
	guard, err := policy.NewGuard(policy.GuardConfig{Sink: w.store, Clock: w.store.Clock.Now, DigestKey: func(string) []byte { return make([]byte, 32) }})
	must(t, err)
	guard.Swap(policy.NewEngine(set))
	w.gate, err = tools.NewGate(tools.GateConfig{Registry: registry, Guard: guard, Tools: []string{"memory/*"}, Clock: w.store.Clock.Now})
	must(t, err)
	for _, session := range []string{"ses_1", "ses_2"} {
		must(t, w.store.PutSession(t.Context(), store.SessionRecord{Tenant: "acme", SessionID: session, Target: "support"}))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as binds a person of acme to the context.
func (w *world) as(subject string, roles ...string) context.Context {
	return w.by(identity.Principal{User: &identity.User{
		Issuer: "https://idp.example", Subject: subject, Tenant: "acme", Roles: roles, Expires: w.store.Clock.Now().Add(time.Hour),
	}})
}

func (w *world) by(p identity.Principal) context.Context {
	return identity.WithGrant(w.t.Context(), identity.Root("grt_1", p, nil, identity.API))
}

// call makes a direct call.
func (w *world) call(ctx context.Context, session, tool string, args any) (tools.CallResult, error) {
	w.t.Helper()
	text, err := json.Marshal(args)
	must(w.t, err)
	w.calls++
	return w.gate.Direct(ctx, agents.ToolCall{ID: fmt.Sprintf("run_1/%d", w.calls), RunID: "run_1", SessionID: session, Name: tool, Arguments: string(text)})
}

type obj map[string]any

// want makes a call that must work, and compares its answer.
func (w *world) want(ctx context.Context, session, tool string, args any, want string) {
	w.t.Helper()
	got, err := w.call(ctx, session, tool, args)
	if err != nil || got.Failed || string(got.Result) != want {
		w.t.Errorf("%s: got %s, failed %t, %v, want %s", tool, got.Result, got.Failed, err, want)
	}
}

// texts lists what is remembered, over all pages.
func (w *world) texts(ctx context.Context, session, about string) (out []string) {
	w.t.Helper()
	for next := ""; ; {
		args := obj{"about": about}
		if next != "" {
			args["after"] = next
		}
		got, err := w.call(ctx, session, "list_memories", args)
		if err != nil || got.Failed {
			w.t.Fatalf("list_memories: got %s, %v", got.Result, err)
		}
		var p struct {
			Memories []struct{ ID, Text, SessionID string }
			Next     string
		}
		must(w.t, json.Unmarshal(got.Result, &p))
		for _, m := range p.Memories {
			out = append(out, m.Text)
		}
		if next = p.Next; next == "" {
			return out
		}
	}
}

func (w *world) wantTexts(ctx context.Context, session, about string, want ...string) {
	w.t.Helper()
	if d := cmp.Diff(want, w.texts(ctx, session, about)); d != "" {
		w.t.Errorf("%s: want, got:\n%s", about, d)
	}
}

func TestWhatAPersonRemembersIsTheirs(t *testing.T) {
	w := newWorld(t, rules)
	alice := w.as("alice")
	for session, text := range map[string]string{"ses_1": "in one", "ses_2": "in two"} {
		_, err := w.call(alice, session, "remember", obj{"text": " " + text + "\n", "about": "session"})
		must(t, err)
	}
	_, err := w.call(alice, "ses_1", "remember", obj{"text": "wherever", "about": "me"})
	must(t, err)

	if got := w.texts(alice, "", "me"); len(got) != 3 || got[0] != "wherever" {
		t.Errorf("got %q, want all, the newest first", got)
	}
	w.wantTexts(alice, "ses_1", "session", "in one")
	partner := w.by(identity.Principal{User: &identity.User{Issuer: "https://partner.example", Subject: "alice", Tenant: "acme", Expires: w.store.Clock.Now().Add(time.Hour)}})
	app := w.by(identity.Principal{Workload: &identity.Workload{ID: "spiffe://acme.example/app", Tenant: "acme", NotAfter: w.store.Clock.Now().Add(time.Hour)}})
	abroad := w.by(identity.Principal{User: &identity.User{Issuer: "https://idp.example", Subject: "alice", Tenant: "globex", Expires: w.store.Clock.Now().Add(time.Hour)}})
	for name, who := range map[string]context.Context{"bob": w.as("bob"), "alice of the partner": partner, "a workload": app, "alice abroad": abroad} {
		t.Run(name, func(*testing.T) {
			w.wantTexts(who, "ses_1", "me")
			w.wantTexts(who, "ses_1", "session")
			w.want(who, "ses_1", "forget_all", obj{"about": "session"}, `{"forgotten":0}`)
			w.want(who, "ses_1", "forget_all", obj{"about": "me"}, `{"forgotten":0}`)
		})
	}
	w.want(alice, "ses_2", "forget_all", obj{"about": "session"}, `{"forgotten":1}`)
	w.wantTexts(alice, "", "me", "wherever", "in one")
	w.want(alice, "", "forget_all", obj{"about": "me"}, `{"forgotten":2}`)
	w.wantTexts(alice, "ses_1", "session")
}

func TestOneMemoryCanBeForgotten(t *testing.T) {
	w := newWorld(t, rules)
	alice := w.as("alice")
	got, err := w.call(alice, "", "remember", obj{"text": "tea", "about": "me"})
	must(t, err)
	var kept struct{ ID string }
	must(t, json.Unmarshal(got.Result, &kept))

	w.want(w.as("bob"), "", "forget", obj{"id": kept.ID}, `{"forgotten":0}`)
	w.wantTexts(alice, "", "me", "tea")
	w.want(alice, "", "forget", obj{"id": kept.ID}, `{"forgotten":1}`)
	w.want(alice, "", "forget", obj{"id": kept.ID}, `{"forgotten":0}`)
	w.wantTexts(alice, "", "me")
}

func TestWithoutASessionThereIsNoneToRemember(t *testing.T) {
	w := newWorld(t, rules)
	for tool, args := range map[string]obj{
		"remember": {"text": "x", "about": "session"}, "list_memories": {"about": "session"}, "forget_all": {"about": "session"},
	} {
		got, err := w.call(w.as("alice"), "", tool, args)
		if err != nil || !got.Failed || !strings.Contains(string(got.Result), "belongs to no session") {
			t.Errorf("%s: got %s, failed %t, %v, want a failed result that says why", tool, got.Result, got.Failed, err)
		}
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	w := newWorld(t, rules)
	for name, tc := range map[string]struct {
		args obj
		want string
	}{
		"empty":        {obj{"text": " \n", "about": "me"}, "is empty"},
		"too long":     {obj{"text": strings.Repeat("x", memory.MaxText+1), "about": "me"}, "at most 4096"},
		"control":      {obj{"text": "a\x1b[31mb", "about": "me"}, "control characters"},
		"gone session": {obj{"text": "x", "about": "session"}, "no such session"},
	} {
		got, err := w.call(w.as("alice"), "ses_9", "remember", tc.args)
		if err != nil || !got.Failed || !strings.Contains(string(got.Result), tc.want) {
			t.Errorf("%s: got %s, %v, want a failed result with %q", name, got.Result, err, tc.want)
		}
	}
	for _, args := range []obj{{"text": "x", "about": "bob"}, {"text": "x", "about": "me", "owner": "bob"}, {"text": "x"}} {
		if _, err := w.call(w.as("alice"), "", "remember", args); !errors.Is(err, fault.ArgumentInvalid) {
			t.Errorf("%v: got %v, want ARGUMENT_INVALID", args, err)
		}
	}
	w.wantTexts(w.as("alice"), "", "me")
}

func TestAFullMemorySaysWhatToDo(t *testing.T) {
	w := newWorld(t, rules)
	for i := range memory.MaxPerSession {
		if _, err := w.call(w.as("alice"), "ses_1", "remember", obj{"text": fmt.Sprint(i), "about": "session"}); err != nil {
			t.Fatal(err)
		}
	}

	got, err := w.call(w.as("alice"), "ses_1", "remember", obj{"text": "more", "about": "session"})

	if err != nil || !got.Failed || !strings.Contains(string(got.Result), "forget what is not needed") {
		t.Errorf("got %s, %v, want a failed result that says what to do", got.Result, err)
	}
	if n := len(w.texts(w.as("alice"), "ses_1", "session")); n != memory.MaxPerSession {
		t.Errorf("got %d over all pages, want all %d", n, memory.MaxPerSession)
	}
}

// Long texts make a page end before it has many.
func TestAListFitsIntoAResult(t *testing.T) {
	w := newWorld(t, rules)
	for i := range 20 {
		if _, err := w.call(w.as("alice"), "", "remember", obj{"text": fmt.Sprint(i, strings.Repeat(`"`, memory.MaxText-8)), "about": "me"}); err != nil {
			t.Fatal(err)
		}
	}

	if n := len(w.texts(w.as("alice"), "", "me")); n != 20 {
		t.Errorf("got %d, want all 20", n)
	}
}

func TestPolicyDecidesAndTheCallIsOnRecord(t *testing.T) {
	w := newWorld(t, rules)

	_, err := w.call(w.as("eve", "guest"), "", "remember", obj{"text": "a guest was here", "about": "me"})
	if !errors.Is(err, fault.PolicyDenied) {
		t.Errorf("got %v, want POLICY_DENIED", err)
	}
	_, err = w.call(w.as("alice"), "ses_1", "remember", obj{"text": "tea", "about": "session"})
	must(t, err)

	w.wantTexts(w.as("eve"), "", "me")
	var got []string
	for row, err := range w.store.Rows(t.Context()) {
		must(t, err)
		if row.Tool == "remember" {
			got = append(got, strings.TrimSpace(fmt.Sprint(row.Subject, " ", row.Phase, " ", row.Decision)))
		}
	}
	if d := cmp.Diff([]string{"eve decision deny", "alice decision allow", "alice outcome"}, got); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

// broken is a store whose disk is gone.
type broken struct{ memory.Store }

var errDisk = errors.New("open /var/lib/secret.db: no such file")

func (broken) Memories(context.Context, memory.Which, string, int) ([]memory.Item, error) {
	return nil, errDisk
}

func TestAStoreThatFailsIsNotExplained(t *testing.T) {
	w := newWorld(t, rules)
	list := memory.Tools(broken{})[1]

	_, err := list.Call(w.as("alice"), json.RawMessage(`{"about":"me"}`))
	_, recall := (&memory.Recaller{Store: broken{}, Person: true}).Recall(w.as("alice"), "", agents.NewTranscript())

	for _, err := range []error{err, recall} {
		if f := fault.From(err); f.Reason != fault.ToolUnavailable || strings.Contains(f.Message, "secret") || !errors.Is(err, errDisk) {
			t.Errorf("got %v, want a fault that keeps its cause for the operator", err)
		}
	}
}

func TestLentAuthorityBringsNobodysMemory(t *testing.T) {
	ann := identity.Root("grt_1", identity.Principal{User: &identity.User{Issuer: "https://idp.example", Subject: "ann", Tenant: "acme"}}, nil, "")
	bob := identity.Root("grt_2", identity.Principal{User: &identity.User{Issuer: "https://idp.example", Subject: "bob", Tenant: "acme"}}, nil, "")

	own, err := memory.OwnerOf(identity.WithGrant(t.Context(), ann))
	if err != nil || own.Subject != "ann" {
		t.Errorf("in her own turn: got %v, %v", own, err)
	}
	if got, err := memory.OwnerOf(identity.WithGrant(t.Context(), ann.LentTo(bob))); !errors.Is(err, fault.OwnerMismatch) || got != (memory.Owner{}) {
		t.Errorf("in bob's turn: got %v, %v, want OWNER_MISMATCH", got, err)
	}
}
