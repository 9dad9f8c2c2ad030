package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// opened is a world in which one person has something open of each kind, each with an
// agent of its own, and another person has one stream.
type opened struct {
	*world
	*streams
	model *modeltest.Server
	begun chan string   // names the tools that are at work
	read  chan struct{} // closed when the unread stream is to be read
}

// zoe may do everything in her tenant.
func zoe(w *world, tenant string) *client {
	p := person{"zoe", []string{"support", "manager", "auditor"}, "crm.read orders.read orders.refund audit.read ops"}
	ca, issuer := w.acme, w.idp
	if tenant == "globex" {
		ca, issuer = w.globex, w.other
	}
	return &client{
		w.dial(w.workload(ca, "/app"), grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(1<<20)),
		bearer(w.token(issuer, p, map[string]any{"jti": "zoes"})),
	}
}

// opensEverything gives the server agents and chats whose names say which stream
// they are at work in.
func opensEverything(t *testing.T) *opened {
	t.Helper()
	o := &opened{streams: newStreams(t), begun: make(chan string, 8), read: make(chan struct{})}
	set := setup{
		optional: true, spies: []tools.Tool{holdTool("slow_read", tools.ReadOnly(), o.begun, nil)},
		policies: map[string]string{"chats.cedar": `@id("chats") permit (principal, action == Action::"run_group_chat", resource);`},
		edit: func(c *config.Config) {
			plain := c.Agents["support"]
			plain.Tools, plain.Handoffs = []string{"spy/*"}, nil
			caller := plain
			caller.Model = "calls"
			for _, name := range []string{"talker", "streamer", "lone", "member", "roomer", "unaryroomer", "bystander"} {
				c.Agents[name] = plain
			}
			c.Agents["caller"] = caller
			chat := func(members ...string) config.GroupChat {
				g := config.GroupChat{Kind: config.RoundRobin, MaxTurns: 2}
				for _, name := range members {
					g.Participants = append(g.Participants, config.Participant{Name: name})
				}
				return g
			}
			c.GroupChats = map[string]config.GroupChat{"room": chat("roomer"), "waiting": chat("unaryroomer"), "inner": chat("member"), "outer": chat("inner")}
			m := c.Models["default"]
			m.Model = "calls"
			c.Models["calls"] = m
		},
	}
	o.world, o.model = hanging(t, set)
	o.model.Always("calls", modeltest.Reply{Text: "Let me see. ", Calls: []agents.CallRequest{{ID: "c1", Tool: "slow_read", Arguments: "{}"}}})
	return o
}

// all opens everything as c.
func (o *opened) all(t *testing.T, c *client, tenant string) {
	t.Helper()
	o.converse("converse", c, "talker")
	o.agent("stream", c, "streamer")
	o.watch("watch", c, o.first["stream"].GetRunId())
	o.chat("room", c)
	o.chat("outer", c)
	o.agent("tool", c, "caller")
	until(t, "the tool", o.begun)
	o.waits("run", func(ctx context.Context) error {
		_, err := c.agents().RunAgent(ctx, &behalfv1.RunAgentRequest{Agent: "lone", Input: "hello"})
		return err
	}, c)
	o.waits("chat", func(ctx context.Context) error {
		_, err := behalfv1.NewGroupChatServiceClient(c).RunGroupChat(ctx, &behalfv1.RunGroupChatRequest{GroupChat: "waiting", Input: "hello"})
		return err
	}, c)
	o.beside("call", c, func(ctx context.Context) error {
		_, err := c.tools().CallTool(ctx, &behalfv1.CallToolRequest{Tool: "slow_read", ArgumentsJson: "{}"})
		return err
	})
	until(t, "the tool", o.begun)
	o.health(c)
	o.reflection(c)
	o.audit(c, tenant)
}

// beside makes a call in a goroutine of its own, which ends with the call.
func (o *opened) beside(name string, c *client, do func(context.Context) error) {
	ctx, leave := context.WithCancel(c.ctx(o.streams.t))
	o.open[name] = leave
	go func() { o.ended <- ending{name, do(ctx)} }()
}

// waits is a call that waits for a run; it returns when the model is asked.
func (o *opened) waits(name string, do func(context.Context) error, c *client) {
	o.streams.t.Helper()
	before := o.model.Count()
	o.beside(name, c, do)
	o.eventually(func() bool { return o.model.Count() > before })
}

func (o *opened) chat(name string, c *client) {
	o.streams.t.Helper()
	ctx, leave := context.WithCancel(c.ctx(o.streams.t))
	s, err := behalfv1.NewGroupChatServiceClient(c).StreamGroupChat(ctx, &behalfv1.StreamGroupChatRequest{GroupChat: name, Input: "hello"})
	succeed(o.streams.t, err)
	follow(o.streams, name, leave, s)
}

