package policy

import (
	"context"
	"testing"

	"github.com/behalf-dev/behalf/policy/policytest"
)

func BenchmarkGuardedCall(b *testing.B) {
	d := newDesk(b, permitAll+`@id("ssn") @redact("result:$.ssn, args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");
@id("rate") @rate("60/1m") forbid (principal, action == Action::"call_tool", resource);`)
	q := call("get_customer", okCall)
	b.ReportAllocs()
	defer policytest.CPUTime(b)()
	for b.Loop() {
		p, err := d.Begin(b.Context(), q)
		if err != nil || p.Wait(b.Context()) != nil {
			b.Fatal(err)
		}
		p.Done(b.Context(), Result{Outcome: Succeeded})
		d.log.entries = d.log.entries[:0]
	}
}

func BenchmarkGuardedCallWithDetectors(b *testing.B) {
	d := newDesk(b, permitAll+`@id("cards") @redact("pii:all") forbid (principal, action == Action::"call_tool", resource);`)
	q := call("get_customer", okCall)
	doc := []byte(`{"name":"Ann","card":"4111 1111 1111 1111","mail":"ann@example.com","orders":[{"id":1,"total":12.50},{"id":2,"total":99.99}],"active":true}`)
	b.ReportAllocs()
	defer policytest.CPUTime(b)()
	for b.Loop() {
		p, err := d.Begin(context.Background(), q)
		if err != nil || p.Wait(b.Context()) != nil {
			b.Fatal(err)
		}
		if _, err := p.Redact(doc); err != nil {
			b.Fatal(err)
		}
		p.Done(b.Context(), Result{Outcome: Succeeded})
		d.log.entries = d.log.entries[:0]
	}
}
