package server_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// objects are ids that requests name things by, by the field's name.
type objects map[protoreflect.Name]string

// absent are ids of the right form that nobody has.
func absent() objects {
	tail := strings.Repeat("a", 26)
	return objects{"run_id": "run_" + tail, "session_id": "ses_" + tail, "approval_id": "apr_" + tail, "grant_id": "grt_" + tail, "call_id": "run_" + tail + "/7"}
}

// waiting makes a run of alice that waits for an approval and gives its ids.
func (c *cashier) waiting() objects {
	c.t.Helper()
	a, auditor := c.as(alice), c.as(bob)
	approval, run := a.untilItWaits(c.t)
	r, err := a.runs().GetRun(a.ctx(c.t), &behalfv1.GetRunRequest{RunId: run})
	succeed(c.t, err)
	rows := auditor.records(c.t, &behalfv1.QueryAuditRequest{RunId: run, Tool: "pay"})
	if len(rows) == 0 || rows[0].GetGrantId() == "" || rows[0].GetCallId() == "" {
		c.t.Fatalf("got %v, want the call that waits", rows)
	}
	return objects{"run_id": run, "session_id": r.GetRun().GetSessionId(), "approval_id": approval, "grant_id": rows[0].GetGrantId(), "call_id": rows[0].GetCallId()}
}

// naming are copies of a request, each with one field set that names an object.
func (o objects) naming(request proto.Message) map[protoreflect.Name]proto.Message {
	out := map[protoreflect.Name]proto.Message{}
	fields := request.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if id := o[f.Name()]; id != "" && f.Kind() == protoreflect.StringKind {
			one := proto.Clone(request)
			one.ProtoReflect().Set(f, protoreflect.ValueOfString(id))
			out[f.Name()] = one
		}
	}
	if q, ok := request.(*behalfv1.ConverseRequest); ok {
		open, _ := proto.Clone(q.GetOpen()).(*behalfv1.OpenConversation)
		open.SessionId = o["session_id"]
		out["session_id"] = &behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: open}}
	}
	if q, ok := request.(*behalfv1.ExplainDecisionRequest); ok {
		one, _ := proto.Clone(q).(*behalfv1.ExplainDecisionRequest)
		one.Action, one.Resource = "get_session", `Session::"`+o["session_id"]+`"`
		out["resource"] = one
	}
	return out
}

