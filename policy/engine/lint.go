package engine

import (
	"fmt"
	"math/bits"
	"reflect"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// lint warns of arithmetic in forbids that can overflow: whoever writes a number
// that is large enough has every such call denied with POLICY_ERROR, also those
// that the forbid is not about.
func (l *loader) lint(r *rule) {
	if r.permit() {
		return
	}
	a := arithmetic{found: func(op string) {
		l.warnings = append(l.warnings, fmt.Sprintf("%s: %s: %s in a forbid can overflow, which denies; compare with a bound on both sides first (x >= 0 && x <= 1000000 && …)", r.at, r.id, op))
	}}
	var before bounds
	for _, c := range r.head().Conditions {
		a.visit(c.Body, before)
		if c.Condition == ast.ConditionWhen { // the next ones are asked only if it holds
			before = before.and(c.Body)
		}
	}
}

// arithmetic looks for operations whose operands are not known to be small.
type arithmetic struct{ found func(op string) }

func (a *arithmetic) visit(n ast.IsNode, known bounds) {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		a.visit(n.Left, known)
		a.visit(n.Right, known.and(n.Left))
		return
	case ast.NodeTypeIfThenElse:
		a.visit(n.If, known)
		a.visit(n.Then, known.and(n.If))
		a.visit(n.Else, known)
		return
	case ast.NodeTypeMult:
		a.check("multiplication", n, known)
	case ast.NodeTypeAdd:
		a.check("addition", n, known)
	case ast.NodeTypeSub:
		a.check("subtraction", n, known)
	}
	a.below(n, known)
}

// below visits the children of a node.
func (a *arithmetic) below(n ast.IsNode, known bounds) {
	top := true
	ast.Inspect(ast.NewNode(n), func(child ast.IsNode) bool {
		if top {
			top = false
			return true
		}
		a.visit(child, known)
		return false
	})
}

func (a *arithmetic) check(op string, n ast.IsNode, known bounds) {
	if known.bits(n) > 63 {
		a.found(op)
	}
}

// bounds are the comparisons with literals that hold where an expression stands.
type bounds []bound

// bound says that an expression is on one side of a literal.
type bound struct {
	of    ast.IsNode
	upper bool
	bits  int
}

// and adds what holds where n has held.
func (b bounds) and(n ast.IsNode) bounds {
	if both, ok := n.(ast.NodeTypeAnd); ok {
		return b.and(both.Left).and(both.Right)
	}
	left, right, less, ok := comparison(n)
	if !ok {
		return b
	}
	b = b[:len(b):len(b)]
	if size, ok := literal(right); ok {
		b = append(b, bound{left, less, size})
	}
	if size, ok := literal(left); ok {
		b = append(b, bound{right, !less, size})
	}
	return b
}

// comparison takes a comparison apart; less: the left side is the smaller one.
func comparison(n ast.IsNode) (left, right ast.IsNode, less, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeLessThan:
		return n.Left, n.Right, true, true
	case ast.NodeTypeLessThanOrEqual:
		return n.Left, n.Right, true, true
	case ast.NodeTypeGreaterThan:
		return n.Left, n.Right, false, true
	case ast.NodeTypeGreaterThanOrEqual:
		return n.Left, n.Right, false, true
	}
	return nil, nil, false, false
}

func literal(n ast.IsNode) (size int, ok bool) {
	v, ok := n.(ast.NodeValue)
	if !ok {
		return 0, false
	}
	long, ok := v.Value.(types.Long)
	return magnitude(long), ok
}

func magnitude(n types.Long) int {
	if n < 0 {
		n = ^n
	}
	return bits.Len64(uint64(n))
}

// bits is how many bits the value of an expression may take beside its sign.
func (b bounds) bits(n ast.IsNode) int {
	if size, ok := literal(n); ok {
		return size
	}
	switch n := n.(type) {
	case ast.NodeTypeMult:
		return b.bits(n.Left) + b.bits(n.Right) + 1 // -2 * -2 takes one more than 1 + 1
	case ast.NodeTypeAdd:
		return max(b.bits(n.Left), b.bits(n.Right)) + 1
	case ast.NodeTypeSub:
		return max(b.bits(n.Left), b.bits(n.Right)) + 1
	}
	return max(b.side(n, true), b.side(n, false))
}

// unbounded is more than fits once anything is done with it.
const unbounded = 63

func (b bounds) side(n ast.IsNode, upper bool) int {
	size := unbounded
	for _, known := range b {
		if known.upper == upper && reflect.DeepEqual(known.of, n) {
			size = min(size, known.bits)
		}
	}
	return size
}
