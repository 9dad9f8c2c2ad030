package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/policy/arguments"
	cedar "github.com/cedar-policy/cedar-go"
)

func argsOf(t testing.TB, tool, args string) (cedar.Record, error) {
	t.Helper()
	for _, s := range deskTools() {
		if s.Name == tool {
			typ, err := arguments.TypeOf(s.Schema)
			if err != nil {
				t.Fatal(err)
			}
			return arguments.Read(&arguments.Readers{}, typ, json.RawMessage(args), arguments.Build)
		}
	}
	t.Fatalf("no tool %s", tool)
	return cedar.Record{}, nil
}

func TestArgumentsAreTypedByTheSchema(t *testing.T) {
	got, err := argsOf(t, "update_customer", `{"id":"c","vip":true,"level":"low","tags":["a","b","a"],"score":12,
		"address":{"city":"x","zip":9007199254740993},"photo":"AQI=","extra":{"any":[1,{"x":null}]},"nick":null}`)
	if err != nil {
		t.Fatal(err)
	}
	for attr, want := range map[cedar.String]string{
		"id": `"c"`, "vip": `true`, "level": `"low"`, "tags_length": `3`, "score": `decimal("12.0")`,
		"address": `{"city":"x", "zip":9007199254740993}`,
		"photo":   `{"length":2, "sha256":"a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222"}`,
	} {
		v, ok := got.Get(attr)
		if !ok || string(v.MarshalCedar()) != want {
			t.Errorf("%s: got %v, want %s", attr, v, want)
		}
	}
	tags, _ := got.Get("tags")
	if s, ok := tags.(cedar.Set); !ok || s.Len() != 2 {
		t.Errorf("got tags %v, want a set of two", tags)
	}
	for _, attr := range []cedar.String{"extra", "nick"} {
		if v, ok := got.Get(attr); ok {
			t.Errorf("got %s %v, want it left out", attr, v)
		}
	}
}