// drain receives until the end.
func drain[M any](s interface{ Recv() (M, error) }) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

func (o *opened) health(c *client) {
	o.streams.t.Helper()
	open := make(chan error, 1)
	o.beside("health", c, func(ctx context.Context) error {
		s, err := healthpb.NewHealthClient(c).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		open <- err
		return drain(s)
	})
	succeed(o.streams.t, until(o.streams.t, "health", open))
}

func (o *opened) reflection(c *client) {
	o.streams.t.Helper()
	open := make(chan error, 1)
	o.beside("reflection", c, func(ctx context.Context) error {
		s, err := reflectionpb.NewServerReflectionClient(c).ServerReflectionInfo(ctx)
		if err == nil {
			err = s.Send(listServices)
		}
		if err == nil {
			_, err = s.Recv()
		}
		open <- err
		return drain(s)
	})
	succeed(o.streams.t, until(o.streams.t, "reflection", open))
}

// audit asks for more than the client takes, and reads on when it is told to.
func (o *opened) audit(c *client, tenant string) {
	t := o.streams.t
	t.Helper()
	for range 60 {
		_, err := c.admin().Lock(c.ctx(t), &behalfv1.LockRequest{Target: lockUser(tenant + "/nobody"), Reason: strings.Repeat("long ", 800)})
		succeed(t, err)
	}
	open := make(chan error, 1)
	o.beside("audit", c, func(ctx context.Context) error {
		s, err := c.audit().QueryAudit(ctx, &behalfv1.QueryAuditRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		open <- err
		select {
		case <-o.read:
		case <-ctx.Done():
		}
		return drain(s)
	})
	succeed(t, until(t, "the audit log", open))
}

// everyKind is all that is opened.
var everyKind = []string{"converse", "stream", "watch", "room", "outer", "tool", "run", "chat", "call", "health", "reflection", "audit"}

// TestALockCutsWhatItCovers locks each kind of target beside each kind of thing that
// can be open: what the target is at work in ends, soon, with its reason and a
// row, and nothing else does.
func TestALockCutsWhatItCovers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tenant string
		target func(*opened) *behalfv1.LockTarget
		ends   []string
	}{
		"user":           {"acme", func(*opened) *behalfv1.LockTarget { return lockUser("acme/zoe") }, everyKind},
		"workload":       {"acme", func(*opened) *behalfv1.LockTarget { return lockWorkload("spiffe://acme.test/app") }, everyKind},
		"token":          {"acme", func(*opened) *behalfv1.LockTarget { return lockToken("zoes") }, everyKind},
		"tenant":         {"globex", func(*opened) *behalfv1.LockTarget { return lockTenant("globex") }, everyKind},
		"everything":     {"acme", func(*opened) *behalfv1.LockTarget { return lockEverything() }, append([]string{"other"}, everyKind...)},
		"agent":          {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("streamer") }, []string{"stream", "watch"}},
		"agent talked":   {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("talker") }, []string{"converse"}},
		"agent waited":   {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("lone") }, []string{"run"}},
		"nested member":  {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("member") }, []string{"outer"}},
		"nested chat":    {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("inner") }, []string{"outer"}},
		"chat":           {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("room") }, []string{"room"}},
		"chat's member":  {"acme", func(*opened) *behalfv1.LockTarget { return lockAgent("unaryroomer") }, []string{"chat"}},
		"tool":           {"acme", func(*opened) *behalfv1.LockTarget { return lockTool("slow_read") }, []string{"tool", "call"}},
		"session":        {"acme", func(o *opened) *behalfv1.LockTarget { return lockSession(o.first["stream"].GetSessionId()) }, []string{"stream", "watch"}},
		"chat's session": {"acme", func(o *opened) *behalfv1.LockTarget { return lockSession(o.first["outer"].GetSessionId()) }, []string{"outer"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := opensEverything(t)
			operator := &client{o.dial(nil), bearer(o.token(o.idp, bob, nil))} // without a workload
			victim := zoe(o.world, c.tenant)
			o.all(t, victim, c.tenant)
			o.agent("other", &client{o.dial(nil), bearer(o.token(o.idp, dave, nil))}, "bystander")
			target := c.target(o)

			succeed(t, operator.lock(t, target))

			if slices.Contains(c.ends, "audit") {
				close(o.read)
			}
			o.wantEnd(codes.PermissionDenied, "PRINCIPAL_LOCKED", c.ends...)
			succeed(t, operator.unlock(t, target))
			auditor := operator
			if c.tenant == "globex" {
				auditor = o.as(erin)
			}
			if rows := auditor.cuts(t, behalfv1.ErrorReason_ERROR_REASON_PRINCIPAL_LOCKED); len(rows) != len(c.ends) {
				t.Errorf("got %d rows of %d cuts: %q", len(rows), len(c.ends), rows)
			}
		})
	}
}
