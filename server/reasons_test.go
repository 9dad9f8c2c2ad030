package server_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/google/go-cmp/cmp"
)

// TestReasonsAreTheProtosReasons holds the two lists together: a reason that
// only one of them has would reach clients as a word that no document explains,
// and audit rows as 0.
func TestReasonsAreTheProtosReasons(t *testing.T) {
	var want []string
	for name := range maps.Keys(behalfv1.ErrorReason_value) {
		if name != "ERROR_REASON_UNSPECIFIED" {
			want = append(want, strings.TrimPrefix(name, "ERROR_REASON_"))
		}
	}
	slices.Sort(want)

	if diff := cmp.Diff(want, reasons(t)); diff != "" {
		t.Errorf("fault.Reason and behalf.v1.ErrorReason differ (-proto +fault):\n%s", diff)
	}
}

// reasons reads the constants of type Reason from the source of package fault:
// a program cannot list its constants.
func reasons(t *testing.T) (out []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../fault/reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := v.Type.(*ast.Ident); !ok || typ.Name != "Reason" || len(v.Values) != 1 {
			t.Fatalf("%v is no constant of type Reason with a value", v.Names)
		}
		s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
		return true
	})
	slices.Sort(out)
	return out
}
