package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"github.com/google/go-cmp/cmp"
)

type address struct {
	City string `json:"city"`
}

type everything struct {
	Name   string          `json:"name" jsonschema:"who it is"`
	State  string          `json:"state" enum:"open,closed"`
	Level  int             `json:"level,omitempty" enum:"1,2"`
	Tags   []string        `json:"tags,omitempty" enum:"a,b"`
	Home   *address        `json:"home,omitempty"`
	Lines  []address       `json:"lines,omitempty"`
	Extra  json.RawMessage `json:"extra,omitempty"`
	When   time.Time       `json:"when,omitzero"`
	Price  json.Number     `json:"price,omitempty"`
	Blob   []byte          `json:"blob,omitempty"`
	Counts map[string]int  `json:"counts,omitempty"`
	Any    any             `json:"any,omitempty"`
	Small  int8            `json:"small,omitempty"`
	hidden string          //nolint:unused // shows that unexported fields are left out
}

func echo[In any](_ context.Context, in In) (In, error) { return in, nil }

func TestTheSchemaOfAFuncTellsTheTruth(t *testing.T) {
	tool := tools.Func("t", "", echo[everything])
	if _, err := tools.NewRegistry(tool); err != nil {
		t.Fatal(err)
	}
	want := `{"type":"object","properties":{"name":{"type":"string","description":"who it is"},"state":{"type":"string","enum":["open","closed"]},` +
		`"level":{"type":"integer","enum":[1,2]},"tags":{"type":"array","items":{"type":"string","enum":["a","b"]}},` +
		`"home":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false},` +
		`"lines":{"type":"array","items":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}},` +
		`"extra":true,"when":{"type":"string","format":"date-time"},"price":{"type":"number"},"blob":{"type":"string","contentEncoding":"base64"},` +
		`"counts":{"type":"object","additionalProperties":{"type":"integer"}},"any":true,"small":{"type":"integer","minimum":-128,"maximum":127}},` +
		`"required":["name","state"],"additionalProperties":false}`
	if diff := cmp.Diff(normal(t, tool.Schema), normal(t, json.RawMessage(want))); diff != "" {
		t.Errorf("schema (-got +want):\n%s", diff)
	}
}

