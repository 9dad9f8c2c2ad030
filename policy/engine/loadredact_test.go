package engine

import (
	"testing"
)

func TestRedactionsAreCheckedAtLoad(t *testing.T) {
	load(t, permitAll+`@id("a") @redact("result:$.ssn, args:$.note, pii:card, stream:pii:card") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");
@id("b") @redact("stream:pii:secret") forbid (principal, action == Action::"run_agent", resource);`)
	for head, want := range map[string]string{
		`@redact("pii:ssn") forbid (principal, action == Action::"call_tool", resource)`:                                `"ssn" is not a class of data; known are card`,
		`@redact("stream:pii:x") forbid (principal, action == Action::"run_agent", resource)`:                           `base.cedar:1:`,
		`@redact("pii:card") forbid (principal, action == Action::"run_agent", resource)`:                               `@redact needs action == Action::"call_tool"`,
		`@redact("stream:pii:card") forbid (principal, action, resource)`:                                               `@redact of stream: needs`,
		`@redact("stream:pii:card") forbid (principal, action in [Action::"run_agent", Action::"call_tool"], resource)`: `@redact of stream: needs`,
		`@redact("stream:pii:card") forbid (principal, action == Action::"get_session", resource)`:                      `@redact of stream: needs`,
		`@redact("stream:$.a") forbid (principal, action == Action::"run_agent", resource)`:                             `want args:$.path`,
	} {
		wantProblem(t, `@id("x") `+head+";", want)
	}
}
