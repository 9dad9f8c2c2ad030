package server_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/audit"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/runs/runstest"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/tools"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// parts is a server put together by hand, for what cannot be made to happen
// from outside: an audit log that fails once, an operation that panics.
type parts struct {
	*world
	sink    *flaky
	effects atomic.Int64
	model   agents.Model // of the one agent
}

// flaky is an audit log in memory that loses the rows which lose picks.
type flaky struct {
	*audit.Memory
	lose func(*audit.Record) bool
}

func (f *flaky) Append(e audit.Entry) *audit.Receipt {
	if f.lose != nil && f.lose(e.Record) {
		r := audit.NewReceipt()
		r.Settle(errors.New("the disk is full"))
		return r
	}
	return f.Memory.Append(e)
}

func newParts(t *testing.T, m agents.Model, limits interceptors.Limits) *parts {
	t.Helper()
	p := &parts{
		model: m,
		world: &world{t: t, dir: t.TempDir(), log: &logBuffer{}, acme: identitytest.NewCAOf(t, acmeDomain), idp: newIssuer(t, acmeIssuer)},
		sink:  &flaky{Memory: audit.NewMemory(nil)},
	}
	p.source = identitytest.NewSource(t, p.acme, "/behalf")
	registry := must(tools.NewRegistry(refund(&p.effects)))(t)
	guard := must(policy.NewGuard(policy.GuardConfig{Sink: p.sink, DigestKey: func(string) []byte { return []byte("a key of this test") }}))(t)
	guard.Swap(policy.NewEngine(p.policies(registry)))
	gate := must(tools.NewGate(tools.GateConfig{Registry: registry, Guard: guard, Journal: p.sink, Agent: "payer", Tools: []string{"pay"}}))(t)
	payer := must(agents.NewAssistant(agents.AssistantConfig{Name: "payer", Model: p.model, Toolbox: gate}))(t)
	desk := must(team.NewDesk(team.DeskConfig{Entry: "payer", Members: []team.Member{{Agent: payer}}}))(t)
	index := runstest.NewIndex()
	engine := must(runs.NewEngine(runs.Config{
		Log: runs.NewMemory(), Index: index, Grants: index, Voices: index, Targets: func(string, bool) (agents.Agent, bool) { return desk, true },
	}))(t)
	peers := must(identity.NewPeers(identity.PeersConfig{
		Source: p.source, Tenants: map[string]string{acmeDomain: "acme"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://" + acmeDomain + "/**", Issuers: []string{acmeIssuer}}},
	}))(t)
	verifier := must(identity.NewVerifier(identity.VerifierConfig{Issuers: []identity.Issuer{p.idp.Issuer(audience, "acme")}}))(t)
	s := must(server.New(server.Config{
		TLS: peers.ServerTLS(identity.CertificateRequired), Guard: guard, Runs: engine, Catalog: oneAgent{}, Admin: panickingAdmin{},
		Identify: must(identity.NewIdentifier(identity.IdentifierConfig{Peers: peers, Verifier: verifier}))(t),
		Limits:   limits,
		Log:      slog.New(slog.NewTextHandler(p.log, nil)), Metrics: prometheus.NewRegistry(), Now: time.Now, GrantID: func() string { return "grt_" + strings.Repeat("a", 26) },
	}))(t)
	p.serve(s)
	return p
}

// must fails the test when a part cannot be made.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (p *parts) policies(r *tools.Registry) *policy.Set {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "all.cedar"), []byte(`@id("all") permit (principal, action, resource);`), 0o600); err != nil {
		p.t.Fatal(err)
	}
	actions := interceptors.Actions()
	return must(policy.Load(policy.Config{
		Dir: p.dir, Tools: r.Schemas(), Actions: slices.Sorted(maps.Keys(actions)), Resources: actions, Agents: []string{"payer"},
	}))(p.t)
}

func (p *parts) serve(s *server.Server) {
	p.t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(p.t)
	p.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }() // ends with the test
	p.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the server ended with %v", err)
		}
	})
}

// payOnce is a model that pays and then says so.
type payOnce struct{}

func (payOnce) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		reply := &agents.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
		if len(p.Messages) > 1 {
			yield(agents.Chunk{Text: "paid", Done: &agents.Reply{}}, nil)
			return
		}
		yield(agents.Chunk{Done: reply}, nil)
	}
}

type oneAgent struct{}

func (oneAgent) Agents() []server.Agent            { return nil }
func (oneAgent) Agent(string) (server.Agent, bool) { return server.Agent{Name: "payer"}, true }
func (oneAgent) GroupChats() []server.GroupChat    { return nil }

func (oneAgent) GroupChat(string) (server.GroupChat, bool) { return server.GroupChat{}, false }

type panickingAdmin struct{ server.Admin }

