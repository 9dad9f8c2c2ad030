package policy

import "github.com/behalf-dev/behalf/policy/engine"

// What is asked and what is answered has one name for all who ask: whoever has a
// guard needs to know nothing of Cedar.
type (
	// Query is one question: may this grant do this to that?
	Query = engine.Query
	// Entity names what a query is about.
	Entity = engine.Entity
	// Decision is the answer.
	Decision = engine.Decision
	// Duty is what has to be fulfilled for the answer to be yes.
	Duty = engine.Duty
	// StepUp is what a person must prove.
	StepUp = engine.StepUp
	// Finding is one policy that could have mattered.
	Finding = engine.Finding
	// Engine decides by one policy set.
	Engine = engine.Engine
	// Set is a loaded, checked policy set.
	Set = engine.Set
	// Config says where policies are and what they may name.
	Config = engine.Config
	// ToolSchema is what the engine must know of a tool.
	ToolSchema = engine.ToolSchema
	// Problem is one thing wrong with a policy file.
	Problem = engine.Problem
)

// Actions that policy knows without an RPC of that name.
const (
	ActionCallTool       = engine.ActionCallTool
	ActionActForOther    = engine.ActionActForOther
	ActionDecideApproval = engine.ActionDecideApproval
	ActionJoinSession    = engine.ActionJoinSession
	ActionRunOffline     = engine.ActionRunOffline
)

// Load reads and checks a policy set. The error joins every [Problem].
func Load(c Config) (*Set, error) { return engine.Load(c) }

// NewEngine makes the engine of a loaded set.
func NewEngine(s *Set) *Engine { return engine.New(s) }
