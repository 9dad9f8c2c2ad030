package engine

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
)

// runActions are the decisions on what models are asked for.
var runActions = []string{"run_agent", "run_group_chat"}

// checkDuties refuses duties that can never be met where the policy's head puts
// them, and warns of those that can never bite there.
func (l *loader) checkDuties(r *rule) {
	for _, d := range r.duties {
		switch d.Kind {
		case KindApprove:
			l.checkApproval(r)
		case KindBudget:
			l.checkBudget(r, d)
		}
	}
}

// checkApproval holds that somebody can be asked: what an approval is given for is
// the exact call of a tool. Anything else would be denied for ever, and whoever wrote
// it would wait for a question that never comes.
func (l *loader) checkApproval(r *rule) {
	if !r.onlyOn(ActionCallTool) {
		l.add(r.at, `@approve needs action == Action::"call_tool" in the policy's head: nothing but a tool's call can wait for somebody`)
	}
}

// checkBudget warns of tokens that nobody takes: models spend them, in runs.
func (l *loader) checkBudget(r *rule, d Duty) {
	b, err := parseBudget(d.Text)
	spent := func(action string) bool { return matchesAction(r.head().Action, action) }
	if err == nil && b.tokens && !slices.ContainsFunc(runActions, spent) {
		l.warnings = append(l.warnings, fmt.Sprintf("%s: %s: %s is never used up, because no run is in the policy's head; name Action::\"run_agent\" or \"run_group_chat\" too: models spend tokens, tools do not", r.at, r.id, d))
	}
}

// onlyOn reports whether the policy's head names actions, and no others than these.
func (r *rule) onlyOn(actions ...string) bool {
	named := scopeEntities(r.head().Action)
	return len(named) > 0 && !slices.ContainsFunc(named, func(uid types.EntityUID) bool {
		return !slices.ContainsFunc(actions, func(a string) bool { return uid == actionUID(a) })
	})
}
