package engine

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// Query is one question to the engine: may this grant do this to that? It is
// complete, so that the answer needs no I/O and no clock.
type Query struct {
	Grant    identity.Grant
	Action   string // snake case, e.g. run_agent, call_tool
	Resource Entity
	Time     time.Time

	// Of tool calls.
	Tool           string          // empty for RPCs
	Arguments      json.RawMessage // as the model wrote them, already accepted by the strict decoder; nil for none
	DescriptorHash string
	Reads          bool // the tool changes nothing
	// Approval is the one that the caller was told to get; empty: the call's own.
	Approval string
	// Direct says that no run waits for the approval: who calls comes again.
	Direct bool
	// Again says that the same call was allowed before and may be repeated: what
	// it took then serves it still.
	Again bool

	// Where it happens.
	Session string
	Run     string
	Call    string
	Trace   string
}

// Entity names a Cedar entity and its parents.
type Entity struct {
	Type    string // Agent, GroupChat, Tool, Session, Run, Approval, Tenant, …
	ID      string
	Parents []Entity
	// Owner is the person ("tenant/subject") that a session, run or approval
	// belongs to; policies see it as resource.owner. Empty for what has no owner.
	Owner string
}

// Decision is the engine's answer. Allow with duties means: allowed if each
// duty is fulfilled.
type Decision struct {
	Allow     bool
	Reason    string   // ErrorReason name, empty on allow
	PolicyIDs []string // all policies that determined the answer, sorted
	Revision  string   // of the policy set that decided
	Duties    []Duty   // sorted, without duplicates
	StepUp    StepUp   // what the person must prove, when Reason is STEP_UP_REQUIRED
	Err       error    // for the operator: what went wrong when Reason is POLICY_ERROR
}

// DutyTexts are the duties as records have them, sorted and without duplicates.
func (d Decision) DutyTexts() (texts []string) {
	for _, duty := range d.Duties {
		texts = append(texts, duty.String())
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// And is what this decision and another one both allow, or the other's refusal.
func (d Decision) And(o Decision) Decision {
	if !o.Allow {
		return o
	}
	d.PolicyIDs = append(slices.Clip(d.PolicyIDs), o.PolicyIDs...)
	slices.Sort(d.PolicyIDs)
	d.PolicyIDs = slices.Compact(d.PolicyIDs)
	d.Duties = sortDuties(append(slices.Clip(d.Duties), o.Duties...))
	return d
}

// Duty is what lifts a soft forbid, as its annotation says.
type Duty struct {
	Kind     string // redact, rate, approve, budget, stepup
	Text     string // as written
	PolicyID string
}

// String is the duty as it is written: @rate("60/1m").
func (d Duty) String() string { return "@" + d.Kind + "(" + strconv.Quote(d.Text) + ")" }

// Waits reports whether somebody has to agree first.
func (d Duty) Waits() bool { return d.Kind == KindApprove }

// ToolSchema is what the engine must know of a tool to type its arguments.
type ToolSchema struct {
	Name    string
	Toolset string
	Schema  json.RawMessage // JSON Schema of the arguments, an object
	Result  json.RawMessage // JSON Schema of the results; nil: unknown
}