// answers calls a method and gives all that it answers, as text.
func (c *client) answers(t *testing.T, name string, d *method, in proto.Message) (text string, err error) {
	s, err := c.NewStream(c.ctx(t), &grpc.StreamDesc{ClientStreams: d.client, ServerStreams: true}, name)
	if err == nil {
		err = s.SendMsg(in)
	}
	if err == nil || errors.Is(err, io.EOF) { // EOF: RecvMsg knows why
		err = errors.Join(s.CloseSend())
	}
	for err == nil {
		out := reply(d)
		if err = s.RecvMsg(out); err == nil {
			text += protojson.Format(out)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return text, err
}

// filters are fields that narrow a list: an object that is not there is an empty list.
var filters = []string{
	"ApprovalService/ListApprovals run_id", "RunService/ListRuns session_id", "AuditService/QueryAudit run_id", "AuditService/QueryAudit session_id",
}

// TestAnotherTenantsObjectsAreAsAbsentAsThoseThatNeverWere asks, for every RPC and
// every field of it that names an object, about one of alice's as somebody who may
// everything in another tenant, and about one that is nobody's: the answers are the same.
func TestAnotherTenantsObjectsAreAsAbsentAsThoseThatNeverWere(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{optional: true}, pay("c1"))
	m := &matrix{world: w.world, alice: w.as(alice)}
	hers, nobodys, erin := w.waiting(), absent(), w.as(erin)
	asked := 0

	for name, d := range m.methods() {
		for _, request := range m.requests()[name] {
			base := request()
			theirs, none := hers.naming(base), nobodys.naming(base)
			for field, ask := range theirs {
				asked++
				row := strings.TrimPrefix(name, "/behalf.v1.") + " " + string(field)
				answer, err := erin.answers(t, name, d, ask)
				same, wantErr := erin.answers(t, name, d, none[field])

				got, want := status.Convert(err), status.Convert(wantErr)
				if got.Code() != want.Code() || got.Message() != want.Message() || reason(err) != reason(wantErr) {
					t.Errorf("%s: got %v for alice's and %v for nobody's, want the same", row, err, wantErr)
				}
				switch isFilter := slices.Contains(filters, row); {
				case got.Code() == codes.Unimplemented && reason(err) == "UNIMPLEMENTED":
				case field == "resource": // a question, which is answered
				case isFilter && (err != nil || answer != same):
					t.Errorf("%s: got %v with %s, want an empty list", row, err, answer)
				case !isFilter && got.Code() != codes.NotFound: // TOOL_UNKNOWN where the tool is not there either
					t.Errorf("%s: got %v, want NOT_FOUND", row, err)
				}
				for _, id := range hers {
					if strings.Contains(answer, id) && field != "resource" {
						t.Errorf("%s: the answer names %s", row, id)
					}
				}
			}
		}
	}

	t.Logf("asked about %d fields", asked)
	if asked < 15 {
		t.Errorf("asked about %d fields, want all that name something", asked)
	}
	m.thereFor(hers)
}

// thereFor shows that the objects are there for who may see them.
func (m *matrix) thereFor(hers objects) {
	m.t.Helper()
	a, b := m.alice, m.as(bob)
	_, err := a.runs().GetRun(a.ctx(m.t), &behalfv1.GetRunRequest{RunId: hers["run_id"]})
	succeed(m.t, err)
	_, err = a.sessions().GetSession(a.ctx(m.t), &behalfv1.GetSessionRequest{SessionId: hers["session_id"]})
	succeed(m.t, err)
	_, err = b.approvals().GetApproval(b.ctx(m.t), &behalfv1.GetApprovalRequest{ApprovalId: hers["approval_id"]})
	succeed(m.t, err)
	if rows := b.records(m.t, &behalfv1.QueryAuditRequest{SessionId: hers["session_id"]}); len(rows) == 0 {
		m.t.Error("the session has no rows, so that nobody sees them proves nothing")
	}
}

// twins are two people of one name, in two tenants that share nothing.
func (w *world) twins() map[string]*client {
	sam := person{"sam", []string{"support", "manager", "auditor"}, "crm.read orders.read orders.refund audit.read ops"}
	return map[string]*client{
		"acme":   {w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.idp, sam, nil))},
		"globex": {w.dial(w.workload(w.globex, "/app")), bearer(w.token(w.other, sam, nil))},
	}
}

// TestPeopleOfOneNameInTwoTenantsShareNothing does the same as both: their runs,
// sessions, repeated requests, limits, policies, locks and audit chains are apart,
// and everything that is kept has the tenant that was verified.
func TestPeopleOfOneNameInTwoTenantsShareNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{
		embedded: true, edit: withHTTP,
		spies: []tools.Tool{
			tools.Func("look_up", "Looks.", func(context.Context, none) (string, error) { return "seen", nil }, tools.ReadOnly()),
			tools.Func("peer", "Looks.", func(context.Context, none) (string, error) { return "seen", nil }, tools.ReadOnly()),
		},
		policies: map[string]string{
			"twice.cedar":                `@id("twice") @rate("2/1h") forbid (principal, action == Action::"call_tool", resource == Tool::"look_up");`,
			"tenants/globex/never.cedar": `@id("never") forbid (principal, action == Action::"call_tool", resource == Tool::"peer");`,
		},
	})
	both := w.twins()
	sessions, runs := map[string]string{}, map[string]string{}
	call := func(tenant, tool string) error {
		c := both[tenant]
		_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: tool, ArgumentsJson: "{}"})
		return err
	}

	for tenant, c := range both {
		r, err := c.runs().CreateRun(c.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: "hello", RequestId: "the-same-id"})
		succeed(t, err)
		runs[tenant], sessions[tenant] = r.GetRunId(), r.GetSessionId()
		c.finished(t, r.GetRunId())
		for range 2 {
			succeed(t, call(tenant, "look_up"))
		}
		wantError(t, call(tenant, "look_up"), codes.ResourceExhausted, "RATE_LIMITED")
	}
	succeed(t, call("acme", "peer"))
	wantError(t, call("globex", "peer"), codes.PermissionDenied, "POLICY_DENIED")
	for tenant, c := range both {
		l, err := c.sessions().ListSessions(c.ctx(t), &behalfv1.ListSessionsRequest{})
		if err != nil || len(l.GetSessions()) != 1 || l.GetSessions()[0].GetSessionId() != sessions[tenant] {
			t.Errorf("%s: got %v, %v, want its own session", tenant, l, err)
		}
		for _, r := range c.records(t, &behalfv1.QueryAuditRequest{User: "sam"}) {
			if r.GetTenant() != tenant || r.GetRunId() != "" && r.GetRunId() == runs[map[string]string{"acme": "globex", "globex": "acme"}[tenant]] {
				t.Errorf("%s: got %v, want its own rows", tenant, r)
			}
		}
	}
	succeed(t, both["acme"].lock(t, lockTool("peer")))
	succeed(t, w.as(bob).lock(t, lockUser("acme/sam")))
	wantError(t, call("acme", "peer"), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	wantError(t, call("globex", "peer"), codes.PermissionDenied, "POLICY_DENIED")

	metrics := string(scrape(t, w.http))
	w.stop()
	w.wantKeptApart(sessions, runs)
	for _, private := range []string{"acme", "globex", "sam", "bob", "look_up", sessions["acme"], runs["globex"]} {
		if strings.Contains(metrics, private) {
			t.Errorf("the metrics name %q", private)
		}
	}
	if !strings.Contains(metrics, `grpc_method="CallTool"`) {
		t.Error("there are no metrics of the calls, so that nobody is named in them proves nothing")
	}
}

