package tools

import (
	"context"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
)

// Explanation is what would become of a call. Where the gate's own checks refuse
// it, policy was not asked and there is only the revision.
type Explanation struct {
	policy.Explanation
	Fields  []fault.Field // what is wrong with the arguments
	Missing []string      // scopes that the tool needs and the grant lacks
}

// Explain says what would become of a call at a time, with the checks that a call
// passes and in their order. Nothing is done, recorded or reserved: whoever asks
// is on record already.
func (g *Gate) Explain(ctx context.Context, c agents.ToolCall, at time.Time) (Explanation, error) {
	grant, err := g.authority(ctx)
	if err != nil {
		return Explanation{}, err
	}
	a := &attempt{gate: g, call: c, grant: grant, dry: true}
	a.find()
	a.query = a.ask(ctx, policy.ActionCallTool)
	a.query.Time = at
	refused := a.check(ctx)
	out := Explanation{Fields: a.fields, Missing: a.missing()}
	if refused == nil {
		out.Explanation, err = g.guard.Explain(ctx, &a.query)
		return out, err
	}
	out.Refused, out.Decision.Revision = refused, g.guard.Revision()
	out.Decision.Reason = string(refused.Reason)
	return out, nil
}

// missing are all scopes that the tool needs and the grant lacks.
func (a *attempt) missing() (names []string) {
	if a.tool == nil {
		return nil
	}
	scopes := a.grant.Scopes()
	for _, n := range a.tool.Scopes {
		if !scopes.Has(n) {
			names = append(names, n)
		}
	}
	return names
}
