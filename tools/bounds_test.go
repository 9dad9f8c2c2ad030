package tools_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools"
)

// doubling are definitions of which each uses the next one twice.
func doubling(depth int) string {
	var defs strings.Builder
	for i := range depth {
		fmt.Fprintf(&defs, `"a%d":{"anyOf":[{"$ref":"#/$defs/a%d"},{"$ref":"#/$defs/a%d"}]},`, i, i+1, i+1)
	}
	return `"$defs":{` + defs.String() + fmt.Sprintf(`"a%d":{"type":"null"}}`, depth)
}

// several is n members, or items, that are alike but for their number.
func several(n int, format string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strings.ReplaceAll(format, "%d", fmt.Sprint(i))
	}
	return strings.Join(all, ",")
}

func TestASchemaThatTakesTooLongIsRefused(t *testing.T) {
	for name, schema := range map[string]string{
		"doubling":                 `"properties":{"x":{"$ref":"#/$defs/a0"}},` + doubling(20),
		"doubling below not":       `"properties":{"x":{"type":"integer","not":{"$ref":"#/$defs/a0"}}},` + doubling(20),
		"doubling below contains":  `"properties":{"x":{"contains":{"$ref":"#/$defs/a0"}}},` + doubling(20),
		"doubling of names":        `"properties":{"x":{"propertyNames":{"$ref":"#/$defs/a0"}}},` + doubling(20),
		"itself without end":       `"properties":{"x":{"$ref":"#/$defs/a"}},"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}}`,
		"a dynamic reference":      `"properties":{"x":{"$dynamicRef":"#/$defs/a"}},"$defs":{"a":{"type":"null"}}`,
		"too many schemas":         `"properties":{` + several(8000, `"p%d":{"type":"null"}`) + `}`,
		"too many true schemas":    `"properties":{` + several(8000, `"p%d":true`) + `}`,
		"too many resources":       `"properties":{` + several(501, `"p%d":{"$id":"i%d"}`) + `}`,
		"too many places":          `"properties":{` + several(501, `"p%d":{"default":{},"$ref":"#/properties/p%d/default"}`) + `}`,
		"patterns that repeat":     `"properties":{` + several(120, `"p%d":{"pattern":"a{0,999}"}`) + `}`,
		"pattern names that do":    `"patternProperties":{` + several(120, `"p%d.{0,999}":{}`) + `}`,
		"a pattern name that does": `"patternProperties":{"` + strings.Repeat("a{0,999}", 11) + `":{}}`,
	} {
		raw := json.RawMessage(`{"type":"object",` + schema + `}`)
		if _, err := tools.CompileResult(raw); err == nil {
			t.Errorf("%s: got none, want it refused for results", name)
		}
		if _, err := tools.AnswerCheck(raw); err == nil {
			t.Errorf("%s: got none, want it refused for answers", name)
		}
		if _, err := tools.NewRegistry(tools.Tool{Descriptor: tools.Descriptor{Name: "x", Schema: raw}, Call: never}); err == nil {
			t.Errorf("%s: got none, want it refused for arguments", name)
		}
	}
}

func TestASchemaThatRealToolsHaveIsTaken(t *testing.T) {
	for name, schema := range map[string]string{
		"a tree":                `"properties":{"left":{"$ref":"#"},"right":{"$ref":"#"},"all":{"type":"array","items":{"$ref":"#"}}}`,
		"any JSON":              `"properties":{"v":{"$ref":"#/$defs/v"}},"$defs":{"v":{"anyOf":[{"type":["null","boolean","number","string"]},{"type":"array","items":{"$ref":"#/$defs/v"}},{"type":"object","additionalProperties":{"$ref":"#/$defs/v"}}]}}`,
		"a JSON Schema":         `"properties":{"v":{"$ref":"http://json-schema.org/draft-07/schema#"}}`,
		"references to a place": `"properties":{"a":{"type":"object","properties":{"b":{"type":"string"}}},"c":{"$ref":"#/properties/a/properties/b"}}`,
		"components":            `"properties":{"a":{"$ref":"#/components/schemas/b"}},"components":{"schemas":{"b":{"type":"string"}}}`,
		"a definition used 500": `"properties":{` + several(500, `"p%d":{"$ref":"#/$defs/v"}`) + `},"$defs":{"v":{"type":"string"}}`,
		"two thousand fields":   `"properties":{` + several(2000, `"p%d":{"type":["integer","string"],"pattern":"^(0|-?[1-9][0-9]{0,18})$"}`) + `}`,
		"a long text":           `"properties":{"a":{"pattern":"^.{1,1000}$"}}`,
	} {
		raw := json.RawMessage(`{"type":"object",` + schema + `}`)
		if _, err := tools.CompileResult(raw); err != nil {
			t.Errorf("%s: got %v, want it taken for results", name, err)
		}
		if _, err := tools.NewRegistry(tools.Tool{Descriptor: tools.Descriptor{Name: "x", Schema: raw}, Call: never}); err != nil {
			t.Errorf("%s: got %v, want it taken for arguments", name, err)
		}
	}
}