func normal(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

func TestAFuncKeepsNumbersExact(t *testing.T) {
	tool := tools.Func("t", "", echo[everything])
	args := `{"name":"n","state":"open","price":0.10,"any":{"n":9007199254740993},"extra":{"n":9007199254740993},"small":127}`

	got, err := tool.Call(t.Context(), json.RawMessage(args))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"price":0.10`, `"any":{"n":9007199254740993}`, `"extra":{"n":9007199254740993}`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("got %s, want %s in it", got, want)
		}
	}
}

// A Func is strict by itself: a redaction may have changed what the gate saw.
func TestAFuncDecodesStrictly(t *testing.T) {
	called := false
	tool := tools.Func("t", "", func(context.Context, everything) (bool, error) { called = true; return true, nil })
	for _, args := range []string{
		``, `null`, `[]`, `{"NAME":"n","state":"open"}`, `{"name":"n","state":"open","State":"x"}`, `{"name":"n","name":"m"}`,
		`{"nope":1}`, `{"home":{"City":"x"}}`, `{"lines":[{"city":"x","zip":1}]}`, `{"small":300}`, `{"level":1.5}`, `{"name":1}`,
		`{"counts":{"a":1e2}}`, `{"name":"n"} {}`, `{"hidden":"x"}`, `{"when":"yesterday"}`, `{"blob":"!"}`,
	} {
		_, err := tool.Call(t.Context(), json.RawMessage(args))
		if !errors.Is(err, fault.ArgumentInvalid) || called {
			t.Errorf("%s: got %v, called %v", args, err, called)
		}
		if err != nil && strings.Contains(fault.From(err).Message, "300") {
			t.Errorf("%s: the message shows the value: %v", args, err)
		}
	}
}

type itself struct{}

func (*itself) UnmarshalJSON([]byte) error { return nil }

type text struct{}

func (*text) UnmarshalText([]byte) error { return nil }

type cycle struct{ Next *cycle }

type bytes8 []uint8

func TestATypeWhoseSchemaWouldLieIsAnError(t *testing.T) {
	for name, tool := range map[string]tools.Tool{
		"not a struct":   tools.Func("t", "", echo[string]),
		"a map":          tools.Func("t", "", echo[map[string]any]),
		"a pointer":      tools.Func("t", "", echo[*address]),
		"a time":         tools.Func("t", "", echo[time.Time]),
		"duration":       tools.Func("t", "", echo[struct{ D time.Duration }]),
		"deep duration":  tools.Func("t", "", echo[struct{ D []map[string]*time.Duration }]),
		"decodes itself": tools.Func("t", "", echo[struct{ D itself }]),
		"from text":      tools.Func("t", "", echo[struct{ D *text }]),
		"big":            tools.Func("t", "", echo[struct{ D *big.Int }]),
		"named bytes":    tools.Func("t", "", echo[struct{ D bytes8 }]),
		"interface":      tools.Func("t", "", echo[struct{ D error }]),
		"channel":        tools.Func("t", "", echo[struct{ D chan int }]),
		"function":       tools.Func("t", "", echo[struct{ D func() }]),
		"cycle":          tools.Func("t", "", echo[cycle]),
		"integer keys":   tools.Func("t", "", echo[struct{ D map[int]string }]),
		"string option": tools.Func("t", "", echo[struct {
			D int `json:",string"`
		}]),
		"case": tools.Func("t", "", echo[struct{ Amount, AMOUNT int }]),
		"embedded, named": tools.Func("t", "", echo[struct {
			address `json:"a"`
		}]),
		"enum of a bool": tools.Func("t", "", echo[struct {
			D bool `enum:"true"`
		}]),
		"enum of text": tools.Func("t", "", echo[struct {
			D int `enum:"one"`
		}]),
		"enum option":     tools.Func("t", "", echo[struct{ D int }], tools.Enum("D", "x")),
		"enum of nothing": tools.Func("t", "", echo[address], tools.Enum("nope", "x")),
		"no function":     tools.Func[address, string]("t", "", nil),
	} {
		if _, err := tools.NewRegistry(tool); err == nil {
			t.Errorf("%s: accepted with schema %s", name, tool.Schema)
		}
	}
}

func TestOptionsDescribeTheTool(t *testing.T) {
	tool := tools.Func("t", "What it does.", echo[address], tools.ReadOnly(), tools.Idempotent(), tools.Scopes("b", "a"), tools.Risk("high"),
		tools.OwnerParam("city", tools.OwnerTenant), tools.Enum("city", "Rome", "Oslo"))
	r, err := tools.NewRegistry(tool)
	if err != nil {
		t.Fatal(err)
	}

	got, _ := r.Descriptor("t")

	want := &tools.Descriptor{
		Name: "t", Description: "What it does.", Scopes: []string{"b", "a"}, Effect: tools.Read, Risk: "high", Idempotent: true,
		Owners: map[string]tools.Owner{"city": tools.OwnerTenant},
		Schema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string","enum":["Rome","Oslo"]}},"required":["city"],"additionalProperties":false}`),
		Result: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`),
	}
	if diff := cmp.Diff(normal(t, got.Schema), normal(t, want.Schema)); diff != "" {
		t.Errorf("schema (-got +want):\n%s", diff)
	}
	got.Schema, want.Schema = nil, nil
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

func TestAFuncWithoutParametersTakesAnEmptyObject(t *testing.T) {
	w := newWorld(t, options{tools: []tools.Tool{tools.Func("ping", "", func(context.Context, struct{}) (string, error) { return "<pong>", nil })}})

	if fin := w.finished(w.bob(), call("ping", "{}")); fin.Result != `"<pong>"` {
		t.Errorf("got %+v", fin)
	}
	for _, args := range []string{``, `""`, `null`, `{"a":1}`} {
		if fin := w.finished(w.bob(), call("ping", args)); fin.Reason != string(fault.ArgumentInvalid) {
			t.Errorf("%q: got %+v", args, fin)
		}
	}
}

func TestAFunctionLearnsItsSessionFromTheGateAlone(t *testing.T) {
	where := tools.FuncIn("where", "Says where it is.", func(_ context.Context, from tools.Origin, _ struct{}) (string, error) {
		return "in " + from.SessionID, nil
	})
	w := newWorld(t, options{tools: []tools.Tool{where}})

	in := call("where", "{}")
	in.SessionID = "ses_1"
	if got := w.finished(w.bob(), in); got.Result != `"in ses_1"` {
		t.Errorf("got %s", got.Result)
	}
	if got, err := where.Call(t.Context(), []byte("{}")); err != nil || string(got) != `"in "` {
		t.Errorf("got %s, %v without a gate, want no session", got, err)
	}
	if _, err := tools.NewRegistry(tools.FuncIn[struct{}, string]("none", "Nothing.", nil)); err == nil {
		t.Error("got a tool of no function")
	}
}
