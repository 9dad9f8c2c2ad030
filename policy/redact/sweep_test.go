package redact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestDetectorsSearchEveryTextOfAResult(t *testing.T) {
	cases := []struct{ class, result, want string }{
		{"card", `{ "a" : "no card" }`, `{ "a" : "no card" }`},
		{"card", `{"a":"pay 4111 1111 1111 1111 now"}`, `{"a":"pay [redacted] now"}`},
		{"card", `{"a":[{"b":["4111111111111111"]}]}`, `{"a":[{"b":["[redacted]"]}]}`},
		{"card", `"4111111111111111"`, `"[redacted]"`},
		{"card", `4111111111111111`, `"[redacted]"`},
		{"card", `{"n":4111111111111111,"m":4111111111111112}`, `{"m":4111111111111112,"n":"[redacted]"}`},
		{"card", `{"n":4.111111111111111e15}`, `{"n":"[redacted]"}`},
		{"card", `{"n":4111111111111111.0}`, `{"n":"[redacted]"}`},
		{"card", `{"n":41111111111111110000e-4}`, `{"n":"[redacted]"}`},
		{"card", `{"n":1e400,"m":1e-400}`, `{"n":1e400,"m":1e-400}`},
		{"email", `{"alice@example.com":{"bob@example.com":1},"carol@example.com":2,"[redacted]":3}`, `{"[redacted]":3,"[redacted] 2":{"[redacted]":1},"[redacted] 3":2}`},
		{"email", `{"a":"\u0061lice\u0040example.com"}`, `{"a":"[redacted]"}`},
		{"secret", `{"a":"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nbye"}`, `{"a":"[redacted]\nbye"}`},
		{"all", `{"a":"alice@example.com","b":"+49 30 1234567","c":true,"d":null}`, `{"a":"[redacted]","b":"[redacted]","c":true,"d":null}`},
	}
	for _, c := range cases {
		for _, place := range []string{"", "result:"} {
			got, err := redaction(t, place+"pii:"+c.class).Result(json.RawMessage(c.result))

			if err != nil || string(got) != c.want {
				t.Errorf("%s on %s: got %s (%v), want %s", c.class, c.result, got, err, c.want)
			}
		}
		got, err := redaction(t, "args:pii:"+c.class+", stream:pii:all").Result(json.RawMessage(c.result))
		if err != nil || string(got) != c.result {
			t.Errorf("%s of arguments: got %s (%v), want the result as it is", c.class, got, err)
		}
	}
}

func TestDetectorsSearchArguments(t *testing.T) {
	for place, want := range map[string]string{"": `{"note":"[redacted]"}`, "args:": `{"note":"[redacted]"}`, "result:": `{"note":"4111111111111111"}`, "stream:": `{"note":"4111111111111111"}`} {
		sent, changed, err := redaction(t, place+"pii:card").Args(json.RawMessage(`{"note":"4111111111111111"}`))

		if err != nil || string(sent) != want || changed != strings.Contains(want, Mark) {
			t.Errorf("%q: got %s changed=%v (%v), want %s", place, sent, changed, err, want)
		}
	}
}

func TestWhatIsNoJSONIsTakenOutWhole(t *testing.T) {
	for _, result := range []string{`4111 1111 1111 1111`, `{"a":1,"a":"4111111111111111"}`, ``} {
		got, err := redaction(t, "pii:card").Result(json.RawMessage(result))

		if err == nil || string(got) != `"[redacted]"` {
			t.Errorf("%s: got %s (%v)", result, got, err)
		}
	}
}

// What stands in the place of a name must be free. Whoever writes the names must not
// have that looked for from the beginning for each of them.
func TestNamesThatBecomeOneCostNoMoreThanOthers(t *testing.T) {
	const names = 2000
	free, taken := &strings.Builder{}, &strings.Builder{}
	for i := range names {
		fmt.Fprintf(free, `"%x@b.co":%d,`, i, i)
		fmt.Fprintf(taken, `"[redacted] %d":%d,`, i+2, i)
	}
	for name, members := range map[string]string{"all": free.String(), "beside some that are taken": free.String() + taken.String()} {
		t.Run(name, func(t *testing.T) {
			doc := json.RawMessage("{" + strings.TrimSuffix(members, ",") + "}")
			r := redaction(t, "pii:email")
			out, err := r.Result(doc)
			if err != nil {
				t.Fatal(err)
			}

			ofResult := testing.AllocsPerRun(1, func() { _, _ = r.Result(doc) })
			ofArgs := testing.AllocsPerRun(1, func() { _, _, _ = r.Args(doc) })

			if got, want := bytes.Count(out, []byte(`":`)), bytes.Count(doc, []byte(`":`)); got != want {
				t.Errorf("got %d members, want %d", got, want)
			}
			if bytes.Contains(out, []byte("@")) {
				t.Error("an address is left")
			}
			if most := float64(60 * names); ofResult > most || ofArgs > most {
				t.Errorf("got %.0f allocations for a result and %.0f for arguments, want at most %.0f", ofResult, ofArgs, most)
			}
		})
	}
}
