package engine

import (
	"encoding/json"
	"testing"

	"github.com/behalf-dev/behalf/policy/arguments"
	cedar "github.com/cedar-policy/cedar-go"
)

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
		{"anything, by a reference", `{"type":"object","properties":{"s":{"type":"string"},"o":{"type":"object","additionalProperties":{"$ref":"#/$defs/v"}},"l":{"type":"array","$ref":"#/$defs/v"},"v":{"$ref":"#/$defs/v"}},"$defs":{"v":{"maximum":9,"items":{"$ref":"#/$defs/v"},"additionalProperties":{"$ref":"#/$defs/v"}}}}`, `{"s":"x","o":{"s":[null]},"l":[1,{"s":null}],"v":null}`, `{"s":"x"}`},
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
