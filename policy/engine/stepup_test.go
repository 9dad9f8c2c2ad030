package engine

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
)

func TestAStepUpIsMetByAProofThatIsStrongAndFreshEnough(t *testing.T) {
	minutes := func(n int) time.Time { return noon().Add(-time.Duration(n) * time.Minute) }
	for name, c := range map[string]struct {
		duty string
		acr  string
		at   time.Time
		want StepUp // zero: allowed
	}{
		"the class":                    {"acr:mfa", "mfa", time.Time{}, StepUp{}},
		"another class":                {"acr:mfa", "pwd", minutes(1), StepUp{ACR: "mfa"}},
		"no class":                     {"acr:mfa", "", minutes(1), StepUp{ACR: "mfa"}},
		"part of the class":            {"acr:mfa", "mfa2", minutes(1), StepUp{ACR: "mfa"}},
		"fresh":                        {"max_age:5m", "", minutes(5), StepUp{}},
		"too old":                      {"max_age:5m", "", minutes(6), StepUp{MaxAge: 5 * time.Minute}},
		"of unknown age":               {"max_age:5m", "mfa", time.Time{}, StepUp{MaxAge: 5 * time.Minute}},
		"both":                         {"acr:mfa, max_age:5m", "mfa", minutes(5), StepUp{}},
		"strong and too old":           {"acr:mfa, max_age:5m", "mfa", minutes(6), StepUp{ACR: "mfa", MaxAge: 5 * time.Minute}},
		"fresh and too weak":           {"acr:mfa, max_age:5m", "pwd", minutes(1), StepUp{ACR: "mfa", MaxAge: 5 * time.Minute}},
		"two policies, one met of two": {`acr:mfa") forbid (principal, action, resource); @id("age") @stepup("max_age:1m`, "mfa", minutes(2), StepUp{MaxAge: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			p := person("acme", "alice")
			p.User.ACR, p.User.AuthTime = c.acr, c.at

			d := engine(t, permitAll+`@id("soft") @stepup("`+c.duty+`") forbid (principal, action, resource);`).Decide(callBy(p, "get_customer", `{"id":"c"}`))

			if d.StepUp != c.want || d.Allow != c.want.IsZero() || !d.Allow && d.Reason != string(fault.StepUpRequired) {
				t.Errorf("got allow=%t %s, missing %+v; want missing %+v", d.Allow, d.Reason, d.StepUp, c.want)
			}
		})
	}
}

func TestAStepUpThatSaysAThingTwiceIsNoPolicy(t *testing.T) {
	wantProblem(t, `@id("a") @stepup("acr:mfa,acr:pwd") forbid (principal, action, resource);`, "said twice")
	wantProblem(t, `@id("a") @stepup("max_age:1m,max_age:2m") forbid (principal, action, resource);`, "said twice")
}
