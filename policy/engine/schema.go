package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/behalf-dev/behalf/policy/arguments"
	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Entity types.
const (
	TypeAction    cedar.EntityType = "Action"
	TypeUser      cedar.EntityType = "User"
	TypeWorkload  cedar.EntityType = "Workload"
	TypeRole      cedar.EntityType = "Role"
	TypeTenant    cedar.EntityType = "Tenant"
	TypeAgent     cedar.EntityType = "Agent"
	TypeGroupChat cedar.EntityType = "GroupChat"
	TypeTool      cedar.EntityType = "Tool"
	TypeToolset   cedar.EntityType = "Toolset"
	TypeSession   cedar.EntityType = "Session"
	TypeRun       cedar.EntityType = "Run"
	TypeApproval  cedar.EntityType = "Approval"
)

// Actions that policy knows without an RPC of that name.
const (
	ActionCallTool       = "call_tool"
	ActionActForOther    = "act_for_other"
	ActionDecideApproval = "decide_approval"
	ActionJoinSession    = "join_session"
	ActionRunOffline     = "run_offline"
)

// OnTool reports whether the action is about a tool's arguments.
func OnTool(action string) bool { return action == ActionCallTool || action == ActionActForOther }

// schema is what queries and policies are checked against. context.args has
// another type for each tool, which one Cedar action cannot express; so each
// tool has its own Cedar schema in which only the tool actions apply, and they
// share everything else.
type schema struct {
	rpc       *checker // all actions but those on tools
	bare      *checker // a tool without arguments
	tools     map[string]*toolSchema
	toolsets  map[string]bool
	absent    bool // tools that nobody has told of yet are some
	lost      bool // toolsets too
	actions   map[string]bool
	agents    map[string]bool     // nil: any
	chats     map[string]bool     // nil: any
	narrow    map[string][]string // Config.Resources
	canonical string
}

type toolSchema struct {
	name, toolset string
	args          *arguments.Type
	result        *arguments.Type // nil: the tool does not say
}

func newSchema(c Config) (*schema, error) {
	s := &schema{tools: map[string]*toolSchema{}, toolsets: setOf(c.Absent), absent: len(c.Absent) > 0, lost: c.Lost, narrow: c.Resources}
	if c.Agents != nil {
		s.agents = setOf(c.Agents)
	}
	if c.GroupChats != nil {
		s.chats = setOf(c.GroupChats)
	}
	s.actions = setOf(c.Actions)
	for _, a := range []string{ActionCallTool, ActionActForOther, ActionDecideApproval, ActionJoinSession, ActionRunOffline} {
		s.actions[a] = true
	}
	if err := s.checkResources(c); err != nil {
		return nil, err
	}
	s.rpc = newChecker(s.rpcActions(everything))
	s.bare = newChecker(s.toolActions(arguments.NoArguments(), everything))
	err := s.addTools(c.Tools)
	s.canonical = s.print(c)
	return s, err
}

