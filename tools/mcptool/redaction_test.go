package mcptool_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

// card is a tool that says what its results have, and takes more of them.
const card = `{"name":"card","description":"A card.","inputSchema":{"type":"object"},
	"outputSchema":{"type":"object","properties":{"number":{"type":"string"},"name":{"type":"string"}}}}`

// shows is a world of one tool that answers so, of whose results the number is hidden.
func shows(t *testing.T, effect tools.Effect, answer string) *world {
	t.Helper()
	c := serve(t, &liar{tools: card, call: func(w http.ResponseWriter, _ *http.Request, id json.RawMessage) { reply(w, id, answer) }})
	c.Tools = map[string]mcptool.Known{"card": {Effect: effect}}
	w := newWorld(t, c)
	w.more = `@id("hide") @redact("result:$.number") forbid (principal, action == Action::"call_tool", resource == Tool::"card");`
	return w.open("card")
}

func TestARedactionByPathFindsWhatItHides(t *testing.T) {
	w := shows(t, tools.Read, `{"content":[{"type":"text","text":"{\"number\":\"4111 1111\"}"}],"structuredContent":{"number":"4111 1111","name":"bob"}}`)

	got := w.bob("card", `{}`)

	want(t, got, `"number":"[redacted]"`)
	want(t, got, `"name":"bob"`)
	without(t, got, "4111")
}

// Content is of another shape than the schema says by which the policy's path was
// accepted, and an open schema takes it all the same.
func TestContentDoesNotStandInForWhatASchemaDescribes(t *testing.T) {
	for name, answer := range map[string]string{
		"text alone":             `{"content":[{"type":"text","text":"{\"number\":\"4111 1111\",\"name\":\"bob\"}"}]}`,
		"null":                   `{"content":[{"type":"text","text":"4111 1111"}],"structuredContent":null}`,
		"nothing at all":         `{"content":[]}`,
		"a failure that is none": `{"content":[{"type":"text","text":"4111 1111"}],"isError":false}`,
	} {
		for effect, reason := range map[tools.Effect]fault.Reason{tools.Read: fault.ToolUnavailable, tools.Write: fault.OutcomeUnknown} {
			t.Run(name+" of a "+string(effect), func(t *testing.T) {
				w := shows(t, effect, answer)

				got, text := w.fails("card", `{}`)

				if got != reason {
					t.Errorf("got %q %s, want %q", got, text, reason)
				}
				without(t, text, "4111")
				want(t, w.reported(), "lacks the structured content")
				without(t, w.reported(), "4111")
			})
		}
	}
}

// What a tool says of a failure has no schema, and no place that a path could name.
func TestAFailureSaysNothingWhereResultsAreHiddenByTheirPlace(t *testing.T) {
	for name, answer := range map[string]string{
		"text":            `{"content":[{"type":"text","text":"4111 1111 is locked"}],"isError":true}`,
		"text as JSON":    `{"content":[{"type":"text","text":"{\"number\":\"4111 1111\"}"}],"isError":true}`,
		"with the result": `{"content":[{"type":"text","text":"4111 1111"}],"structuredContent":{"number":"4111 1111"},"isError":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := shows(t, tools.Read, answer)

			reason, text := w.fails("card", `{}`)

			if reason != "" {
				t.Errorf("got the reason %q, want the tool's own failure", reason)
			}
			want(t, text, "withheld")
			without(t, text, "4111")
			without(t, w.reported(), "4111")
		})
	}
}

func TestAFailureOfAToolWithASchemaIsItsText(t *testing.T) {
	w := newWorld(t, serve(t, &liar{tools: card, call: func(w http.ResponseWriter, _ *http.Request, id json.RawMessage) {
		reply(w, id, `{"content":[{"type":"text","text":"there is no such card"}],"isError":true}`)
	}})).open("card")

	_, text := w.fails("card", `{}`)

	want(t, text, "there is no such card")
}
