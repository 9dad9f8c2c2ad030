package server_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

const matrixFile = "testdata/authz_matrix.golden"

// TestWhoMayCallWhat calls every method that the server offers as every kind of
// caller and compares the answers with the golden file: what changes there is
// who may do what. A new RPC without a request here fails the test.
func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true, edit: func(c *config.Config) { c.Server.Limits.DenialsPerMinute = 1_000 }})
	m := &matrix{world: w, alice: w.as(alice)}
	for _, target := range []*behalfv1.LockTarget{
		lockUser("acme/mallory"), lockWorkload("spiffe://acme.test/frozen"), lockAgent("billing"), lockTool("list_orders"),
	} {
		succeed(t, w.as(bob).lock(t, target))
	}
	methods := m.methods()

	var rows []row
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		rows = append(rows, m.rows(name, methods[name])...)
	}
	unknown := &method{in: (&emptypb.Empty{}).ProtoReflect().Descriptor(), unknown: true}
	for _, name := range []string{"/behalf.v1.AgentService/NoSuchMethod", "/no.such.Service/Method"} {
		rows = append(rows, m.row(name, "", unknown, func() proto.Message { return &emptypb.Empty{} }))
	}

	got := table(m.callers(), rows)
	if *update {
		if err := os.WriteFile(matrixFile, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("who may do what has changed; if that is meant, write the file anew with -update (-want +got):\n%s", diff)
	}
}

// matrix makes requests about objects of alice and sends them as others.
type matrix struct {
	*world
	alice *client
	all   []caller
}

type caller struct {
	name string
	*client
}

// callers are the columns, from nobody to somebody of another tenant.
func (m *matrix) callers() []caller {
	if m.all != nil {
		return m.all
	}
	nobody, app := m.dial(nil), m.dial(m.workload(m.acme, "/app"))
	past := time.Now().Add(-2 * time.Hour)
	good := bearer(m.token(m.idp, alice, nil))
	m.all = []caller{
		{"no credential", &client{nobody, nil}},
		{"no cert, bad token", &client{nobody, bearer("bad.bad.bad")}},
		{"garbage token", &client{app, bearer("garbage")}},
		{"expired token", &client{app, bearer(m.token(m.idp, alice, map[string]any{"iat": past.Unix(), "exp": past.Add(time.Hour).Unix()}))}},
		{"workload only", &client{app, nil}},
		{"JWT-SVID only", &client{nobody, bearer(identitytest.IssueJWT(m.t, m.acme, "/app", audience).Reveal())}},
		{"workload not granted", &client{m.dial(m.workload(m.acme, "/stranger")), good}},
		{"stranger only", &client{m.dial(m.workload(m.acme, "/stranger")), nil}},
		{"carrier not allowed", &client{m.dial(m.workload(m.acme, "/batch")), good}},
		{"erin through acme", &client{app, bearer(m.token(m.other, erin, nil))}},
		{"locked workload", &client{m.dial(m.workload(m.acme, "/frozen")), nil}},
		{"in locked workload", &client{m.dial(m.workload(m.acme, "/frozen")), good}},
		{"mallory (locked)", m.as(mallory)},
		{"alice, no cert", &client{nobody, good}},
		{"alice, no scopes", &client{app, bearer(m.token(m.idp, alice, map[string]any{"scope": ""}))}},
		{"alice (support)", m.alice},
		{"bob (operator)", m.as(bob)},
		{"carol (auditor)", m.as(carol)},
		{"erin (globex, admin)", m.as(erin)},
	}
	return m.all
}

type method struct {
	in, out        protoreflect.MessageDescriptor
	client, server bool // streams
	unknown        bool
}

// methods asks the server by reflection what it offers.
func (m *matrix) methods() map[string]*method {
	m.t.Helper()
	r := &reflector{m.t, m.alice}
	found := map[string]*method{}
	for _, name := range r.services() {
		s := r.service(name)
		for i := range s.Methods().Len() {
			d := s.Methods().Get(i)
			found["/"+name+"/"+string(d.Name())] = &method{in: d.Input(), out: d.Output(), client: d.IsStreamingClient(), server: d.IsStreamingServer()}
		}
	}
	return found
}

// fresh is an id of a finished run, or a session, of alice.
func (m *matrix) fresh() *behalfv1.RunAgentResponse { return m.hello(m.alice, "") }