// wantKeptApart looks at what is on the disk.
func (w *world) wantKeptApart(sessions, runs map[string]string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", w.db())
	succeed(w.t, err)
	defer db.Close()
	list := func(query string) string {
		rows, err := db.QueryContext(w.t.Context(), query)
		succeed(w.t, err)
		defer rows.Close()
		var out []string
		for rows.Next() {
			var s string
			succeed(w.t, rows.Scan(&s))
			out = append(out, s)
		}
		succeed(w.t, rows.Err())
		return strings.Join(out, " ")
	}
	for _, tenant := range []string{"acme", "globex"} {
		other := map[string]string{"acme": "globex", "globex": "acme"}[tenant]
		if got, want := list(`SELECT name FROM names WHERE tenant = '`+tenant+`'`), sessions[other]; !strings.Contains(got, sessions[tenant]) || strings.Contains(got, want) {
			w.t.Errorf("%s: got names %q", tenant, got)
		}
		if got := list(`SELECT run_id FROM requests WHERE tenant = '` + tenant + `'`); got != runs[tenant] {
			w.t.Errorf("%s: got requests of %q, want of %q", tenant, got, runs[tenant])
		}
		for _, table := range []string{"runs", "sessions", "grants", "audit"} {
			if list(`SELECT count(*) FROM `+table+` WHERE tenant = '`+tenant+`'`) == "0" {
				w.t.Errorf("%s: no row in %s", tenant, table)
			}
		}
		if got := list(`SELECT bucket FROM spends`); !strings.Contains(got, tenant+"/sam") {
			w.t.Errorf("got buckets %q, want one of %s", got, tenant)
		}
	}
	if got := list(`SELECT DISTINCT tenant FROM audit ORDER BY tenant`); got != "acme globex" && got != "acme globex system" {
		w.t.Errorf("got audit chains %q", got)
	}
	found := allOfIt{}
	found.disk(w.t, w)
	for tenant, session := range sessions {
		subject := regexp.MustCompile(`behalf\.s\.\d\d\.([a-z]+)\.` + session)
		seen := map[string]bool{}
		for _, text := range found {
			for _, m := range subject.FindAllSubmatch(text, -1) {
				seen[string(m[1])] = true
			}
		}
		if len(seen) != 1 || !seen[tenant] {
			w.t.Errorf("got the session's subject under %v, want under %s", seen, tenant)
		}
	}
}

// TestTrustDomainAndIssuerMustAgreeOnTheTenant has a workload of acme that may
// present the users of both issuers.
func TestTrustDomainAndIssuerMustAgreeOnTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	gateway := w.dial(w.workload(w.acme, "/gateway"))

	for name, row := range map[string]struct {
		token string
		code  codes.Code
		why   string
	}{
		"its own":   {w.token(w.idp, alice, nil), codes.OK, ""},
		"another's": {w.token(w.other, erin, nil), codes.PermissionDenied, "TENANT_MISMATCH"},
	} {
		c := &client{gateway, bearer(row.token)}
		_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})
		if status.Code(err) != row.code || reason(err) != row.why {
			t.Errorf("%s: got %v, want %s %s", name, err, row.code, row.why)
		}
	}
}
