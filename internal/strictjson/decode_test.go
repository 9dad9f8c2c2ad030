package strictjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/internal/strictjson"
	"github.com/google/go-cmp/cmp"
)

func TestDecodeReadsWhatIsPlain(t *testing.T) {
	got, err := strictjson.Decode([]byte(" {\"a\":[1,2.5,{\"b\":null}],\"A\":\"x\\u00e9\",\"t\":true,\"e\":{},\"l\":[]}\n"), 16)

	want := map[string]any{
		"a": []any{json.Number("1"), json.Number("2.5"), map[string]any{"b": nil}}, "A": "xé", "t": true,
		"e": map[string]any{}, "l": []any{},
	}
	if diff := cmp.Diff(got, want); err != nil || diff != "" {
		t.Errorf("%v; got, want: %s", err, diff)
	}
}

func TestDecodeRefusesWhatTwoReadersWouldReadDifferently(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "white space": " ", "two values": "1 2",
		"duplicate":             `{"a":1,"a":1}`,
		"duplicate inside":      `{"x":{"a":1,"a":2}}`,
		"duplicate in an array": `{"x":[{"a":1,"a":2}]}`,
		"duplicate by escape":   `{"a":1,"\u0061":2}`,
		"trailing text":         `{}x`,
		"trailing object":       `{}{}`,
		"trailing NUL":          "{}\x00",
		"trailing comma":        `{"a":1,}`,
		"comma in an array":     `{"a":[1,]}`,
		"missing colon":         `{"a" 1}`,
		"missing comma":         `{"a":1 "b":2}`,
		"number as a name":      `{1:2}`,
		"unterminated":          `{"a":1`,
		"unterminated array":    `{"a":[1`,
		"wrong bracket":         `{"a":[1}`,
		"comment":               `{/**/}`,
		"single quotes":         `{'a':1}`,
		"NaN":                   `{"a":NaN}`,
		"leading zero":          `{"a":01}`,
		"plus":                  `{"a":+1}`,
		"hex":                   `{"a":0x1}`,
		"control character":     "{\"a\":\"\x01\"}",
		"invalid UTF-8":         "{\"a\":\"\xff\"}",
		"overlong UTF-8":        "{\"a\":\"\xc0\xaf\"}",
		"surrogate as bytes":    "{\"a\":\"\xed\xa0\x80\"}",
		"lone surrogate":        `{"a":"\ud800"}`,
		"lone surrogate name":   `{"\udfff":1}`,
		"byte order mark":       "\ufeff{}",
		"17 deep":               strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17),
		"17 arrays deep":        `{"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := strictjson.Decode([]byte(text), 16); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
	if _, err := strictjson.Decode([]byte(strings.Repeat(`{"a":`, 16)+"1"+strings.Repeat("}", 16)), 16); err != nil {
		t.Errorf("16 deep: %v", err)
	}
}

func FuzzDecodeAcceptsOnlyWhatTheLibraryReadsTheSame(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":{"b":[1,"x",null]}}`, `{"a":1,"a":2}`, `{"\ud83d\ude00":1}`, `[]`, `{}x`, `{"a":1e999}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := strictjson.Decode(data, 16)
		if err != nil {
			return
		}
		if !utf8.Valid(data) || !json.Valid(data) {
			t.Fatal("accepted what is not JSON")
		}
		var want any
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, the library %v, %v", got, want, err)
		}
	})
}