// requests are valid messages for each method, by what is special about them.
// Functions, because some consume what they name.
func (m *matrix) requests() map[string]map[string]func() proto.Message {
	hers := m.fresh()
	run, session := hers.GetRunId(), hers.GetSessionId()
	always := func(msg proto.Message) map[string]func() proto.Message {
		return map[string]func() proto.Message{"": func() proto.Message { return msg }}
	}
	target := &behalfv1.LockTarget{Target: &behalfv1.LockTarget_User{User: "acme/nobody"}}
	approval, grantID := "apr_"+strings.Repeat("a", 26), "grt_"+strings.Repeat("a", 26)
	customer, refund := `{"customer_id":"C-1001"}`, `{"order_id":"O-5001","amount_cents":74900,"reason":"broken"}`
	return map[string]map[string]func() proto.Message{
		"/behalf.v1.AdminService/WhoAmI":       always(&behalfv1.WhoAmIRequest{}),
		"/behalf.v1.AdminService/ReloadConfig": always(&behalfv1.ReloadConfigRequest{}),
		"/behalf.v1.AdminService/GetStatus":    always(&behalfv1.GetStatusRequest{}),
		"/behalf.v1.AdminService/Lock":         always(&behalfv1.LockRequest{Target: target, Reason: "test"}),
		"/behalf.v1.AdminService/Unlock":       always(&behalfv1.UnlockRequest{Target: target}),
		"/behalf.v1.AdminService/ListLocks":    always(&behalfv1.ListLocksRequest{}),
		"/behalf.v1.AdminService/ExplainDecision": always(&behalfv1.ExplainDecisionRequest{
			Action: "run_agent", Resource: `Agent::"triage"`,
		}),
		"/behalf.v1.AdminService/ListSigningKeys":  always(&behalfv1.ListSigningKeysRequest{}),
		"/behalf.v1.AdminService/RotateSigningKey": always(&behalfv1.RotateSigningKeyRequest{}),
		"/behalf.v1.AdminService/RevokeSigningKey": always(&behalfv1.RevokeSigningKeyRequest{KeyId: strings.Repeat("k", 43), Reason: "test"}),
		"/behalf.v1.AgentService/ListAgents":       always(&behalfv1.ListAgentsRequest{}),
		"/behalf.v1.AgentService/GetAgent": {
			"":             func() proto.Message { return &behalfv1.GetAgentRequest{Agent: "triage"} },
			"locked agent": func() proto.Message { return &behalfv1.GetAgentRequest{Agent: "billing"} },
		},
		"/behalf.v1.AgentService/RunAgent": {
			"": func() proto.Message { return &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello"} },
			"in alice's": func() proto.Message {
				return &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: session}
			},
			"locked agent": func() proto.Message { return &behalfv1.RunAgentRequest{Agent: "billing", Input: "hello"} },
			"for tenant globex": func() proto.Message {
				return &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", Tenant: "globex"}
			},
		},
		"/behalf.v1.AgentService/StreamAgent": {
			"": func() proto.Message { return &behalfv1.StreamAgentRequest{Agent: "triage", Input: "hello"} },
			"in alice's": func() proto.Message {
				return &behalfv1.StreamAgentRequest{Agent: "triage", Input: "hello", SessionId: session}
			},
		},
		"/behalf.v1.ApprovalService/ListApprovals": always(&behalfv1.ListApprovalsRequest{}),
		"/behalf.v1.ApprovalService/GetApproval":   always(&behalfv1.GetApprovalRequest{ApprovalId: approval}),
		"/behalf.v1.ApprovalService/DecideApproval": always(&behalfv1.DecideApprovalRequest{
			ApprovalId: approval, Decision: behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE,
		}),
		"/behalf.v1.AuditService/QueryAudit":  always(&behalfv1.QueryAuditRequest{}),
		"/behalf.v1.AuditService/VerifyAudit": always(&behalfv1.VerifyAuditRequest{}),
		"/behalf.v1.ConversationService/Converse": always(&behalfv1.ConverseRequest{
			Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{Target: &behalfv1.OpenConversation_Agent{Agent: "triage"}}},
		}),
		"/behalf.v1.GroupChatService/ListGroupChats":  always(&behalfv1.ListGroupChatsRequest{}),
		"/behalf.v1.GroupChatService/GetGroupChat":    always(&behalfv1.GetGroupChatRequest{GroupChat: "desk"}),
		"/behalf.v1.GroupChatService/RunGroupChat":    always(&behalfv1.RunGroupChatRequest{GroupChat: "desk", Input: "hello"}),
		"/behalf.v1.GroupChatService/StreamGroupChat": always(&behalfv1.StreamGroupChatRequest{GroupChat: "desk", Input: "hello"}),
		"/behalf.v1.RunService/CreateRun": {
			"": func() proto.Message {
				return &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: "hello"}
			},
			"in alice's": func() proto.Message {
				// A session of its own: the run goes on after the answer and would make the next caller's BUSY.
				return &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: "hello", SessionId: m.fresh().GetSessionId()}
			},
		},
		"/behalf.v1.RunService/GetRun":    always(&behalfv1.GetRunRequest{RunId: run}),
		"/behalf.v1.RunService/ListRuns":  always(&behalfv1.ListRunsRequest{}),
		"/behalf.v1.RunService/WatchRun":  always(&behalfv1.WatchRunRequest{RunId: run}),
		"/behalf.v1.RunService/SendInput": always(&behalfv1.SendInputRequest{RunId: run, Text: "yes"}),
		"/behalf.v1.RunService/CancelRun": always(&behalfv1.CancelRunRequest{RunId: run}),

		"/behalf.v1.SessionService/ListSessions": always(&behalfv1.ListSessionsRequest{}),
		"/behalf.v1.SessionService/GetSession":   always(&behalfv1.GetSessionRequest{SessionId: session}),
		"/behalf.v1.SessionService/DeleteSession": {
			"": func() proto.Message { return &behalfv1.DeleteSessionRequest{SessionId: m.fresh().GetSessionId()} },
		},
		"/behalf.v1.ToolService/ListTools": always(&behalfv1.ListToolsRequest{}),
		"/behalf.v1.ToolService/CallTool": {
			"get_customer": func() proto.Message { return &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: customer} },
			"refund 749":   func() proto.Message { return &behalfv1.CallToolRequest{Tool: "refund_order", ArgumentsJson: refund} },
			"in alice's": func() proto.Message {
				return &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: customer, SessionId: session}
			},
			"locked tool": func() proto.Message {
				return &behalfv1.CallToolRequest{Tool: "list_orders", ArgumentsJson: customer}
			},
			"no such tool": func() proto.Message { return &behalfv1.CallToolRequest{Tool: "no_such_tool", ArgumentsJson: "{}"} },
		},
		"/behalf.v1.ToolService/CheckToolCall":  always(&behalfv1.CheckToolCallRequest{Tool: "get_customer", ArgumentsJson: customer}),
		"/behalf.v1.ToolService/ReportToolCall": always(&behalfv1.ReportToolCallRequest{CallId: run + "/1", ResultJson: "{}"}),
		"/behalf.v1.ToolService/Delegate":       always(&behalfv1.DelegateRequest{Agent: "helper", Scopes: &behalfv1.Scopes{}, GrantId: grantID}),

		"/grpc.health.v1.Health/Check": {
			"server": func() proto.Message { return &healthpb.HealthCheckRequest{} },
			"named":  func() proto.Message { return &healthpb.HealthCheckRequest{Service: "behalf.v1.AgentService"} },
		},
		"/grpc.health.v1.Health/List":                               always(&healthpb.HealthListRequest{}),
		"/grpc.health.v1.Health/Watch":                              always(&healthpb.HealthCheckRequest{}),
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": always(listServices),
	}
}

