package tools

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostile is the corpus of texts that some decoder reads differently from
// another. All of them are refused as arguments.
var hostile = map[string]string{
	"empty":                      ``,
	"white space":                ` `,
	"byte order mark":            "\ufeff{}",
	"duplicate":                  `{"a":1,"a":2}`,
	"duplicate by escape":        `{"a":1,"\u0061":2}`,
	"duplicate deep down":        `{"x":[{"y":{"a":1,"a":2}}]}`,
	"case variant":               `{"amount":5,"AMOUNT":500}`,
	"case variant, long s":       `{"sum":5,"\u017fum":500}`,
	"case variant, kelvin":       `{"key":5,"\u212aey":500}`,
	"trailing value":             `{} {}`,
	"trailing bytes":             `{}x`,
	"trailing NUL":               "{}\x00",
	"trailing comma":             `{"a":1,}`,
	"comment":                    `{/**/}`,
	"single quotes":              `{'a':1}`,
	"bare name":                  `{a:1}`,
	"NaN":                        `{"a":NaN}`,
	"infinity":                   `{"a":Infinity}`,
	"minus infinity":             `{"a":-Infinity}`,
	"huge exponent":              `{"a":1e999999999}`,
	"small exponent":             `{"a":1e2}`,
	"fraction and exponent":      `{"a":1.5e3}`,
	"beyond 64 bits":             `{"a":9223372036854775808}`,
	"below 64 bits":              `{"a":-9223372036854775809}`,
	"too many digits":            `{"a":0.` + strings.Repeat("1", 40) + `}`,
	"minus zero":                 `{"a":-0}`,
	"leading zero":               `{"a":01}`,
	"plus":                       `{"a":+1}`,
	"no digit before the point":  `{"a":.5}`,
	"no digit after the point":   `{"a":5.}`,
	"hexadecimal":                `{"a":0x10}`,
	"entity":                     `{"__entity":{"type":"User","id":"root"}}`,
	"entity by escape":           `{"\u005f_entity":{"type":"User","id":"root"}}`,
	"entity deep down":           `{"a":[{"b":{"__extn":{"fn":"decimal","arg":"1.0"}}}]}`,
	"invalid UTF-8":              "{\"a\":\"\xff\"}",
	"overlong UTF-8":             "{\"a\":\"\xc0\xaf\"}",
	"lone surrogate":             `{"a":"\ud800"}`,
	"lone low surrogate":         `{"a":"\udc00"}`,
	"surrogate and no surrogate": `{"a":"\ud800\u0041"}`,
	"NUL in a string":            `{"a":"x\u0000y"}`,
	"raw newline in a string":    "{\"a\":\"x\ny\"}",
	"bad escape":                 `{"a":"\x41"}`,
	"signed hex escape":          `{"a":"\u+041"}`,
	"cut off":                    `{"a":"`,
	"cut off in an escape":       `{"a":"\u00`,
	"too deep":                   strings.Repeat(`{"a":`, 33) + `1` + strings.Repeat(`}`, 33),
	"too deep, lists":            `{"a":` + strings.Repeat(`[`, 32) + strings.Repeat(`]`, 32) + `}`,
	"far too deep":               strings.Repeat(`[`, 60000),
	"too large":                  `{"a":"` + strings.Repeat("x", 64<<10-7) + `"}`, // by one byte
	"a list":                     `[]`,
	"a string":                   `""`,
	"null":                       `null`,
	"a number":                   `1`,
}

func TestHostileArgumentsAreRefused(t *testing.T) {
	for name, text := range hostile {
		if _, bad := parseArguments(text); bad == nil {
			t.Errorf("%s: accepted %.60q", name, text)
		}
	}
}

func TestExactArgumentsAreKeptByteForByte(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{}`, `{}`},
		{` { "a" : 1 , "b" : [ ] } `, `{"a":1,"b":[]}`},
		{`{"n":9007199254740993,"min":-9223372036854775808,"max":9223372036854775807}`, ``},
		{`{"d":0.1,"e":1.10,"f":-0.5}`, ``},
		{`{"s":"a\u00e9\ud83d\ude00\n<&>","t":"é😀 "}`, ``},
		{`{"z":{"y":[true,false,null]},"a":""}`, ``},
		{strings.Repeat(`{"a":`, 32) + `1` + strings.Repeat(`}`, 32), ``},
		{`{"a":"` + strings.Repeat("x", 64<<10-8) + `"}`, ``},
	} {
		if tc.want == "" {
			tc.want = tc.text
		}

		got, bad := parseArguments(tc.text)

		if bad != nil {
			t.Errorf("%s: refused: %s %s", tc.text, bad.Path, bad.Problem)
		} else if string(got.raw) != tc.want {
			t.Errorf("got %s, want %s", got.raw, tc.want)
		}
	}
}

func TestAProblemNamesThePlaceAndNoValue(t *testing.T) {
	_, bad := parseArguments(`{"list":[1,{"a/b~c":{"k":"secret","k":"secret"}}]}`)

	if bad == nil || bad.Path != "/list/1/a~1b~0c/k" || strings.Contains(bad.Problem, "secret") {
		t.Errorf("got %+v, want the pointer /list/1/a~1b~0c/k and no value", bad)
	}
}

func TestCleanLeavesNothingThatHarms(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		n        int
	}{
		{"plain", "plain", 10},
		{"a\x1b[31mred\x07\u202edcba\u2028", "a[31mreddcba", 100},
		{"line\nline\ttab\r", "line line tab ", 100},
		{"bad\xff\xfeutf", "badutf", 100},
		{"ääää", "ää", 5},
		{"\x00\x01", "", 10},
	} {
		if got := clean(tc.in, tc.n); got != tc.want {
			t.Errorf("clean(%q): got %q, want %q", tc.in, got, tc.want)
		}
	}
}

// FuzzArguments: what is accepted means the same to encoding/json, and says
// itself again.
func FuzzArguments(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Add(`{"a":[1,2.5,"x\u00e9",{"b":null}],"c":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, bad := parseArguments(text)
		if bad != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(got.raw))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("accepted %q, which is not JSON: %v", text, err)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Fatalf("accepted %q with something after it", text)
		}
		if diff := cmp.Diff(any(got.values), want); diff != "" {
			t.Fatalf("%q is read differently (-got +want):\n%s", text, diff)
		}
		again, bad := parseArguments(string(got.raw))
		if bad != nil || !bytes.Equal(again.raw, got.raw) {
			t.Fatalf("%q does not say itself again: %s, %v", got.raw, again.raw, bad)
		}
	})
}