func setOf(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func (s *schema) checkResources(c Config) error {
	var errs []error
	for _, action := range slices.Sorted(maps.Keys(c.Resources)) {
		for _, t := range c.Resources[action] {
			if !slices.Contains(resourceTypes(), cedar.EntityType(t)) {
				errs = append(errs, fmt.Errorf("action %s: %q is not a type of resource", action, t))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *schema) addTools(tools []ToolSchema) error {
	var errs []error
	for _, t := range tools {
		if s.tools[t.Name] != nil {
			errs = append(errs, fmt.Errorf("tool %s is declared twice", t.Name))
			continue
		}
		args, err := arguments.TypeOf(t.Schema)
		if err != nil {
			errs = append(errs, fmt.Errorf("tool %s: %w", t.Name, err))
			continue
		}
		s.tools[t.Name] = &toolSchema{name: t.Name, toolset: t.Toolset, args: args, result: arguments.TypeOfResult(t.Result)}
		s.toolsets[t.Toolset] = true
	}
	return errors.Join(errs...)
}

// print is the schema's part of the revision.
func (s *schema) print(c Config) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.actions)) {
		field(&b, name)
		field(&b, strings.Join(c.Resources[name], ","))
	}
	for _, name := range slices.Sorted(maps.Keys(s.tools)) {
		t := s.tools[name]
		field(&b, t.name)
		field(&b, t.toolset)
		field(&b, t.args.Cedar())
	}
	return b.String()
}

func resourceTypes() []cedar.EntityType {
	return []cedar.EntityType{TypeAgent, TypeGroupChat, TypeTool, TypeToolset, TypeSession, TypeRun, TypeApproval, TypeTenant}
}

// parentTypes says what may be a parent of what.
func parentTypes(t cedar.EntityType) []cedar.EntityType {
	switch t {
	case TypeUser:
		return []cedar.EntityType{TypeRole, TypeTenant}
	case TypeWorkload:
		return []cedar.EntityType{TypeTenant}
	case TypeTool:
		return []cedar.EntityType{TypeToolset}
	case TypeSession:
		return []cedar.EntityType{TypeAgent, TypeGroupChat, TypeTenant}
	case TypeRun:
		return []cedar.EntityType{TypeSession, TypeAgent, TypeGroupChat, TypeTenant}
	case TypeApproval:
		return []cedar.EntityType{TypeRun, TypeSession, TypeTool, TypeTenant}
	}
	return nil
}

// owned reports whether entities of the type belong to a person and a tenant.
func owned(t cedar.EntityType) bool {
	return t == TypeSession || t == TypeRun || t == TypeApproval
}

func shapeOf(t cedar.EntityType) resolved.RecordType {
	switch {
	case t == TypeUser || t == TypeWorkload:
		return resolved.RecordType{"key": {Type: resolved.StringType{}}}
	case owned(t):
		return resolved.RecordType{
			"owner":     {Type: resolved.EntityType(TypeUser)},
			"owner_key": {Type: resolved.StringType{}},
		}
	}
	return resolved.RecordType{}
}

// entityTypes is the same for all checkers, of which there is one per tool; what
// an engine holds on to, the garbage collector looks at again and again.
var entityTypes = sync.OnceValue(func() map[cedar.EntityType]resolved.Entity {
	m := map[cedar.EntityType]resolved.Entity{}
	for _, t := range append(resourceTypes(), TypeUser, TypeWorkload, TypeRole) {
		m[t] = resolved.Entity{Name: t, ParentTypes: parentTypes(t), Shape: shapeOf(t)}
	}
	return m
})

// contextType is the type of the context with the given fields.
func contextType(args resolved.RecordType, fields needs) resolved.RecordType {
	str, num := resolved.StringType{}, resolved.LongType{}
	strs := resolved.SetType{Element: str}
	all := [...]resolved.IsType{
		fieldArgs: args, fieldAgent: str, fieldChain: strs, fieldDepth: num, fieldTier: str, fieldScopes: strs,
		fieldWorkload: str, fieldSession: str, fieldTime: resolved.ExtensionType("datetime"),
		fieldAuth: resolved.RecordType{"acr": {Type: str}, "age": {Type: num}},
	}
	r := resolved.RecordType{}
	for i, name := range contextNames() {
		if fields.has(i) {
			r[name] = resolved.Attribute{Type: all[i]}
		}
	}
	return r
}

func (s *schema) rpcActions(fields needs) map[types.EntityUID]resolved.Action {
	m := s.allActions()
	for name := range s.actions {
		if !OnTool(name) {
			m[actionUID(name)] = s.rpcAction(name, fields)
		}
	}
	return m
}

func (s *schema) rpcAction(name string, fields needs) resolved.Action {
	resources := resourceTypes()
	if narrow := s.narrow[name]; len(narrow) > 0 {
		resources = nil
		for _, t := range narrow {
			resources = append(resources, cedar.EntityType(t))
		}
	}
	return action(name, resources, contextType(resolved.RecordType{}, fields))
}

// toolActions are all actions, of which those on a tool apply.
func (s *schema) toolActions(args *arguments.Type, fields needs) map[types.EntityUID]resolved.Action {
	m := s.allActions()
	maps.Copy(m, onlyToolActions(args, fields))
	return m
}

// onlyToolActions are enough to check requests.
func onlyToolActions(args *arguments.Type, fields needs) map[types.EntityUID]resolved.Action {
	m := map[types.EntityUID]resolved.Action{}
	context := contextType(args.Attributes(), fields)
	for _, name := range []string{ActionCallTool, ActionActForOther} {
		m[actionUID(name)] = action(name, []cedar.EntityType{TypeTool}, context)
	}
	return m
}

// allActions declares every action without applying any, so that conditions may
// name actions that the schema at hand is not about.
func (s *schema) allActions() map[types.EntityUID]resolved.Action {
	m := map[types.EntityUID]resolved.Action{}
	for name := range s.actions {
		m[actionUID(name)] = resolved.Action{Entity: types.Entity{UID: actionUID(name)}}
	}
	return m
}

func action(name string, resources []cedar.EntityType, context resolved.RecordType) resolved.Action {
	return resolved.Action{
		Entity: types.Entity{UID: actionUID(name)},
		AppliesTo: &resolved.AppliesTo{
			Principals: []cedar.EntityType{TypeUser, TypeWorkload},
			Resources:  resources,
			Context:    context,
		},
	}
}

func actionUID(name string) types.EntityUID {
	return types.EntityUID{Type: TypeAction, ID: types.String(name)}
}

// checker wraps cedar-go's validator, which is experimental and may change: only
// this type calls it. It is immutable.
type checker struct{ v *validate.Validator }

func newChecker(actions map[types.EntityUID]resolved.Action) *checker {
	return &checker{validate.New(&resolved.Schema{Entities: entityTypes(), Actions: actions}, validate.WithStrict())}
}

// policy lists what is wrong with a policy, sorted and without duplicates. A
// panic of the validator is a finding too.
func (c *checker) policy(p *ast.Policy) []string {
	err := c.try(p)
	if err == nil {
		return nil
	}
	var texts []string
	for _, e := range Flatten(err) {
		texts = append(texts, e.Error())
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func (c *checker) try(p *ast.Policy) (err error) {
	defer recoverTo(&err)
	return c.v.Policy("", p)
}

func (c *checker) request(r cedar.Request) error { return c.v.Request(r) }

func Flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, Flatten(e)...)
	}
	return all
}

// recoverTo turns a panic into an error. Policy and arguments are not ours, and
// no panic on their account may take the process down or skip a denial.
func recoverTo(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
	}
}
