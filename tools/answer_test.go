package tools_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools"
)

func TestAnAnswerIsHeldAgainstItsSchema(t *testing.T) {
	check, err := tools.AnswerCheck(json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"},"more":{"type":"object"}},"required":["n"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string]string{
		`{"n":1}`: "", `{"n":1,"more":{"x":[null]}}`: "", `{"n":1,"other":true}`: "",
		`{}`: "n", `{"n":"1"}`: "n", `[]`: "schema", `{"n":1}x`: "after the end", `{"n":1,"n":2}`: "twice",
	} {
		err := check(json.RawMessage(answer))

		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", answer, err, want)
		}
	}
}

func TestASchemaThatCannotBeCompiledIsRefused(t *testing.T) {
	for _, schema := range []string{`{"type":"objekt"}`, `{"$ref":"file:///etc/passwd"}`, `{`, `{"pattern":"("}`} {
		if _, err := tools.AnswerCheck(json.RawMessage(schema)); err == nil {
			t.Errorf("%s: got none, want an error", schema)
		}
	}
}

// absurd are numbers that take megabits, or as many bytes, to compute with.
var absurd = []string{"1e999999", "-1E+401", "1e-999999", "1.5e-401", "1e99999999999999999999", strings.Repeat("9", 401), "0." + strings.Repeat("1", 400)}

func TestAnAbsurdNumberIsReadByNobody(t *testing.T) {
	anything := json.RawMessage(`{}`)
	answer, err := tools.AnswerCheck(anything)
	if err != nil {
		t.Fatal(err)
	}
	result, err := tools.CompileResult(anything)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range absurd {
		if err := answer(json.RawMessage(`{"a":[` + n + `]}`)); err == nil {
			t.Errorf("%.20s: got none, want it refused in an answer", n)
		}
		if err := result(json.RawMessage(`{"a":[` + n + `]}`)); err == nil {
			t.Errorf("%.20s: got none, want it refused in a result", n)
		}
		if result, arguments := compiles(n); result == nil || arguments == nil {
			t.Errorf("%.20s: got %v and %v, want it refused in the schemas of results and of arguments", n, result, arguments)
		}
	}
	for _, n := range []string{"1.7976931348623157e308", "5e-324", "1E+2", "-0", "18446744073709551616"} {
		if err := result(json.RawMessage(n)); err != nil {
			t.Errorf("%s: got %v, want any number that a float64 has", n, err)
		}
		if result, arguments := compiles(n); result != nil || arguments != nil {
			t.Errorf("%s: got %v and %v, want it taken in schemas", n, result, arguments)
		}
	}
}

// compiles says what is wrong with schemas of results and of arguments that have n.
func compiles(n string) (result, arguments error) {
	schema := json.RawMessage(`{"type":"object","properties":{"x":{"maximum":` + n + `}}}`)
	_, result = tools.CompileResult(schema)
	_, arguments = tools.NewRegistry(tools.Tool{Descriptor: tools.Descriptor{Name: "x", Schema: schema}, Call: never})
	return result, arguments
}

func never(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }
