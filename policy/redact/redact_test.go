package redact

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/policy/arguments"
)

func redaction(t testing.TB, text string) *Redaction {
	t.Helper()
	r, err := New(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResultsLoseWhatAPathNames(t *testing.T) {
	cases := []struct{ path, result, want string }{
		{"$.ssn", `{"name":"A <b>","ssn":"123"}`, `{"name":"A <b>","ssn":"[redacted]"}`},
		{"$.ssn", `{"ssn":123456789}`, `{"ssn":"[redacted]"}`},
		{"$.ssn", `{"ssn":{"a":[1]}}`, `{"ssn":"[redacted]"}`},
		{"$.ssn", `{"ssn":null}`, `{"ssn":"[redacted]"}`},
		{"$.ssn", `{"SSN":"123"}`, `{"SSN":"123"}`},
		{"$.ssn", `{"n":9007199254740993,"f":1.10,"e":1e400}`, `{"e":1e400,"f":1.10,"n":9007199254740993}`},
		{"$.ssn", `null`, `null`},
		{"$.ssn", `[]`, `[]`},
		{"$['a b'].c", `{"a b":{"c":"x"}}`, `{"a b":{"c":"[redacted]"}}`},
		{"$.list[*].ssn", `{"list":[{"ssn":"1"},{"x":2},{"ssn":"3"}]}`, `{"list":[{"ssn":"[redacted]"},{"x":2},{"ssn":"[redacted]"}]}`},
		{"$[1]", `["a","b"]`, `["a","[redacted]"]`},
		{"$[-1]", `["a","b"]`, `["a","[redacted]"]`},
		{"$.*", `{"a":1,"b":{"c":2}}`, `{"a":"[redacted]","b":"[redacted]"}`},
		{"$..a..ssn", `{"ssn":"1","a":[{"b":{"ssn":"2"}}]}`, `{"a":[{"b":{"ssn":"[redacted]"}}],"ssn":"1"}`},
		{"$..ssn", `{"ssn":"1","a":[{"ssn":"2","b":{"ssn":{"ssn":"3"}}}]}`, `{"a":[{"b":{"ssn":"[redacted]"},"ssn":"[redacted]"}],"ssn":"[redacted]"}`},
	}
	for _, c := range cases {
		got, err := redaction(t, "result:"+c.path).Result(json.RawMessage(c.result))

		if err != nil || string(got) != c.want {
			t.Errorf("%s on %s: got %s (%v), want %s", c.path, c.result, got, err, c.want)
		}
	}
}

func TestAResultThatCannotBeRedactedIsReplacedWhole(t *testing.T) {
	for name, result := range map[string]string{
		"no JSON":        `ssn: 123`,
		"a bare text":    `"ssn 123"`,
		"a bare number":  `123`,
		"duplicate keys": `{"ssn":"1","ssn":{}}`,
		"trailing bytes": `{"ssn":"1"} {"ssn":"2"}`,
		"broken UTF-8":   "{\"ssn\":\"1\",\"x\":\"\xff\"}",
		"too deep":       strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"empty":          ``,
		"cut off":        `{"ssn":"1"`,
	} {
		got, err := redaction(t, "result:$.ssn").Result(json.RawMessage(result))

		if err == nil || string(got) != `"[redacted]"` {
			t.Errorf("%s: got %s (%v), want the mark and a cause", name, got, err)
		}
	}
}

func TestWithoutADutyResultsPassUnchanged(t *testing.T) {
	got, err := redaction(t, "args:$.x").Result(json.RawMessage("not JSON"))

	if err != nil || string(got) != "not JSON" {
		t.Errorf("got %s (%v), want the bytes as they are", got, err)
	}
}

func TestSentArgumentsLackWhatAPathNames(t *testing.T) {
	r := redaction(t, "args:$.note, args:$.to[*]")

	sent, changed, err := r.Args(json.RawMessage(`{"n":9007199254740993,"note":"secret","to":["a","b"]}`))
	if err != nil || !changed || string(sent) != `{"n":9007199254740993,"note":"[redacted]","to":["[redacted]","[redacted]"]}` {
		t.Errorf("got %s changed=%v (%v)", sent, changed, err)
	}

	same := `{ "n": 1 }`
	sent, changed, err = r.Args(json.RawMessage(same))
	if err != nil || changed || string(sent) != same {
		t.Errorf("got %s changed=%v (%v), want the bytes as they are", sent, changed, err)
	}

	if _, _, err = r.Args(json.RawMessage(`{"note":"a","note":"b"}`)); err == nil {
		t.Error("got no error for arguments with a duplicate name")
	}
}

func TestRedactionsThatCannotBeReadCannotBeArmed(t *testing.T) {
	for _, text := range []string{"nonsense", "pii:", "pii:ssn", "stream:$.a", "stream:pii:cards", "args:pii:", "stream:card", "result:$.a, pii:Card", "result:$..a..b..c", "args:$..a.b..*..c"} {
		if _, err := New(text); err == nil {
			t.Errorf("%s: got no error", text)
		}
	}
}

func FuzzRedactedResultsAreJSONWithoutTheValue(f *testing.F) {
	for _, s := range []string{`{"ssn":"s3cr3t"}`, `[{"a":{"ssn":["s3cr3t"]}}]`, `{"ssn":"s3cr3t","ssn":1}`, `"s3cr3t"`, `{"a":[[[{"ssn":{}}]]]}`} {
		f.Add(s)
	}
	r := redaction(f, "result:$..ssn, result:$.a[*].b")
	f.Fuzz(func(t *testing.T, result string) {
		got, _ := r.Result(json.RawMessage(result))
		if !json.Valid(got) {
			t.Fatalf("got %q, which is not JSON", got)
		}
		doc, err := arguments.Decode(got)
		if err != nil {
			t.Fatalf("got %q: %v", got, err)
		}
		if leaks(doc) {
			t.Fatalf("got %s from %q", got, result)
		}
	})
}

// leaks walks the document without the library that redacted it.
func leaks(doc any) bool {
	switch v := doc.(type) {
	case map[string]any:
		for name, member := range v {
			if name == "ssn" && member != Mark || leaks(member) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if leaks(item) {
				return true
			}
		}
	}
	return false
}

func TestAResultOfAnotherShapeThanAPathIsReplacedWhole(t *testing.T) {
	for _, c := range []struct{ path, result string }{
		{"$.ssn", `[{"ssn":"1"}]`},
		{"$.customer.ssn", `{"customer":[{"ssn":"1"}]}`},
		{"$.customer.ssn", `{"customer":"ssn 1"}`},
		{"$.customer.ssn", `{"customer":1}`},
		{"$.customers[*].ssn", `{"customers":{"ssn":"1"}}`},
		{"$.customers[*].ssn", `{"customers":{"ssn":{"v":"1"}}}`},
		{"$.customers[*].ssn", `{"customers":[[{"ssn":"1"}]]}`},
		{"$.customers[*].ssn", `{"customers":[{"ssn":"1"},"ssn 2"]}`},
		{"$.customers.*.ssn", `{"customers":{"ssn":"1"}}`},
		{"$[*].ssn", `{"ssn":"1"}`},
		{"$[*].ssn", `[[{"ssn":"1"}]]`},
		{"$.a[0]", `{"a":{"0":"1"}}`},
		{"$.a[0].ssn", `{"a":[[{"ssn":"1"}]]}`},
		{"$..customer.ssn", `{"a":[{"customer":[{"ssn":"1"}]}]}`},
		{"$..customers[*].ssn", `{"a":{"customers":{"ssn":{"v":"1"}}}}`},
		{"$.name, result:$.customer.ssn", `{"name":"A","customer":[{"ssn":"1"}]}`},
	} {
		got, err := redaction(t, "result:"+c.path).Result(json.RawMessage(c.result))

		if err == nil || string(got) != `"[redacted]"` {
			t.Errorf("%s on %s: got %s (%v), want the mark and a cause", c.path, c.result, got, err)
		}
	}
}

// The library does not replace all that it finds behind a wildcard and a descent.
func TestAPathThatCouldNotBeAppliedEverywhereHidesEverything(t *testing.T) {
	for _, c := range []struct{ path, doc string }{
		{"$[*]..ssn", `[{"b":{"ssn":"123"},"c":[]},[]]`},
		{"$.*..ssn", `[[{"ssn":{"ssn":"123"}}],[]]`},
	} {
		result, err := redaction(t, "result:"+c.path).Result(json.RawMessage(c.doc))
		if strings.Contains(string(result), "123") {
			t.Errorf("%s on %s: got %s (%v), want no trace of it in a result", c.path, c.doc, result, err)
		}
		args, _, err := redaction(t, "args:"+c.path).Args(json.RawMessage(c.doc))
		if err == nil && strings.Contains(string(args), "123") {
			t.Errorf("%s on %s: got %s, want it taken out of arguments, or an error", c.path, c.doc, args)
		}
	}
}

func TestWhatIsNotThereNeedsNoRedaction(t *testing.T) {
	for _, c := range []struct{ path, result, want string }{
		{"$.customer.ssn", `{"customer":null}`, `{"customer":null}`},
		{"$.customer.ssn", `{"customer":[]}`, `{"customer":[]}`},
		{"$.customer.ssn", `{}`, `{}`},
		{"$.customers[*].ssn", `{"customers":[]}`, `{"customers":[]}`},
		{"$.customers[*].ssn", `{"customers":[{"x":1},null]}`, `{"customers":[{"x":1},null]}`},
		{"$.a[-3].ssn", `{"a":[1,2]}`, `{"a":[1,2]}`},
		{"$.customer, result:$.customer.ssn", `{"customer":{"ssn":"1"}}`, `{"customer":"[redacted]"}`},
		{"$.customer.ssn", `{"customer":"[redacted]"}`, `{"customer":"[redacted]"}`},
		{"$.a[*]", `{"a":{"b":"1"}}`, `{"a":{"b":"[redacted]"}}`},
		{"$.a.*.ssn", `{"a":{"b":{"ssn":"1"}}}`, `{"a":{"b":{"ssn":"[redacted]"}}}`},
		{"$..ssn", `{"a":[[{"ssn":"1"}],"x",2]}`, `{"a":[[{"ssn":"[redacted]"}],"x",2]}`},
		{"$..a.ssn", `{"x":[{"a":{"ssn":"1"}},{"b":"2"}]}`, `{"x":[{"a":{"ssn":"[redacted]"}},{"b":"2"}]}`},
		{"$..[*].ssn", `{"x":[{"ssn":"1"},2],"y":"z"}`, `{"x":[{"ssn":"[redacted]"},2],"y":"z"}`},
	} {
		got, err := redaction(t, "result:"+c.path).Result(json.RawMessage(c.result))

		if err != nil || string(got) != c.want {
			t.Errorf("%s on %s: got %s (%v), want %s", c.path, c.result, got, err, c.want)
		}
	}
}
