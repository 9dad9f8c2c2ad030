package policy

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy/policytest"
)

const permitAll = policytest.PermitAll

func noon() time.Time { return policytest.Noon() }

func engineOf(t testing.TB, src string) *Engine { return policytest.Engine(t, src) }

func loadFiles(t testing.TB, files map[string]string) *Set { return policytest.LoadFiles(t, files) }

func person(tenant, subject string, roles ...string) identity.Principal {
	return policytest.Person(tenant, subject, roles...)
}

func grantOf(p identity.Principal, chain ...string) identity.Grant {
	return policytest.Grant(p, chain...)
}

func call(tool, args string) *Query { return policytest.Call(tool, args) }

func callBy(p identity.Principal, tool, args string) *Query { return policytest.CallBy(p, tool, args) }
