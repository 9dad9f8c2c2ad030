package engine

import (
	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// The fields of the context, in the order of contextNames.
const (
	fieldArgs = iota
	fieldAgent
	fieldChain
	fieldDepth
	fieldTier
	fieldScopes
	fieldWorkload
	fieldSession
	fieldTime
	fieldAuth
	fieldCount
)

func contextNames() [fieldCount]types.String {
	return [fieldCount]types.String{"args", "agent", "chain", "depth", "tier", "scopes", "workload", "session", "time", "auth"}
}

// needs is a set of context fields. Building a Cedar record costs more than
// evaluating the few rules that the index finds, so a request has the fields
// that some rule for its action reads.
type needs uint16

const everything needs = 1<<fieldCount - 1

func (n needs) has(field int) bool { return n&(1<<field) != 0 }

// purpose is what arguments are read for.
func (n needs) purpose() arguments.Purpose {
	if n.has(fieldArgs) {
		return arguments.Build
	}
	return arguments.CheckOnly
}

// needsOf is what the rule's conditions read. A context that is used as a whole
// is read as a whole.
func needsOf(r *rule) needs {
	var n needs
	all, parts := 0, 0
	r.inspect(func(node ast.IsNode) {
		name, of := partOfContext(node)
		switch {
		case of:
			parts++
			n |= fieldNamed(name)
		case isContext(node):
			all++
		}
	})
	if all > parts {
		return everything
	}
	return n
}

// partOfContext recognises context.name and context has name.
func partOfContext(n ast.IsNode) (types.String, bool) {
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		return n.Value, isContext(n.Arg)
	case ast.NodeTypeHas:
		return n.Value, isContext(n.Arg)
	}
	return "", false
}

func fieldNamed(name types.String) needs {
	for i, known := range contextNames() {
		if known == name {
			return 1 << i
		}
	}
	return 0
}
