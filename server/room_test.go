package server_test

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/audit"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/store"
	"github.com/prometheus/client_golang/prometheus"
)

// room is a real server on loopback whose agents and group chats the test makes
// itself, with a clock that the test moves:
//
//   - ada, an assistant, alone
//   - panel, ada and bert in turn, two turns
//   - clinic, ada and then a person, two turns
//
// The model of ada is the scripted one called m-ada; go-openai refuses ada itself.
type room struct {
	*world
	clock *identitytest.Clock
	model *modeltest.Server
	store *store.Store
	guard *policy.Guard
}

// plan says how a room differs from the plain one.
type plan struct {
	silence, first time.Duration
	ada            agents.Model // instead of the scripted one
	around         func(*runs.Engine) server.Runs
}

const roomPolicies = `
@id("staff-run") permit (principal, action in [Action::"run_agent", Action::"run_group_chat"], resource)
when { principal in Role::"support" || principal in Role::"manager" };
@id("all-look") permit (principal, action == Action::"get_group_chat", resource);
@id("own") permit (principal, action in [Action::"get_run", Action::"watch_run", Action::"cancel_run", Action::"send_input"], resource)
when { resource.owner == principal };
@id("managers-help") permit (principal in Role::"manager", action in [Action::"send_input", Action::"join_session"], resource);
`

func newRoom(t *testing.T, p plan) *room {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &logBuffer{}, idp: newIssuer(t, acmeIssuer)}
	w.acme = ok(identity.NewDevCA(identity.DevCAConfig{TrustDomain: acmeDomain, Life: 1000 * time.Hour}))(t) // the room's clock moves by days
	w.source = identitytest.NewSource(t, w.acme, "/behalf")
	r := &room{world: w, clock: identitytest.NewClock(), model: modeltest.NewServer(t)}
	succeed(t, os.MkdirAll(w.path("state"), 0o700))
	r.store = ok(store.Open(t.Context(), store.Config{DSN: "sqlite://" + w.db(), Clock: r.clock.Now}))(t)
	r.guard = ok(policy.NewGuard(policy.GuardConfig{
		Sink: r.store, Clock: r.clock.Now, DigestKey: func(string) []byte { return make([]byte, ed25519.SeedSize) },
	}))(t)
	r.rule(roomPolicies)
	engine := ok(runs.NewEngine(runs.Config{
		Log: runs.NewMemory(), Index: r.store, Grants: r.store, Voices: r.store, Join: func(context.Context, runs.SessionRecord, identity.Grant) bool { return true }, Targets: r.targets(p), Clock: r.clock.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	}))(t)
	l := ok(net.Listen("tcp", "127.0.0.1:0"))(t)
	w.addr = l.Addr().String()
	s := r.server(p, engine)
	end := r.run(r.store.Run, engine.Run, func(ctx context.Context) error { return s.Run(ctx, l) })
	w.stop = sync.OnceFunc(func() {
		end()
		r.nobodyHears()
		succeed(t, r.store.Close())
	})
	t.Cleanup(w.checkNoSecrets)
	return r
}

// ok gives a value that must be there.
func ok[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		succeed(t, err)
		return v
	}
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run starts the parts; what it gives ends them in the opposite order.
func (r *room) run(parts ...func(context.Context) error) (end func()) {
	var ends []func()
	for _, part := range parts {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- part(ctx) }() // ends with end
		ends = append(ends, func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Errorf("a part of the server ended with %v", err)
			}
		})
	}
	return func() {
		for _, f := range slices.Backward(ends) {
			f()
		}
	}
}

// nobodyHears fails if a goroutine of a conversation has outlived the server.
func (r *room) nobodyHears() {
	stacks := make([]byte, 1<<20)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		n := runtime.Stack(stacks, true)
		if !strings.Contains(string(stacks[:n]), "(*conversation)") {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("a conversation's goroutine is still there:\n%s", stacks[:n])
			return
		}
	}
}

// rule replaces the policies.
func (r *room) rule(text string) {
	r.t.Helper()
	succeed(r.t, os.MkdirAll(r.path("policies"), 0o700))
	succeed(r.t, os.WriteFile(r.path("policies", "room.cedar"), []byte(text), 0o600))
	actions := interceptors.Actions()
	var names []string
	for name := range actions {
		names = append(names, name)
	}
	set := ok(policy.Load(policy.Config{Dir: r.path("policies"), Actions: names, Resources: actions}))(r.t)
	r.guard.Swap(policy.NewEngine(set))
}

