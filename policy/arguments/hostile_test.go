package arguments_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/policy/arguments"
	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// refundSchema is that of a tool that is worth attacking.
const refundSchema = `{"type":"object","required":["order","amount"],"properties":{
	"order":{"type":"string"},"amount":{"type":"integer"},"price":{"type":"number"},"fast":{"type":"boolean"},"level":{"enum":["low","high"]},
	"tags":{"type":"array","items":{"type":"string"}},"to":{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":"integer"}},"required":["city"]},
	"photo":{"type":"string","contentEncoding":"base64"},"any":{"type":"object"},"nick":{"type":["string","null"]}}}`

func refundType(t testing.TB) *arguments.Type {
	t.Helper()
	typ, err := arguments.TypeOf(json.RawMessage(refundSchema))
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// hostile are texts that a model, or whoever talks it into something, may write
// where policies bound amounts and compare names. Each is refused, or it is read as
// exactly what any other reader of the same bytes makes of it; want is that, as
// Cedar prints it, and empty for what is refused.
func hostile() []struct{ name, args, want string } {
	base := func(more string) string { return `{"order":"o","amount":5` + more + `}` }
	amount := func(n string) string { return `{"order":"o","amount":` + n + `}` }
	price := func(n string) string { return base(`,"price":` + n) }
	nested := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	long := strings.Repeat("k", 100_000)
	return []struct{ name, args, want string }{
		// Two readers, two meanings.
		{"duplicate name, small first", `{"order":"o","amount":5,"amount":50000}`, ""},
		{"duplicate name, small last", `{"order":"o","amount":50000,"amount":5}`, ""},
		{"duplicate name by an escape", `{"order":"o","amount":5,"\u0061mount":50000}`, ""},
		{"duplicate name further in", base(`,"to":{"city":"a","city":"b"}`), ""},
		{"duplicate name where nothing looks", base(`,"any":{"a":1,"a":2}`), ""},
		{"another case", `{"order":"o","amount":5,"AMOUNT":50000}`, ""},
		{"only another case", `{"order":"o","Amount":5}`, ""},
		{"a Kelvin sign for a k", base(`,"nic\u212a":"x"`), ""},
		{"a long s for an s", base(`,"tag\u017f":["x"]`), ""},
		{"a Cyrillic a", `{"order":"o","amount":5,"аmount":50000}`, ""},
		{"a name with a combining mark", `{"order":"o","amount":5,"amount\u0301":50000}`, ""},
		{"a name with a space of no width", `{"order":"o","amount":5,"amount\u200b":50000}`, ""},
		{"a name with a NUL", `{"order":"o","amount":5,"amount\u0000":50000}`, ""},
		{"a name of nothing", base(`,"":1`), ""},
		{"a name that is huge", base(`,"` + long + `":1`), ""},
		{"the name of a prototype", base(`,"__proto__":{"amount":50000}`), ""},
		{"an unknown name", base(`,"x":1`), ""},
		{"an unknown name further in", base(`,"to":{"city":"x","town":"y"}`), ""},
		{"a required name missing further in", base(`,"to":{"zip":1}`), ""},
		{"the length of a list", base(`,"tags":["a"],"tags_length":0`), ""},
		// Entities and extensions.
		{"an entity for a text", `{"order":{"__entity":{"type":"User","id":"acme/bob"}},"amount":5}`, ""},
		{"an entity for a number", amount(`{"__entity":{"type":"Role","id":"admin"}}`), ""},
		{"an extension for a number", amount(`{"__extn":{"fn":"decimal","arg":"0.0"}}`), ""},
		{"an extension for a price", price(`{"__extn":{"fn":"decimal","arg":"0.0"}}`), ""},
		{"an entity beside the fields", base(`,"__entity":{"type":"Role","id":"admin"}`), ""},
		{"an entity in a list", base(`,"tags":[{"__entity":{"type":"Role","id":"admin"}}]`), ""},
		{"an entity where nothing looks", base(`,"any":{"__entity":{"type":"Role","id":"admin"}}`), `{"amount":5, "order":"o"}`},
		{"a policy in a text", `{"order":"\") || true //","amount":5}`, `{"amount":5, "order":"\") || true //"}`},
		// Whole numbers.
		{"one more than a float has", amount("9007199254740993"), `{"amount":9007199254740993, "order":"o"}`},
		{"the largest", amount("9223372036854775807"), `{"amount":9223372036854775807, "order":"o"}`},
		{"the smallest", amount("-9223372036854775808"), `{"amount":-9223372036854775808, "order":"o"}`},
		{"one above the largest", amount("9223372036854775808"), ""},
		{"one below the smallest", amount("-9223372036854775809"), ""},
		{"it wraps around to five", amount("18446744073709551621"), ""},
		{"a hundred digits", amount(strings.Repeat("9", 100)), ""},
		{"minus nothing", amount("-0"), `{"amount":0, "order":"o"}`},
		{"a whole float", amount("5.0"), ""},
		{"an exponent", amount("5e0"), ""},
		{"1e400", amount("1e400"), ""},
		{"a leading nought", amount("05"), ""},
		{"a plus", amount("+5"), ""},
		{"hexadecimal", amount("0x5"), ""},
		{"underscores", amount("5_000"), ""},
		{"Arabic digits", amount("٥"), ""},
		{"a text", amount(`"5"`), ""},
		{"a flag", amount("true"), ""},
		{"null", amount("null"), ""},
		{"a list of one", amount("[5]"), ""},
		{"NaN", amount("NaN"), ""},
		{"infinity", amount("-Infinity"), ""},
		// Decimals.
		{"four places", price("0.0001"), `{"amount":5, "order":"o", "price":decimal("0.0001")}`},
		{"five places", price("0.00001"), ""},
		{"five places, the last nought", price("1.00000"), ""},
		{"the largest price", price("922337203685477.5807"), `{"amount":5, "order":"o", "price":decimal("922337203685477.5807")}`},
		{"above the largest price", price("922337203685477.5808"), ""},
		{"a price of 1e400", price("1e400"), ""},
		{"a price of 1E2", price("1E2"), ""},
		{"a price that is not one", price("NaN"), ""},
		{"a price as a text", price(`"0.01"`), ""},
		{"a price below nought", price("-0.0001"), `{"amount":5, "order":"o", "price":decimal("-0.0001")}`},
		{"a tenth", price("0.1"), `{"amount":5, "order":"o", "price":decimal("0.1")}`},
		// Texts.
		{"half a pair", `{"order":"\ud800","amount":5}`, ""},
		{"the other half", `{"order":"\udc00","amount":5}`, ""},
		{"half a pair as a name", base(`,"\ud800":1`), ""},
		{"bytes of no character", "{\"order\":\"\xc0\xaf\",\"amount\":5}", ""},
		{"half a pair in bytes", "{\"order\":\"\xed\xa0\x80\",\"amount\":5}", ""},
		{"a NUL in a text", `{"order":"o\u0000x","amount":5}`, `{"amount":5, "order":"o\0x"}`},
		{"a raw NUL", "{\"order\":\"o\x00\",\"amount\":5}", ""},
		{"a raw line", "{\"order\":\"o\n\",\"amount\":5}", ""},
		{"right to left", `{"order":"\u202eo","amount":5}`, `{"amount":5, "order":"\u{202e}o"}`},
		{"a text for a flag", base(`,"fast":"true"`), ""},
		{"not in the list", base(`,"level":"LOW"`), ""},
		{"in the list with a space", base(`,"level":"low "`), ""},
		{"in the list in wide letters", base(`,"level":"ｌｏｗ"`), ""},
		{"base64 with a line", base(`,"photo":"AQ\n=="`), ""},
		{"base64 with bits to spare", base(`,"photo":"AR=="`), ""},
		{"base64 for addresses", base(`,"photo":"-_8="`), ""},
		// The document.
		{"a mark of the byte order", "\ufeff" + base(""), ""},
		{"a second value", base("") + `{"amount":50000}`, ""},
		{"a brace too many", base("") + "}", ""},
		{"a NUL behind", base("") + "\x00", ""},
		{"a comment", `{"order":"o",/*"amount":50000,*/"amount":5}`, ""},
		{"a comma too many", base(","), ""},
		{"single quotes", `{'order':'o','amount':5}`, ""},
		{"a name without quotes", `{order:"o",amount:5}`, ""},
		{"cut off", `{"order":"o","amount":5`, ""},
		{"a list around", `[` + base("") + `]`, ""},
		{"a text around", `"{\"order\":\"o\",\"amount\":5}"`, ""},
		{"null alone", "null", ""},
		{"in sixteen bits", "{\x00}\x00", ""},
		{"deep where nothing looks", base(`,"any":` + nested(`{"x":`, `}`, 40)), ""},
		{"deep lists", base(`,"any":{"x":` + nested("[", "]", 10_000) + `}`), ""},
		{"never closed", base(`,"any":` + strings.Repeat(`{"x":`, 10_000)), ""},
		{"null for what may be", base(`,"nick":null`), `{"amount":5, "order":"o"}`},
		{"null in a list", base(`,"tags":["a",null]`), ""},
		{"the same twice in a list", base(`,"tags":["a","a","a"]`), `{"amount":5, "order":"o", "tags":["a"], "tags_length":3}`},
		{"nothing", "", ""},
	}
}

func TestHostileArgumentsAreRefusedOrExact(t *testing.T) {
	typ := refundType(t)
	var readers arguments.Readers // the same for all: nothing of one may be left in the next
	for _, c := range hostile() {
		t.Run(c.name, func(t *testing.T) {
			got, err := arguments.Read(&readers, typ, json.RawMessage(c.args), arguments.Build)

			switch {
			case c.want == "" && err == nil:
				t.Errorf("got %s, want it refused", got.MarshalCedar())
			case c.want != "" && (err != nil || string(got.MarshalCedar()) != c.want):
				t.Errorf("got %s (%v), want %s", got.MarshalCedar(), err, c.want)
			}
			if _, plain := arguments.Decode([]byte(c.args)); err == nil && plain != nil {
				t.Errorf("without a schema: %v", plain)
			}
			if _, checked := arguments.Read(&readers, typ, json.RawMessage(c.args), arguments.CheckOnly); (checked == nil) != (err == nil) {
				t.Errorf("read: %v, only checked: %v", err, checked)
			}
		})
	}
}

func FuzzWhatIsReadIsWhatIsWritten(f *testing.F) {
	for _, c := range hostile() {
		if len(c.args) < 1000 {
			f.Add(c.args)
		}
	}
	typ := refundType(f)
	f.Fuzz(func(t *testing.T, args string) {
		rec, err := arguments.Read(&arguments.Readers{}, typ, json.RawMessage(args), arguments.Build)
		if _, checked := arguments.Read(&arguments.Readers{}, typ, json.RawMessage(args), arguments.CheckOnly); (checked == nil) != (err == nil) {
			t.Fatalf("%q: read: %v, only checked: %v", args, err, checked)
		}
		if err != nil {
			return
		}
		var plain map[string]any
		d := json.NewDecoder(strings.NewReader(args))
		d.UseNumber()
		if err := d.Decode(&plain); err != nil || !utf8.ValidString(args) {
			t.Fatalf("took %q, which is not JSON: %v", args, err)
		}
		sameRecord(t, args, rec, plain)
	})
}

// sameRecord holds a record against what the standard library reads.
func sameRecord(t *testing.T, args string, rec cedar.Record, plain map[string]any) {
	t.Helper()
	for name, v := range rec.All() {
		if p, there := plain[string(name)]; there && !sameValue(t, args, v, p) {
			t.Errorf("%q: %s is %s, want %v", args, name, v.MarshalCedar(), p)
		}
	}
}

func sameValue(t *testing.T, args string, v cedar.Value, p any) bool {
	t.Helper()
	switch v := v.(type) {
	case types.String:
		return p == any(string(v))
	case types.Boolean:
		return p == any(bool(v))
	case types.Long, types.Decimal:
		n, ok := p.(json.Number)
		got, isNumber := new(big.Rat).SetString(v.String())
		want, wanted := new(big.Rat).SetString(n.String())
		return ok && isNumber && wanted && got.Cmp(want) == 0
	case types.Record:
		if inner, ok := p.(map[string]any); ok {
			sameRecord(t, args, v, inner)
		}
	}
	return true
}
