package policy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// scolding is a guard that lets everybody look and nobody refund, and records at
// most five refusals of a person a minute.
type scolding struct {
	*Guard
	log *audit.Memory
	now time.Time
}

const lookOnly = `@id("look") permit (principal, action == Action::"call_tool", resource == Tool::"get_customer");
@id("mail") permit (principal, action == Action::"call_tool", resource == Tool::"send_mail");
@id("mail-rate") @rate("2/10m") forbid (principal, action == Action::"call_tool", resource == Tool::"send_mail");`

func newScolding(t *testing.T) *scolding {
	t.Helper()
	s := &scolding{now: noon()}
	s.log = audit.NewMemory(func() time.Time { return s.now })
	g, err := NewGuard(GuardConfig{
		Sink: s.log, Buckets: s.log, DigestKey: func(string) []byte { return []byte("key") }, MaxDenials: 5, Clock: func() time.Time { return s.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, lookOnly))
	s.Guard = g
	return s
}

// try makes a call as far as the guard and says how it was refused, "" if it was not.
func (s *scolding) try(q *Query) fault.Reason {
	p, err := s.Begin(context.Background(), q)
	if err == nil {
		err = p.Wait(context.Background())
	}
	if err == nil {
		p.Done(context.Background(), Result{Outcome: Succeeded})
		return ""
	}
	return fault.From(err).Reason
}

func (s *scolding) rows() []string {
	var out []string
	for _, r := range s.log.Records() {
		if r.Decision == audit.Deny {
			out = append(out, r.User.Subject+" "+r.Action+" "+r.Reason+" "+strings.TrimSuffix(r.RedactedArguments[:min(len(r.RedactedArguments), 12)], "\n"))
		}
	}
	return out
}

func refund(who, agent string) *Query {
	q := callBy(person("acme", who), "refund_order", `{"order":"O-1","amount_cents":1}`)
	q.Grant = grantOf(person("acme", who), agent)
	return q
}

func TestAPersonsRefusalsAreBoundedOverAllAgents(t *testing.T) {
	s := newScolding(t)
	for i := range 5 {
		if got := s.try(refund("alice", []string{"support", "billing"}[i%2])); got != fault.PolicyDenied {
			t.Fatalf("refusal %d: got %q", i+1, got)
		}
	}

	_, err := s.Begin(t.Context(), refund("alice", "billing"))

	f := fault.From(err)
	if f.Reason != fault.RateLimited || f.Code != codes.ResourceExhausted || f.RetryAfter() != time.Minute {
		t.Errorf("got %v after %v, want RATE_LIMITED with the rest of the minute", f, f.RetryAfter())
	}
	for range 1000 {
		if got := s.try(refund("alice", "billing")); got != fault.RateLimited {
			t.Fatalf("got %q, want RATE_LIMITED", got)
		}
	}
	if err := s.Refuse(t.Context(), refund("alice", "support"), fault.New(codes.NotFound, fault.NotFound, "no")); fault.From(err).Reason != fault.RateLimited {
		t.Errorf("a refusal before policy: got %v, want it counted too", err)
	}
	if err := s.Read(t.Context(), refund("alice", "support")); fault.From(err).Reason != fault.RateLimited {
		t.Errorf("a read: got %v, want it counted too", err)
	}
	if got := s.rows(); len(got) != 6 || !strings.HasPrefix(got[5], "alice call_tool RATE_LIMITED") {
		t.Errorf("got rows %q, want five refusals and the first beyond", got)
	}
}

func TestRefusalsOfRepeatedCallsAreCountedToo(t *testing.T) {
	s := newScolding(t)
	for i := range 10 {
		want := fault.PolicyDenied
		if i >= 5 {
			want = fault.RateLimited
		}
		if err := s.Repeat(t.Context(), refund("alice", "support"), nil); fault.From(err).Reason != want {
			t.Errorf("refusal %d: got %v, want %s", i+1, err, want)
		}
	}
	if got := s.rows(); len(got) != 6 {
		t.Errorf("got rows %q, want five refusals and the first beyond", got)
	}
}

func TestWhoeverIsOverTheLimitStillDoesWhatTheyMay(t *testing.T) {
	s := newScolding(t)
	for range 50 {
		s.try(refund("alice", "support"))
	}

	if got := s.try(callBy(person("acme", "alice"), "get_customer", `{"id":"C-1"}`)); got != "" {
		t.Errorf("an allowed call: got %q", got)
	}
	if got := s.try(callBy(person("acme", "alice"), "send_mail", `{"to":["a@b.example"]}`)); got != "" {
		t.Errorf("an allowed call with a rate: got %q", got)
	}
	for _, other := range []*Query{refund("bob", "support"), callBy(person("globex", "alice"), "refund_order", `{"order":"O-1","amount_cents":1}`)} {
		if got := s.try(other); got != fault.PolicyDenied {
			t.Errorf("somebody else: got %q, want their own refusal", got)
		}
	}
}

func TestRefusalsBeyondTheLimitAreSummedUp(t *testing.T) {
	s := newScolding(t)
	for range 25 {
		s.try(refund("alice", "support"))
	}
	s.now = s.now.Add(time.Minute)

	if got := s.try(refund("alice", "support")); got != fault.PolicyDenied {
		t.Errorf("in the next minute: got %q, want POLICY_DENIED", got)
	}

	want := `alice refused_calls RATE_LIMITED {"refused":1`
	if got := s.rows(); len(got) != 8 || got[6] != want {
		t.Errorf("got rows %q, want %q before the next refusal", got, want)
	}
	r := s.log.Records()[6]
	if !strings.HasPrefix(r.RedactedArguments, `{"refused":19,`) || r.Tenant != "acme" || r.Tool != "" || r.Agent != "" || r.CallID != "" {
		t.Errorf("got %+v, want the 19 that have no row, of the person and no agent", r)
	}
}

func TestWhatIsLeftIsSummedUpEachMinuteAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := audit.NewMemory(time.Now)
		g, err := NewGuard(GuardConfig{Sink: log, DigestKey: func(string) []byte { return []byte("key") }, MaxDenials: 1})
		if err != nil {
			t.Fatal(err)
		}
		g.Swap(engineOf(t, lookOnly))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.SumUp(ctx) }()
		sums := func() (n int) {
			for _, r := range log.Records() {
				if r.Action == ActionRefused {
					n++
				}
			}
			return n
		}
		s := &scolding{Guard: g, log: log}

		for range 3 {
			s.try(refund("alice", "support"))
		}
		<-time.After(time.Minute + time.Second)
		if n := sums(); n != 1 {
			t.Errorf("after a minute: got %d sums, want 1", n)
		}
		for range 3 {
			s.try(refund("alice", "support"))
		}
		stop()
		if err := <-done; err != nil || sums() != 2 {
			t.Errorf("at the end: got %d sums, %v, want the second", sums(), err)
		}
	})
}