var listServices = &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}

// row is a method, with what is special about the request, and the answers to
// the callers.
type row struct {
	name  string
	cells []string
}

func (m *matrix) rows(name string, d *method) (out []row) {
	m.t.Helper()
	requests := m.requests()[name]
	if len(requests) == 0 {
		m.t.Errorf("%s has no request in this test: add one, and look at what it adds to the golden file", name)
	}
	for _, special := range slices.Sorted(maps.Keys(requests)) {
		out = append(out, m.row(name, special, d, requests[special]))
	}
	return out
}

func (m *matrix) row(name, special string, d *method, request func() proto.Message) row {
	m.t.Helper()
	r := row{name: strings.TrimPrefix(name, "/")}
	if special != "" {
		r.name += " (" + special + ")"
	}
	for _, c := range m.callers() {
		msg := request()
		if msg.ProtoReflect().Descriptor().FullName() != d.in.FullName() {
			m.t.Fatalf("%s takes %s, not %s", name, d.in.FullName(), msg.ProtoReflect().Descriptor().FullName())
		}
		r.cells = append(r.cells, m.answer(c.call(m.t, name, d, msg)))
	}
	return r
}

// answer is a code with its reason; only a reason that stands for itself is
// shortened, in the legend below the table.
func (m *matrix) answer(err error) string {
	code := status.Code(err)
	if code == codes.OK {
		return "ok"
	}
	if code == codes.Internal || code == codes.Unknown {
		m.t.Errorf("got %v, want an answer that means something", err)
	}
	return constant(code) + " " + reason(err)
}

// constant is a code as the documents write it.
func constant(c codes.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// call sends one message and listens until the answer is known: to the end,
// except where a stream has none.
func (c *client) call(t *testing.T, name string, d *method, in proto.Message) error {
	ctx, cancel := context.WithTimeout(c.ctx(t), patience)
	defer cancel()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: d.client, ServerStreams: true}, name)
	if err == nil {
		err = s.SendMsg(in)
	}
	if err == nil || errors.Is(err, io.EOF) { // EOF: RecvMsg knows why
		err = errors.Join(s.CloseSend())
	}
	for err == nil {
		if err = s.RecvMsg(reply(d)); err == nil && strings.HasSuffix(name, "Health/Watch") {
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// reply is an empty message for the answer.
func reply(d *method) proto.Message {
	if d.unknown {
		return &emptypb.Empty{}
	}
	return dynamicpb.NewMessage(d.out)
}

// TestMetadataThatIsNoIdentityMakesNoCaller is the matrix's first column once
// more with everything that other products take for an identity.
func TestMetadataThatIsNoIdentityMakesNoCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	nobody := &client{w.dial(nil), metadata.Pairs(
		"x-user-id", "alice", "x-forwarded-user", "alice", "x-spiffe-id", "spiffe://acme.test/app",
		"x-forwarded-client-cert", "URI=spiffe://acme.test/app", "x-goog-authenticated-user-email", "alice@example.test", "cookie", "session=alice",
	)}

	_, err := nobody.admin().WhoAmI(nobody.ctx(t), &behalfv1.WhoAmIRequest{})

	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_REQUIRED")
}