func (r *room) targets(p plan) func(string, bool) (agents.Agent, bool) {
	t := r.t
	first := p.ada
	if first == nil {
		first = r.scripted("ada")
	}
	ada := team.Member{Agent: ok(agents.NewAssistant(agents.AssistantConfig{Name: "ada", Model: first}))(t)}
	bert := team.Member{Agent: ok(agents.NewAssistant(agents.AssistantConfig{Name: "bert", Model: r.scripted("bert")}))(t)}
	guest := team.Member{Agent: ok(agents.NewHuman(agents.HumanConfig{Name: "guest", Prompt: "And you?"}))(t)}
	desk := ok(team.NewDesk(team.DeskConfig{Entry: "ada", Members: []team.Member{ada}}))(t)
	panel := ok(team.NewRoundRobin(team.Config{Name: "panel", Participants: []team.Member{ada, bert}, MaxTurns: 2}))(t)
	clinic := ok(team.NewRoundRobin(team.Config{Name: "clinic", Participants: []team.Member{ada, guest}, MaxTurns: 2}))(t)
	return func(name string, groupChat bool) (agents.Agent, bool) {
		a, found := map[string]agents.Agent{"ada": desk, "panel": panel, "clinic": clinic}[name]
		return a, found && groupChat == (name != "ada")
	}
}

func (r *room) scripted(name string) agents.Model {
	return ok(model.NewOpenAI(model.OpenAIConfig{BaseURL: r.model.URL, Model: "m-" + name}))(r.t)
}

func (r *room) server(p plan, engine *runs.Engine) *server.Server {
	peers := ok(identity.NewPeers(identity.PeersConfig{
		Source: r.source, Tenants: map[string]string{acmeDomain: "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + acmeDomain + "/app", Issuers: []string{acmeIssuer}}},
	}))(r.t)
	verifier := ok(identity.NewVerifier(identity.VerifierConfig{Issuers: []identity.Issuer{r.idp.Issuer(audience, "acme")}, Now: r.clock.Now}))(r.t)
	who := ok(identity.NewIdentifier(identity.IdentifierConfig{Peers: peers, Verifier: verifier}))(r.t)
	var around server.Runs = engine
	if p.around != nil {
		around = p.around(engine)
	}
	return ok(server.New(server.Config{
		TLS: peers.ServerTLS(identity.CertificateRequired), Identify: who, Guard: r.guard, Runs: around, Catalog: roomCatalog{}, Approvals: noApprovals{},
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Metrics: prometheus.NewRegistry(), Now: r.clock.Now,
		GrantID: func() string { return ok(runs.NewID(runs.GrantPrefix, random{}))(r.t) },
		Limits:  interceptors.Limits{FirstMessage: p.first}, Transport: server.Transport{Silence: p.silence},
	}))(r.t)
}

// fresh is the person with a token that is good by the room's clock.
func (r *room) fresh(p person) *client {
	r.t.Helper()
	return &client{r.dial(r.workload(r.acme, "/app")), bearer(r.tokenNow(p))}
}

func (r *room) tokenNow(p person) string {
	now := r.clock.Now()
	return r.token(r.idp, p, map[string]any{"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
}

// rows are the audit rows of an action: phase and decision or outcome, oldest first.
func (r *room) rows(action string) (out []string) {
	r.t.Helper()
	for rec, err := range r.store.Query(r.t.Context(), audit.Filter{Tenant: "acme"}) {
		succeed(r.t, err)
		if rec.Action == action {
			out = append(out, strings.TrimSpace(string(rec.Phase)+" "+rec.Decision+rec.Outcome))
		}
	}
	return out
}

// eventually waits until an outcome that nobody waits for has been written.
func (w *world) eventually(met func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(time.Millisecond); !met(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatal("it did not come to be")
		}
	}
}

// roomCatalog shows the room's chats, and one of kind graph that is only data.
type roomCatalog struct{}

func (roomCatalog) Agents() []server.Agent { return []server.Agent{{Name: "ada"}} }

func (roomCatalog) Agent(name string) (server.Agent, bool) {
	return server.Agent{Name: name}, name == "ada"
}

func (roomCatalog) GroupChats() []server.GroupChat {
	return []server.GroupChat{
		{Name: "clinic", Kind: "round_robin", Participants: []string{"ada", "guest"}, MaxTurns: 2},
		{Name: "panel", Description: "Talks.", Kind: "round_robin", Participants: []string{"ada", "bert"}, Authority: "owner", MaxTurns: 2, Termination: `{"mention":"DONE"}`},
		{Name: "plan", Kind: "graph", Participants: []string{"ada", "bert"}, Graph: &server.Graph{
			Entry: "ada", Edges: []server.Edge{{From: "ada", To: "bert", If: "said.contains('ok')", Group: "g", Join: "any"}},
		}},
	}
}

func (c roomCatalog) GroupChat(name string) (server.GroupChat, bool) {
	all := c.GroupChats()
	i := slices.IndexFunc(all, func(g server.GroupChat) bool { return g.Name == name })
	if i < 0 {
		return server.GroupChat{}, false
	}
	return all[i], true
}

func (c *client) chats() behalfv1.GroupChatServiceClient {
	return behalfv1.NewGroupChatServiceClient(c)
}

func says(texts ...string) (out []modeltest.Reply) {
	for _, text := range texts {
		out = append(out, modeltest.Reply{Text: text})
	}
	return out
}

// lines are the messages of a chat: who said what.
func lines(events []*behalfv1.Event) (out []string) {
	for _, e := range events {
		if m := e.GetMessage(); m != nil && e.GetThread() == "" {
			out = append(out, e.GetSource()+": "+m.GetText())
		}
	}
	return out
}
