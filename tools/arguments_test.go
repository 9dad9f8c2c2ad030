package tools

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func mustCompile(t testing.TB, raw string) (json.RawMessage, *schema, []string) {
	t.Helper()
	closed, s, notes, err := compile(json.RawMessage(raw))
	if err != nil {
		t.Fatalf("compile %s: %v", raw, err)
	}
	return closed, s, notes
}

const refund = `{"type":"object","required":["order","amount","state"],"properties":{
	"order":{"type":"string","pattern":"^o-[0-9]+$"},
	"amount":{"type":"integer","minimum":1,"maximum":50000},
	"state":{"enum":["open","closed"]},
	"mail":{"type":"string","format":"email"},
	"note":{"type":"string","maxLength":5},
	"lines":{"type":"array","minItems":1,"items":{"type":"object","properties":{"sku":{"type":"string"}}}}}}`

func TestAllViolationsAreListedWithoutValues(t *testing.T) {
	_, s, _ := mustCompile(t, refund)

	_, got := s.parse(`{"order":"CANARY","amount":77777,"mail":"CANARY","note":"CANARY","lines":[{"sku":4242,"x":1}],"extra":1}`)

	want := []string{
		` has unknown fields: "extra"`, ` lacks state`,
		`/amount must be at most 50000`,
		`/lines/0 has unknown fields: "x"`, `/lines/0/sku must be string, is number`,
		`/mail must be a valid email`, `/note must have at most 5 characters`,
		`/order must match the pattern ^o-[0-9]+$`,
	}
	var lines []string
	for _, f := range got {
		lines = append(lines, f.Path+" "+f.Problem)
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, secret := range []string{"CANARY", "77777", "4242"} {
		if strings.Contains(list(got), secret) {
			t.Errorf("the problems show the value %s", secret)
		}
	}
}

func TestTheNumberOfProblemsIsBounded(t *testing.T) {
	_, s, _ := mustCompile(t, `{"type":"object","properties":{"l":{"type":"array","items":{"type":"string"}}}}`)

	_, got := s.parse(`{"l":[` + strings.Repeat("1,", 5000) + `1]}`)

	if len(got) != maxFields+1 {
		t.Errorf("got %d problems, want %d", len(got), maxFields+1)
	}
}

func TestAnIntegerIsAnInteger(t *testing.T) {
	for _, draft := range []string{"", `"$schema":"http://json-schema.org/draft-07/schema#",`} {
		_, s, _ := mustCompile(t, `{`+draft+`"type":"object","properties":{"i":{"type":"integer"},"n":{"type":"number"},"m":{"type":["integer","null"]}}}`)
		for text, ok := range map[string]bool{
			`{"i":1}`: true, `{"i":1.0}`: false, `{"i":1.5}`: false, `{"m":2.0}`: false, `{"m":2}`: true,
			`{"n":1}`: true, `{"n":1.0}`: true, `{"n":1.25}`: true, `{"i":"1"}`: false, `{"i":true}`: false,
		} {
			if _, bad := s.parse(text); (len(bad) == 0) != ok {
				t.Errorf("%s %s: got %v, want accepted %v", draft, text, bad, ok)
			}
		}
	}
}

func TestADoubleIsAsItIsWritten(t *testing.T) {
	_, s, _ := mustCompile(t, `{"type":"object","properties":{"d":{"format":"`+FormatDouble+`"},"n":{"type":"number"}}}`)
	for text, ok := range map[string]bool{
		"0": true, "1": true, "1.0": true, "-0.0": true, "0.1": true, "0.10": true, "-2.5": true, "123456789012345": true, "0.123456789012345": true, "0.30000000000000004": true,
		"9007199254740991": true, "9007199254740992": true, "9007199254740993": false, "-9007199254740993": false, "9007199254740993.0": false, "9223372036854775807": false,
		"0.10000000000000001": false, "4503599627370497.3": false, "3.14159265358979323846": false, "0.000000000000000000000000000001": true,
		`"9007199254740993"`: true, "null": true, "true": true, `[9007199254740993]`: true,
	} {
		if _, bad := s.parse(`{"d":` + text + `}`); (len(bad) == 0) != ok {
			t.Errorf("%s: got %v, want it taken %v", text, bad, ok)
		}
	}
	if _, bad := s.parse(`{"n":9007199254740993}`); len(bad) != 0 {
		t.Errorf("got %v, want other numbers left alone", bad)
	}
}

func TestUnknownFieldsAreRefusedWhateverTheSchemaSays(t *testing.T) {
	for name, tc := range map[string]struct{ schema, good, bad string }{
		"silent":         {`{"type":"object","properties":{"a":{"type":"string"}}}`, `{"a":"x"}`, `{"b":1}`},
		"open":           {`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true}`, `{"a":"x"}`, `{"b":1}`},
		"no parameters":  {`{"type":"object"}`, `{}`, `{"b":1}`},
		"nested":         {`{"type":"object","properties":{"a":{"properties":{"c":{}}}}}`, `{"a":{"c":1}}`, `{"a":{"b":1}}`},
		"in a list":      {`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"c":{}}}}}}`, `{"a":[{"c":1}]}`, `{"a":[{"b":1}]}`},
		"by reference":   {`{"type":"object","properties":{"a":{"$ref":"#/$defs/d"}},"$defs":{"d":{"type":"object","properties":{"c":{}}}}}`, `{"a":{"c":1}}`, `{"a":{"b":1}}`},
		"composed":       {`{"type":"object","allOf":[{"properties":{"a":{}}},{"properties":{"c":{}}}]}`, `{"a":1,"c":1}`, `{"b":1}`},
		"alternatives":   {`{"type":"object","properties":{"a":{"anyOf":[{"type":"object","properties":{"c":{}}},{"type":"null"}]}}}`, `{"a":{"c":1}}`, `{"a":{"b":1}}`},
		"typed map":      {`{"type":"object","properties":{"a":{"type":"object","additionalProperties":{"type":"string"}}}}`, `{"a":{"x":"y"}}`, `{"a":{"x":1}}`},
		"case, map":      {`{"type":"object","properties":{"amount":{"type":"integer"}},"additionalProperties":{"type":"integer"}}`, `{"amount":1,"b":2}`, `{"AMOUNT":500}`},
		"case, pattern":  {`{"type":"object","properties":{"amount":{"type":"integer"}},"patternProperties":{"^.+$":{}}}`, `{"amount":1,"b":2}`, `{"Amount":500}`},
		"pattern":        {`{"type":"object","properties":{"a":{}},"patternProperties":{"^x-":{}}}`, `{"a":1,"x-b":2}`, `{"b":2}`},
		"rest by schema": {`{"type":"object","allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":{"type":"string"}}`, `{"a":1,"b":"x"}`, `{"b":1}`},
		"case":           {`{"type":"object","properties":{"amount":{"type":"integer"}}}`, `{"amount":1}`, `{"Amount":500}`},
	} {
		_, s, _ := mustCompile(t, tc.schema)
		if _, bad := s.parse(tc.good); len(bad) > 0 {
			t.Errorf("%s: %s is refused: %v", name, tc.good, bad)
		}
		if _, bad := s.parse(tc.bad); len(bad) == 0 {
			t.Errorf("%s: %s is accepted", name, tc.bad)
		}
	}
}

// A condition must not become stricter: that could make the whole laxer.
func TestClosingLeavesConditionsAlone(t *testing.T) {
	_, s, _ := mustCompile(t, `{"type":"object","properties":{"a":{"type":"object","additionalProperties":{}},"b":{}},
		"not":{"properties":{"a":{"type":"object","properties":{"evil":{"const":true}},"required":["evil"]}},"required":["a"]}}`)

	if _, bad := s.parse(`{"a":{"evil":true,"more":1}}`); len(bad) == 0 {
		t.Error("closing what is below not let an evil value through")
	}
}

func TestASchemaLoadsNothingFromOutside(t *testing.T) {
	for _, ref := range []string{"file:///etc/hostname", "https://example.com/s.json", "other.json"} {
		_, _, _, err := compile(json.RawMessage(`{"type":"object","properties":{"a":{"$ref":"` + ref + `"}}}`))
		if err == nil {
			t.Errorf("a schema with a reference to %s compiles", ref)
		}
	}
	_, _, _, err := compile(json.RawMessage(`{"$schema":"file:///etc/hostname","type":"object"}`))
	if err == nil {
		t.Error("a schema in an unknown dialect compiles")
	}
}

func TestAPatternThatIsNotRE2IsDroppedAndNoted(t *testing.T) {
	closed, s, notes := mustCompile(t, `{"type":"object","properties":{"a":{"type":"string","pattern":"^(?=x).*$"}}}`)

	if _, bad := s.parse(`{"a":"y"}`); len(bad) > 0 || len(notes) != 1 || strings.Contains(string(closed), "pattern") {
		t.Errorf("got %v, notes %q, schema %s; want it dropped and one note", bad, notes, closed)
	}
}

func TestASchemaInForceIsWhatIsShown(t *testing.T) {
	same := `{"type":"object","properties":{"b":{"type":"string"},"a":{}},"additionalProperties":false}`
	if closed, _, _ := mustCompile(t, same); string(closed) != same {
		t.Errorf("got %s, want the order of %s", closed, same)
	}
	if closed, _, _ := mustCompile(t, `{"type":"object","properties":{"a":{}}}`); !strings.Contains(string(closed), `"additionalProperties":false`) {
		t.Errorf("got %s, want it closed", closed)
	}
}

func TestBadSchemasAreErrors(t *testing.T) {
	for _, raw := range []string{
		``, `null`, `true`, `{}`, `{"type":"string"}`, `{"type":["object","null"]}`, `{"type":"object","type":"object"}`,
		`{"type":"object","properties":{"a":{"type":"nothing"}}}`, `{"type":"object","properties":{"a":{"$ref":"#/$defs/none"}}}`,
		`{"type":"object","properties":[]}`, `{"type":"object","patternProperties":{"(?=x)":{}}}`, strings.Repeat("[", 100),
		`{"type":"object","description":"` + strings.Repeat("x", maxSchema) + `"}`,
	} {
		if _, _, _, err := compile(json.RawMessage(raw)); err == nil {
			t.Errorf("%.60s compiles", raw)
		}
	}
}
