package arguments_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/policy/arguments"
	cedar "github.com/cedar-policy/cedar-go"
)

func read(t testing.TB, args string) (cedar.Record, error) {
	t.Helper()
	return arguments.Read(&arguments.Readers{}, refundType(t), json.RawMessage(args), arguments.Build)
}

func TestArgumentsAreTypedByTheSchema(t *testing.T) {
	got, err := read(t, `{"order":"c","amount":1,"fast":true,"level":"low","tags":["a","b","a"],"price":12,
		"to":{"city":"x","zip":9007199254740993},"photo":"AQI=","any":{"any":[1,{"x":null}]},"nick":null}`)
	if err != nil {
		t.Fatal(err)
	}
	for attr, want := range map[cedar.String]string{
		"order": `"c"`, "fast": `true`, "level": `"low"`, "tags_length": `3`, "price": `decimal("12.0")`,
		"to":    `{"city":"x", "zip":9007199254740993}`,
		"photo": `{"length":2, "sha256":"a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222"}`,
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
	for _, attr := range []cedar.String{"any", "nick"} {
		if v, ok := got.Get(attr); ok {
			t.Errorf("got %s %v, want it left out", attr, v)
		}
	}
}

func TestArgumentErrorsDoNotShowValues(t *testing.T) {
	_, err := read(t, `{"order":"a","amount":1,"level":"s3cret"}`)

	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "/level") {
		t.Errorf("got %v, want the place without the value", err)
	}
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

// manyUses is a schema that uses b in a hundred places, which uses c in 48 each.
func manyUses(c, more string) json.RawMessage {
	var outer, inner []string
	for i := range 100 {
		outer = append(outer, fmt.Sprintf(`"p%d":{"$ref":"#/$defs/b"}`, i))
	}
	for i := range 48 {
		inner = append(inner, fmt.Sprintf(`"q%d":{"$ref":"#/$defs/c"}`, i))
	}
	return json.RawMessage(`{"type":"object","properties":{` + strings.Join(outer, ",") + `},"$defs":{"b":{"type":"object","properties":{` +
		strings.Join(inner, ",") + `}},"c":` + c + more + `}}`)
}

func TestASchemaIsParsedOnce(t *testing.T) {
	once := allocated(t, manyUses(`{"type":"string"}`, ""))

	var unused strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&unused, `,"z%d":{}`, i)
	}
	large := allocated(t, manyUses(`{"type":"string"}`, unused.String()))

	if large > once+10_000 {
		t.Errorf("got %.0f allocations, and %.0f without a thousand definitions that nothing uses: they are parsed for each use of another", large, once)
	}
}

func allocated(t *testing.T, schema json.RawMessage) float64 {
	t.Helper()
	return testing.AllocsPerRun(1, func() {
		if _, err := arguments.TypeOf(schema); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAListOfWordsThatIsUsedEverywhereIsRefused(t *testing.T) {
	words := strings.Repeat(`"x",`, 2000) + `"x"`
	for _, c := range []string{`{"type":"string","enum":[` + words + `]}`, `{"type":"object","properties":{},"required":[` + words + `]}`} {
		if _, err := arguments.TypeOf(manyUses(c, "")); err == nil {
			t.Errorf("got no error for ten million words: %.60s", c)
		}
	}
}

func TestALongMayBeWrittenAsATextWhereTheSchemaSaysSo(t *testing.T) {
	typ, err := arguments.TypeOf(json.RawMessage(`{"type":"object","properties":{"amount":{"type":["integer","string"],"format":"int64"},"loose":{"type":["integer","string"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		`{"amount":9007199254740993}`: "9007199254740993", `{"amount":"9007199254740993"}`: "9007199254740993", `{"amount":"-5"}`: "-5",
		`{"amount":"+5"}`: "", `{"amount":"05"}`: "", `{"amount":"-0"}`: "", `{"amount":" 5"}`: "", `{"amount":"5.0"}`: "", `{"amount":"5e0"}`: "", `{"amount":""}`: "",
		`{"amount":"9223372036854775808"}`: "", `{"amount":5.0}`: "", `{"amount":true}`: "", `{"amount":["5"]}`: "",
	} {
		got, err := arguments.Read(&arguments.Readers{}, typ, json.RawMessage(args), arguments.Build)

		v, ok := got.Get("amount")
		if (err == nil) != (want != "") || ok && string(v.MarshalCedar()) != want {
			t.Errorf("%s: got %v (%v), want %q", args, v, err, want)
		}
	}
	if got, err := arguments.Read(&arguments.Readers{}, typ, json.RawMessage(`{"loose":"x"}`), arguments.Build); err != nil || got.Len() != 0 {
		t.Errorf("got %v (%v), want a mixed union left out", got, err)
	}
}
