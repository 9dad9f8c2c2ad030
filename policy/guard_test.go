package policy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// log is a sink that keeps what it gets and answers as it is told.
type log struct {
	mu      sync.Mutex
	entries []audit.Entry
	hang    bool
	err     error
	held    []*audit.Receipt
}

func (l *log) Append(e audit.Entry) *audit.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := audit.NewReceipt()
	if l.hang {
		l.held = append(l.held, r)
	} else {
		r.Settle(l.err)
	}
	if l.err == nil {
		l.entries = append(l.entries, e)
	}
	return r
}

func (l *log) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hang = false
	for _, r := range l.held {
		r.Settle(nil)
	}
	l.held = nil
}

// rows prints the log: phase, decision or outcome, reason.
func (l *log) rows() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rows []string
	for _, e := range l.entries {
		rows = append(rows, strings.Join(strings.Fields(string(e.Record.Phase)+" "+e.Record.Decision+e.Record.Outcome+" "+e.Record.Reason), " "))
	}
	return strings.Join(rows, ", ")
}

func (l *log) record(i int) *audit.Record { return l.entries[i].Record }

type desk struct {
	*Guard
	log    *log
	now    time.Time
	alarms []Alarm
}

func newDesk(t testing.TB, src string) *desk {
	t.Helper()
	d := &desk{log: &log{}, now: noon()}
	g, err := NewGuard(GuardConfig{
		Sink: d.log, Clock: func() time.Time { return d.now },
		DigestKey: func(tenant string) []byte {
			if tenant == "keyless" {
				return nil
			}
			return []byte("key of " + tenant)
		},
		OnAlarm: func(_ context.Context, a Alarm) { d.alarms = append(d.alarms, a) },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Guard = g
	g.Swap(engineOf(t, src))
	return d
}

func wantFault(t testing.TB, err error, code codes.Code, reason fault.Reason) *fault.Error {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != code || f.Reason != reason {
		t.Fatalf("got %v, want %v %s", err, code, reason)
	}
	return f
}

func (d *desk) wantRows(t testing.TB, want string) {
	t.Helper()
	if got := d.log.rows(); got != want {
		t.Errorf("got rows %q, want %q", got, want)
	}
}

const okCall = `{"id":"c","note":"secret"}`

func TestAnAllowedCallHasADurableDecisionAndAnOutcome(t *testing.T) {
	d := newDesk(t, permitAll+`@id("note") @redact("args:$.note, result:$.ssn") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`)

	p, err := d.Begin(t.Context(), call("get_customer", okCall))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(time.Second)
	result, err := p.Redact(json.RawMessage(`{"ssn":"1"}`))
	p.Done(t.Context(), Result{Outcome: Succeeded, Digest: d.Digest("acme", result)})
	p.Done(t.Context(), Result{Outcome: Failed})

	if err != nil || string(result) != `{"ssn":"[redacted]"}` || string(p.SentArguments()) != `{"id":"c","note":"[redacted]"}` {
		t.Errorf("got result %s and arguments %s (%v)", result, p.SentArguments(), err)
	}
	if err := p.Settled(t.Context()); err != nil {
		t.Error(err)
	}
	d.wantRows(t, "decision allow, outcome succeeded")
	decision, outcome := d.log.record(0), d.log.record(1)
	if decision.ArgumentsDigest != d.Digest("acme", p.SentArguments()) || decision.RedactedArguments != string(p.SentArguments()) {
		t.Errorf("got digest %s of %s, want those of the sent arguments", decision.ArgumentsDigest, decision.RedactedArguments)
	}
	if outcome.CallID != decision.CallID || outcome.Duration != int64(time.Second) || outcome.ResultDigest == "" || outcome.PolicyRevision != d.Revision() {
		t.Errorf("got outcome %+v", outcome)
	}
}

func TestADenialIsDurableAndSaysWhatToDo(t *testing.T) {
	d := newDesk(t, permitAll+`@id("no-bob-rule") forbid (principal, action, resource == Tool::"get_customer"); @id("note") @redact("args:$.note") forbid (principal in Role::"x", action == Action::"call_tool", resource == Tool::"get_customer");`)

	p, err := d.Begin(t.Context(), call("get_customer", okCall))

	f := wantFault(t, err, codes.PermissionDenied, fault.PolicyDenied)
	if p != nil || f.Meta("policy_revision") != d.Revision() || f.Meta("decision_id") != "run_1/7" || f.Meta("tool") != "get_customer" {
		t.Errorf("got permit %v and %v", p, f.GRPCStatus().Details())
	}
	if strings.Contains(f.Message, "bob") || f.Message == "" {
		t.Errorf("got message %q", f.Message)
	}
	d.wantRows(t, "decision deny POLICY_DENIED")
	r := d.log.record(0)
	if r.PolicyIDs[0] != "no-bob-rule" || len(d.log.entries[0].Reserve) != 0 {
		t.Errorf("got %+v", d.log.entries[0])
	}
	if strings.Contains(r.RedactedArguments, "secret") {
		t.Errorf("got %s: the record of a denial shows what a policy may take out", r.RedactedArguments)
	}
}

func TestAPolicyErrorIsUnavailableAndAlarms(t *testing.T) {
	d := newDesk(t, permitAll)

	_, err := d.Begin(t.Context(), call("get_customer", `{"id":5}`))

	f := wantFault(t, err, codes.Unavailable, fault.PolicyError)
	d.wantRows(t, "decision deny POLICY_ERROR")
	if len(d.alarms) != 1 || d.alarms[0].Err == nil || f.RetryAfter() != 0 {
		t.Errorf("got alarms %v and retry %v", d.alarms, f.RetryAfter())
	}
}

func TestAnExpiredGrantIsRefusedBeforePolicyIsAsked(t *testing.T) {
	d := newDesk(t, permitAll)
	d.now = noon().Add(time.Hour)

	_, err := d.Begin(t.Context(), call("get_customer", okCall))

	wantFault(t, err, codes.Unauthenticated, fault.CredentialExpired)
	d.wantRows(t, "decision deny CREDENTIAL_EXPIRED")
}

func TestAGuardWithoutPolicyDeniesAndRecords(t *testing.T) {
	l := &log{}
	g, err := NewGuard(GuardConfig{Sink: l, DigestKey: func(string) []byte { return []byte("k") }, Clock: noon})
	if err != nil {
		t.Fatal(err)
	}

	_, err = g.Begin(t.Context(), call("get_customer", okCall))

	wantFault(t, err, codes.Unavailable, fault.PolicyError)
	if l.rows() != "decision deny POLICY_ERROR" || g.Revision() != "" {
		t.Errorf("got rows %q, revision %q", l.rows(), g.Revision())
	}
}

func TestAGuardNeedsItsParts(t *testing.T) {
	for _, c := range []GuardConfig{{}, {Sink: &log{}}, {DigestKey: func(string) []byte { return nil }}} {
		if _, err := NewGuard(c); err == nil {
			t.Errorf("got a guard from %+v", c)
		}
	}
}

// effects counts what happens behind Do.
func effects(n *int) func(context.Context) (Result, error) {
	return func(context.Context) (Result, error) {
		*n++
		return Result{Outcome: Succeeded}, nil
	}
}

func TestAHangUpDoesNotGetRidOfADenial(t *testing.T) {
	d := newDesk(t, `@id("f") forbid (principal, action, resource);`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := d.Begin(ctx, call("get_customer", okCall))

	wantFault(t, err, codes.PermissionDenied, fault.PolicyDenied)
	d.wantRows(t, "decision deny POLICY_DENIED")
}

func TestADenialIsWaitedForAlsoWhenItsCallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, `@id("f") forbid (principal, action, resource);`)
		d.log.hang = true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := d.Begin(ctx, call("get_customer", okCall))
			done <- err
		}()

		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("got %v before the row was durable", err)
		default:
		}
		d.log.release()

		wantFault(t, <-done, codes.PermissionDenied, fault.PolicyDenied)
	})
}

