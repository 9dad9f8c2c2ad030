package interceptors

import (
	"fmt"
	"slices"
	"strings"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Rule is what one RPC declared in its access option.
type Rule struct {
	Method   string // full method, /behalf.v1.AgentService/RunAgent
	Caller   behalfv1.Caller
	Action   string
	Resource string
	Audit    behalfv1.Audit
	Stream   bool
}

// Rules reads the rule of each method that a server has registered. A method
// without one is an error: the server must not start. The standard services
// bring no option, so their rules stand here.
func Rules(services map[string]grpc.ServiceInfo) (map[string]*Rule, error) {
	rules := map[string]*Rule{}
	var missing []string
	for service, info := range services {
		for _, m := range info.Methods {
			name := "/" + service + "/" + m.Name
			rule := ruleOf(service, m.Name)
			if rule == nil {
				missing = append(missing, name)
				continue
			}
			rule.Method, rule.Stream = name, m.IsServerStream || m.IsClientStream
			rules[name] = rule
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("no access rule for %s: add the (access) option to the RPC", strings.Join(missing, ", "))
	}
	return rules, nil
}

// Actions gives the Cedar actions that RPCs are decided as, and of each the types
// of its resources: what a policy may name, and nothing else.
func Actions() map[string][]string {
	seen := map[string][]string{}
	add := func(action, kind string) {
		if !slices.Contains(seen[action], kind) {
			seen[action] = append(seen[action], kind)
		}
	}
	for _, s := range services() {
		for i := range s.Methods().Len() {
			r := declared(s.Methods().Get(i))
			switch {
			case r == nil || r.Action == "":
			case r.Action == runTarget:
				add("run_agent", EntityType("agent"))
				add("run_group_chat", EntityType("group_chat"))
			case r.Action == "explain_decision":
				add(ExplainForOther, EntityType(r.Resource))
				fallthrough
			default:
				add(r.Action, EntityType(r.Resource))
			}
		}
	}
	return seen
}

// EntityType is the Cedar type of a rule's resource: group_chat is GroupChat.
func EntityType(resource string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(resource, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// ExplainForOther is what a question about somebody else is decided as.
const ExplainForOther = "explain_for_other"

// runTarget is decided as run_agent or run_group_chat, by what the request names.
const runTarget = "run_target"

// NeedsPerson reports whether an action is only that of RPCs which no workload
// may call alone.
func NeedsPerson(action string) bool {
	found := false
	for _, s := range services() {
		for i := range s.Methods().Len() {
			r := declared(s.Methods().Get(i))
			if r == nil || r.Action != action {
				continue
			}
			if found = true; r.Caller != behalfv1.Caller_CALLER_USER {
				return false
			}
		}
	}
	return found
}

func ruleOf(service, method string) *Rule {
	switch {
	case service == "grpc.health.v1.Health" && method == "Check":
		return &Rule{Caller: behalfv1.Caller_CALLER_PUBLIC, Audit: behalfv1.Audit_AUDIT_NONE}
	case service == "grpc.health.v1.Health", strings.HasPrefix(service, "grpc.reflection."):
		return &Rule{Caller: behalfv1.Caller_CALLER_ANY, Audit: behalfv1.Audit_AUDIT_NONE}
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil
	}
	m := s.Methods().ByName(protoreflect.Name(method))
	if m == nil {
		return nil
	}
	return declared(m)
}

// declared reads the option; nil if it is absent or incomplete.
func declared(m protoreflect.MethodDescriptor) *Rule {
	access, ok := proto.GetExtension(m.Options(), behalfv1.E_Access).(*behalfv1.Access)
	if !ok || access == nil || access.GetCaller() == 0 || access.GetAudit() == 0 {
		return nil
	}
	if access.GetCaller() != behalfv1.Caller_CALLER_PUBLIC && (access.GetAction() == "" || access.GetResource() == "") {
		return nil
	}
	return &Rule{Caller: access.GetCaller(), Action: access.GetAction(), Resource: access.GetResource(), Audit: access.GetAudit()}
}

func services() []protoreflect.ServiceDescriptor {
	var out []protoreflect.ServiceDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("behalf.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			out = append(out, f.Services().Get(i))
		}
		return true
	})
	return out
}