func TestARateThatIsUsedUpIsNoWayAroundTheLimit(t *testing.T) {
	s := newScolding(t)
	mail := func() fault.Reason {
		return s.try(callBy(person("acme", "alice"), "send_mail", `{"to":["a@b.example"]}`))
	}
	for range 2 {
		if got := mail(); got != "" {
			t.Fatalf("got %q, want it allowed", got)
		}
	}
	for range 500 {
		if got := mail(); got != fault.RateLimited {
			t.Fatalf("got %q, want RATE_LIMITED", got)
		}
	}

	if got := s.rows(); len(got) > 7 {
		t.Errorf("got %d rows of refusals, want no more than the limit allows", len(got))
	}
	s.now = s.now.Add(11 * time.Minute)
	if got := mail(); got != "" {
		t.Errorf("got %q when there is room again", got)
	}
}

func TestRefusalsThatMustBeOnRecordAre(t *testing.T) {
	s := newScolding(t)
	for range 20 {
		s.try(refund("alice", "support"))
	}
	again := refund("alice", "support")
	again.Call, again.Again = "run_1/7", true

	if got := s.try(again); got != fault.PolicyDenied {
		t.Errorf("a call that an earlier process began: got %q", got)
	}
	unknown := fault.New(codes.FailedPrecondition, fault.OutcomeUnknown, "not repeated")
	if err := s.Refuse(t.Context(), refund("alice", "support"), unknown); fault.From(err).Reason != fault.OutcomeUnknown {
		t.Errorf("got %v, want OUTCOME_UNKNOWN", err)
	}
	if got := s.rows(); len(got) != 8 {
		t.Errorf("got rows %q, want both", got)
	}
}

func TestTheCountsOfPeopleAreBoundedAndNobodyPushesAnotherOut(t *testing.T) {
	s := newScolding(t)
	for range 10 {
		s.try(refund("alice", "support"))
	}
	for i := range maxDenied + 10 {
		s.denials.count(stampedFor(s, fmt.Sprint("p", i)))
	}

	if n := len(s.denials.of); n > maxDenied {
		t.Errorf("got %d people, want at most %d", n, maxDenied)
	}
	if got := s.try(refund("alice", "support")); got != fault.RateLimited {
		t.Errorf("alice: got %q, want her limit kept", got)
	}
	if got := s.try(refund("late", "support")); got != fault.PolicyDenied {
		t.Errorf("one too many: got %q, want their refusals as they are", got)
	}
}

func stampedFor(s *scolding, who string) *Query {
	q := refund(who, "support")
	q.Time = s.now
	return q
}

func TestTheLimitIsExactWhenManyAreRefusedAtOnce(t *testing.T) {
	s := newScolding(t)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { s.try(refund("alice", "support")) })
	}
	wg.Wait()

	if got := s.rows(); len(got) != 6 {
		t.Errorf("got %d rows, want 6", len(got))
	}
}