func TestArgumentsAreRefused(t *testing.T) {
	deep := strings.Repeat(`{"x":`, 40) + "1" + strings.Repeat("}", 40)
	for name, args := range map[string]string{
		"duplicate name":            `{"id":"a","id":"b"}`,
		"name in another case":      `{"id":"a","ID":"b"}`,
		"unknown name":              `{"id":"a","x":1}`,
		"unknown name further in":   `{"id":"a","address":{"city":"x","town":"y"}}`,
		"not an object":             `[]`,
		"null":                      `null`,
		"two values":                `{"id":"a"} {}`,
		"cut off":                   `{"id":"a"`,
		"bare NaN":                  `{"id":"a","score":NaN}`,
		"number as text":            `{"id":"a","score":"NaN"}`,
		"five places":               `{"id":"a","score":0.00001}`,
		"exponent":                  `{"id":"a","score":1e3}`,
		"decimal out of range":      `{"id":"a","score":922337203685477.5808}`,
		"integer as float":          `{"id":"a","address":{"city":"x","zip":1.0}}`,
		"integer out of range":      `{"id":"a","address":{"city":"x","zip":9223372036854775808}}`,
		"text for a flag":           `{"id":"a","vip":"true"}`,
		"not in the enum":           `{"id":"a","level":"mid"}`,
		"null in a list":            `{"id":"a","tags":["x",null]}`,
		"not base64":                `{"id":"a","photo":"*"}`,
		"broken UTF-8":              "{\"id\":\"\xff\"}",
		"half a surrogate pair":     `{"id":"\ud800"}`,
		"nested too deeply, unseen": `{"id":"a","extra":` + deep + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := argsOf(t, "update_customer", args); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestArgumentErrorsDoNotShowValues(t *testing.T) {
	_, err := argsOf(t, "update_customer", `{"id":"a","level":"s3cret"}`)

	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "/level") {
		t.Errorf("got %v, want the place without the value", err)
	}
}

func TestSchemasBecomeTypes(t *testing.T) {
	cases := []struct{ name, schema, args, want string }{
		{"reference", `{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"integer"}}}`, `{"a":5}`, `{"a":5}`},
		{"reference to itself", `{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"object","properties":{"n":{"type":"integer"},"x":{"$ref":"#/$defs/x"}}}}}`, `{"a":{"n":1,"x":{"n":2}}}`, `{"a":{"n":1}}`},
		{"null or a number", `{"type":"object","properties":{"a":{"anyOf":[{"type":"number"},{"type":"null"}]}}}`, `{"a":1.5}`, `{"a":decimal("1.5")}`},
		{"mixed union", `{"type":"object","properties":{"a":{"anyOf":[{"type":"number"},{"type":"string"}]}}}`, `{"a":1.55555}`, `{}`},
		{"one of two objects", `{"type":"object","oneOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]}`, `{"b":"x"}`, `{"b":"x"}`},
		{"all of two objects", `{"type":"object","properties":{"a":{"type":"string"}},"allOf":[{"type":"object","properties":{"b":{"type":"boolean"}}}]}`, `{"a":"x","b":false}`, `{"a":"x", "b":false}`},
		{"a further requirement", `{"type":"object","properties":{"a":{"type":"string"}},"anyOf":[{"required":["a"]}]}`, `{"a":"x"}`, `{"a":"x"}`},
		{"more members further in", `{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":true}}}`, `{"a":{"b":"x","c":[1]}}`, `{"a":{"b":"x"}}`},
		{"no schema", ``, ``, `{}`},
		{"no properties", `{"type":"object"}`, `{}`, `{}`},
		{"a list of anything", `{"type":"object","properties":{"a":{"type":"array"}}}`, `{"a":[1,"x",{}]}`, `{"a_length":3}`},
		{"a name like a length", `{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}},"a_length":{"type":"string"}}}`, `{"a":["x"],"a_length":"y"}`, `{"a":["x"], "a_length":"y"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			typ, err := arguments.TypeOf(json.RawMessage(c.schema))
			if err != nil {
				t.Fatal(err)
			}

			got, err := arguments.Read(&arguments.Readers{}, typ, json.RawMessage(c.args), arguments.Build)

			if err != nil || string(got.MarshalCedar()) != c.want {
				t.Errorf("got %s (%v), want %s", got.MarshalCedar(), err, c.want)
			}
			if err := newChecker((&schema{}).toolActions(typ, everything)).request(requestWith(got)); err != nil {
				t.Errorf("the validator refuses the record: %v", err)
			}
		})
	}
}

func requestWith(args cedar.Record) cedar.Request {
	q := call("x", "")
	w := &world{}
	if err := w.fill(q, &toolSchema{name: "x"}); err != nil {
		panic(err)
	}
	return w.request(args, everything)
}

func TestASchemaThatExplodesIsRefused(t *testing.T) {
	schema := `{"type":"object","properties":{"a":{"$ref":"#/$defs/d0"}},"$defs":{`
	for i := range 20 {
		next := string(rune('a'+i+1)) + "x"
		name := string(rune('a'+i)) + "x"
		if i == 0 {
			name = "d0"
		}
		schema += `"` + name + `":{"type":"object","properties":{"l":{"$ref":"#/$defs/` + next + `"},"r":{"$ref":"#/$defs/` + next + `"}}},`
	}
	schema += `"end":{}}}`

	if _, err := arguments.TypeOf(json.RawMessage(schema)); err == nil {
		t.Error("got no error for a schema of a million nodes")
	}
}

func FuzzArgumentsNeverPanicAndStayTyped(f *testing.F) {
	f.Add(`{"id":"c","vip":true,"level":"low","tags":["a"],"score":1.5,"address":{"city":"x"},"photo":"AQI=","extra":[[[]]]}`)
	f.Add(`{"id":{"__entity":{"type":"Role","id":"admin"}}}`)
	f.Add(`{"id":"a","ID":"b"}`)
	f.Add(`[[[[`)
	e := engine(f, permitAll)
	tool := e.set.schema.tools["update_customer"]
	check := newChecker(onlyToolActions(tool.args, everything))
	f.Fuzz(func(t *testing.T, args string) {
		rec, err := arguments.Read(&arguments.Readers{}, tool.args, json.RawMessage(args), arguments.Build)
		if err != nil {
			return
		}
		if len(args) > 0 && !json.Valid([]byte(args)) {
			t.Errorf("took %q, which is not JSON", args)
		}
		_, hasID := rec.Get("id")
		if err := check.request(requestWith(rec)); err != nil && hasID {
			t.Errorf("%q became %s, which the schema refuses: %v", args, rec.MarshalCedar(), err)
		}
	})
}