func (panickingAdmin) Operator(string) bool                                  { return true }
func (panickingAdmin) Reload(context.Context) (server.Reloaded, error)       { panic(canary) }
func (panickingAdmin) Status(context.Context, string) (server.Status, error) { panic(canary) }

// outcomes are the rows that say how a call of the action ended.
func (p *parts) outcomes(action string) (out []audit.Record) {
	return slices.DeleteFunc(p.sink.Records(), func(r audit.Record) bool { return r.Action != action || r.Phase != audit.Outcome })
}

func TestAHandlerThatPanicsShowsNothingAndIsRecordedAsFailed(t *testing.T) {
	t.Parallel()
	p := newParts(t, payOnce{}, interceptors.Limits{})
	b := p.as(bob)

	_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

	wantError(t, err, codes.Internal, "INTERNAL")
	if strings.Contains(status.Convert(err).String(), canary) || strings.Contains(p.log.String(), canary) {
		t.Errorf("got %v and the log\n%s\nwant nothing of what the handler panicked with", err, p.log)
	}
	if !strings.Contains(p.log.String(), "parts_test.go") {
		t.Error("the log does not say where it panicked")
	}
	if out := p.outcomes("reload_config"); len(out) != 1 || out[0].Outcome != "failed" || out[0].Reason != "INTERNAL" {
		t.Errorf("got outcomes %v, want one, failed: without it the call reads like one that a crash cut off", out)
	}
}

// The run's decision overlaps with the model call. If it is lost there must be no
// effect, even when the tool's own decision could be recorded again.
func TestARunWhoseDecisionIsLostCallsNoTool(t *testing.T) {
	t.Parallel()
	p := newParts(t, payOnce{}, interceptors.Limits{})
	p.sink.lose = func(r *audit.Record) bool { return r.Action == "run_agent" && r.Phase == audit.Decision }
	b := p.as(bob)

	_, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "payer", Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "payer", Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, detached := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "payer", Input: "pay", ContinueOnDisconnect: true})
	wantError(t, detached, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = b.runs().CreateRun(b.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "payer"}, Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")

	if p.effects.Load() > 0 || len(events) > 0 {
		t.Errorf("got %d effects and %d events, want none", p.effects.Load(), len(events))
	}
	list, err := b.runs().ListRuns(b.ctx(t), &behalfv1.ListRunsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.GetRuns() {
		if r.GetState() != behalfv1.RunState_RUN_STATE_CANCELLED {
			t.Errorf("got run %v, want none that goes on", r)
		}
	}

	p.sink.lose = nil
	if _, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "payer", Input: "pay"}); err != nil || p.effects.Load() != 1 {
		t.Errorf("got %v and %d effects once the log is back, want one", err, p.effects.Load())
	}
}

// An outcome that cannot be recorded is not reported as done.
func TestAnEffectWhoseOutcomeIsLostIsNotReportedAsDone(t *testing.T) {
	t.Parallel()
	p := newParts(t, payOnce{}, interceptors.Limits{})
	p.sink.lose = func(r *audit.Record) bool { return r.Phase == audit.Outcome && r.Action == "run_agent" }
	b := p.as(bob)

	_, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "payer", Input: "pay"})

	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
}

// talker is a model that never stops, until its context does.
type talker struct{}

func (talker) Generate(ctx context.Context, _ *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	word := strings.Repeat("x", 1000) + " "
	return func(yield func(agents.Chunk, error) bool) {
		for ctx.Err() == nil {
			if !yield(agents.Chunk{Text: word}, nil) {
				return
			}
		}
		yield(agents.Chunk{}, ctx.Err())
	}
}

// A client that reads nothing must not hold the run, nor whoever cancels it.
func TestAClientThatReadsNothingHasLeft(t *testing.T) {
	t.Parallel()
	p := newParts(t, talker{}, interceptors.Limits{BlockedSend: 300 * time.Millisecond})
	b := p.as(bob)
	_, first, leave := b.open(t, &behalfv1.StreamAgentRequest{Agent: "payer", Input: "talk"}) // and does not read on
	defer leave()

	if e := b.finished(t, first.GetRunId()); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v, want the run cancelled", e)
	}
}

func TestAStreamThatAsksNothingIsEnded(t *testing.T) {
	t.Parallel()
	p := newParts(t, payOnce{}, interceptors.Limits{FirstMessage: 300 * time.Millisecond})
	b := p.as(bob)
	s, err := b.NewStream(b.ctx(t), &grpc.StreamDesc{ServerStreams: true}, behalfv1.AgentService_StreamAgent_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}

	err = s.RecvMsg(&behalfv1.StreamAgentResponse{}) // and nothing is sent

	wantError(t, err, codes.DeadlineExceeded, "DEADLINE_EXCEEDED")
}