func TestRefuseRecordsWhatIsNotPolicys(t *testing.T) {
	d := newDesk(t, permitAll+`@id("note") @redact("args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`)
	scope := fault.New(codes.PermissionDenied, fault.ScopeMissing, "ask for the scope")

	for _, args := range []string{okCall, `{"note":"secret","note":"secret"}`, `secret`, ``} {
		err := d.Refuse(t.Context(), call("get_customer", args), scope)

		if f := wantFault(t, err, codes.PermissionDenied, fault.ScopeMissing); f.Meta("decision_id") != "run_1/7" {
			t.Errorf("got decision id %q", f.Meta("decision_id"))
		}
	}
	d.wantRows(t, strings.TrimSuffix(strings.Repeat("decision deny SCOPE_MISSING, ", 4), ", "))
	for i := range 4 {
		r := d.log.record(i)
		if strings.Contains(r.RedactedArguments, "secret") || r.RedactedArguments != "" && !json.Valid([]byte(r.RedactedArguments)) {
			t.Errorf("got arguments %s in the record", r.RedactedArguments)
		}
	}

	d.log.err = errors.New("disk")
	wantFault(t, d.Refuse(t.Context(), call("get_customer", okCall), scope), codes.Unavailable, fault.AuditUnavailable)
}

func TestDoRecordsHowTheEffectEnded(t *testing.T) {
	for name, c := range map[string]struct {
		effect func(context.Context) (Result, error)
		want   string
	}{
		"success":   {func(context.Context) (Result, error) { return Result{Outcome: Succeeded}, nil }, "outcome succeeded"},
		"fault":     {func(context.Context) (Result, error) { return Result{}, fault.New(codes.NotFound, fault.NotFound, "x") }, "outcome failed NOT_FOUND"},
		"cancelled": {func(context.Context) (Result, error) { return Result{}, context.Canceled }, "outcome cancelled CANCELED"},
		"unknown":   {func(context.Context) (Result, error) { return Result{Outcome: Unknown}, nil }, "outcome unknown"},
		"panic":     {func(context.Context) (Result, error) { panic("x") }, "outcome failed INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, permitAll)
			func() {
				defer func() { _ = recover() }()
				_ = d.Do(t.Context(), &Query{Grant: grantOf(person("acme", "alice")), Action: "lock", Resource: Entity{Type: "Tenant", ID: "acme"}}, c.effect)
			}()

			d.wantRows(t, "decision allow, "+c.want)
			if id := d.log.record(0).CallID; len(id) != 31 || id != d.log.record(1).CallID {
				t.Errorf("got call ids %q and %q", id, d.log.record(1).CallID)
			}
		})
	}
}

