package tools_test

import (
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