// What a schema takes may depend on the value: then the check has an end.
func TestACheckHasAnEnd(t *testing.T) {
	tree := strings.Repeat(`{"b":1,"a":`, 31) + "1" + strings.Repeat("}", 31)
	for _, c := range []struct{ name, schema, value string }{
		{"a tree that doubles", `{"anyOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"},"b":false}}]}`, tree},
		{"a tree that doubles below not", `{"not":{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"},"b":false}}]}}`, tree},
		{"many forms of many items", `{"items":{"anyOf":[` + several(900, `{"const":"%d"}`) + `]}}`, `[` + several(900, `%d`) + `]`},
		{"the same in an old draft", `{"$schema":"http://json-schema.org/draft-07/schema#","items":[true],"additionalItems":{"anyOf":[` + several(900, `{"const":"%d"}`) + `]}}`, `[` + several(900, `%d`) + `]`},
		{"items that are sought in many", `{"contains":{"enum":[` + several(3000, `%d`) + `]}}`, `[` + several(3000, `-%d`) + `]`},
		{"long numbers", `{"items":{"multipleOf":1e-300}}`, `[` + several(20_000, `1e-400`) + `]`},
		{"names that are required of many", `{"additionalProperties":{"required":[` + several(3000, `"n%d"`) + `]}}`, `{` + several(3000, `"%d":{}`) + `}`},
		{"names that must match", `{"propertyNames":{"anyOf":[` + several(900, `{"const":"%d"}`) + `]}}`, `{` + several(900, `"x%d":1`) + `}`},
		{"a pattern against a long text", `{"pattern":"` + strings.Repeat("[ab]{0,90}", 9) + `c"}`, `"` + strings.Repeat("a", 60_000) + `"`},
		{"items that are compared", `{"items":{"uniqueItems":true}}`, `[` + several(3000, `[[1,2],[3,4],[5,6],[7,8],[1,3],[1,4],[1,5],[1,6]]`) + `]`},
		{"a long way to it", `{"items":{"$ref":"#/$defs/d0"},"$defs":{` + several(900, `"d%d":{"$ref":"#/$defs/e%d"},"e%d":{"allOf":[{"$ref":"#/$defs/f%d"}]},"f%d":true`) + `}}`, `[` + several(60_000, `1`) + `]`},
	} {
		fit, err := tools.AnswerCheck(json.RawMessage(c.schema))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err := fit(json.RawMessage(c.value)); err == nil || !strings.Contains(err.Error(), "takes too long") {
			t.Errorf("%s: got %.200v, want it given up", c.name, err)
		}
	}
}

func TestALargeHonestValueIsChecked(t *testing.T) {
	fit, err := tools.CompileResult(json.RawMessage(`{"type":"array","items":{"type":"object","required":["id"],"additionalProperties":false,"properties":{
		"id":{"type":"integer"},"name":{"anyOf":[{"type":"string"},{"type":"null"}]},"tags":{"type":"array","uniqueItems":true,"items":{"type":"string","pattern":"^[a-z]+$"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	row := `{"id":%d,"name":null,"tags":["a","b"]}`

	if err := fit(json.RawMessage(`[` + several(6000, row) + `]`)); err != nil {
		t.Errorf("got %v, want 6000 rows to fit", err)
	}
	if err := fit(json.RawMessage(`[` + several(6000, row) + `,{"id":"x"}]`)); err == nil {
		t.Error("got none, want the last row refused")
	}
}

func TestArgumentsThatTakeTooLongAreRefused(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","properties":{"l":{"type":"array","items":{"anyOf":[` + several(900, `{"const":"%d"}`) + `]}}}}`)
	w := newWorld(t, options{tools: []tools.Tool{{Descriptor: tools.Descriptor{Name: "many", Toolset: "x", Effect: tools.Read, Schema: schema}, Call: never}}})

	got := w.finished(w.bob(), call("many", `{"l":[`+several(900, `%d`)+`]}`))

	if !got.Failed || !strings.Contains(got.Result, "takes too long to check") {
		t.Errorf("got %s, want it refused and told why", got.Result)
	}
}