func TestDoAndReadDenyARedactionThatNobodyWouldApply(t *testing.T) {
	d := newDesk(t, permitAll+`@id("ssn") @redact("result:$.ssn") forbid (principal, action == Action::"call_tool", resource);`)
	n := 0

	wantFault(t, d.Do(t.Context(), call("get_customer", okCall), effects(&n)), codes.Unavailable, fault.PolicyError)
	wantFault(t, d.Read(t.Context(), call("get_customer", okCall)), codes.Unavailable, fault.PolicyError)

	if n != 0 {
		t.Error("the effect happened")
	}
}

func TestAReadIsOneDurableRow(t *testing.T) {
	for name, rules := range map[string]string{
		"plain":          permitAll,
		"against a rate": permitAll + `@id("rate") @rate("1/1m") forbid (principal, action == Action::"get_session", resource);`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, rules)
				d.log.hang = true
				q := &Query{Grant: grantOf(person("acme", "alice")), Action: "get_session", Resource: Entity{Type: "Session", ID: "ses_1"}}
				done := make(chan error, 1)

				go func() { done <- d.Read(t.Context(), q) }()

				synctest.Wait()
				select {
				case err := <-done:
					t.Fatalf("got %v before the row was durable", err)
				default:
				}
				d.log.release()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				d.wantRows(t, "decision allow")
				if id := d.log.record(0).CallID; !strings.HasPrefix(id, "read_") {
					t.Errorf("got call id %q", id)
				}
			})
		})
	}
}

func TestAReadThatCannotBeRecordedIsRefused(t *testing.T) {
	q := &Query{Grant: grantOf(person("acme", "alice")), Action: "get_session", Resource: Entity{Type: "Session", ID: "ses_1"}}
	t.Run("the sink fails", func(t *testing.T) {
		d := newDesk(t, permitAll)
		d.log.err = errors.New("queue full")

		wantFault(t, d.Read(t.Context(), q), codes.Unavailable, fault.AuditUnavailable)
	})
	t.Run("the sink hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t, permitAll)
			d.log.hang = true

			wantFault(t, d.Read(t.Context(), q), codes.Unavailable, fault.AuditUnavailable)
		})
	})
}

func TestSwapsAndCallsMayRace(t *testing.T) {
	d := newDesk(t, permitAll)
	other := engineOf(t, permitAll+`@id("x") forbid (principal in Role::"x", action, resource);`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				p, err := d.Begin(t.Context(), call("get_customer", okCall))
				if err != nil || p.Wait(t.Context()) != nil || p.Recheck(t.Context()) != nil {
					t.Errorf("got %v", err)
					return
				}
				p.Done(t.Context(), Result{Outcome: Succeeded})
			}
		})
	}
	for range 50 {
		d.Swap(other)
	}
	wg.Wait()
}
