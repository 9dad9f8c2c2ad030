package redact

import (
	"encoding/json"
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
