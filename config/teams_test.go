package config

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAConditionIsAskedAboutTheLastMessage(t *testing.T) {
	long := strings.Repeat("a", 4<<20)
	for _, row := range []struct {
		when, text, source string
		want               bool
	}{
		{"text.contains('APPROVE')", "I APPROVE this", "critic", true},
		{"text.contains('APPROVE')", "no", "critic", false},
		{"source == 'critic' && !text.startsWith('REVISE')", "fine", "critic", true},
		{"source == 'critic'", "fine", "writer", false},
		{"text.matches('(?i)^approved?[.!]?$')", "Approved.", "critic", true},
		{"size(text) > 3", "four", "x", true},
		{"text.contains('b')", long, "x", false},
		{"int(text) > 3", "not a number", "x", false},
		{"[1,2,3].all(a, [1,2,3].all(b, [1,2,3].all(c, text.matches('(a*)*b'))))", long, "x", false},
	} {
		c, err := Compile(row.when)
		if err != nil {
			t.Fatalf("%s: %v", row.when, err)
		}

		if got := c.Holds(row.text, row.source); got != row.want {
			t.Errorf("%s: got %t, want %t", row.when, got, row.want)
		}
	}
}

func TestAChoiceNamesSomebodyOrNobody(t *testing.T) {
	for _, row := range []struct{ choose, text, source, want string }{
		{"source == 'a' ? 'b' : ''", "x", "a", "b"},
		{"source == 'a' ? 'b' : ''", "x", "b", ""},
		{"{'a': 'b'}[source]", "x", "nobody", ""},
	} {
		c, err := CompileChoice(row.choose)
		if err != nil {
			t.Fatalf("%s: %v", row.choose, err)
		}

		if got := c.Name(row.text, row.source); got != row.want {
			t.Errorf("%s: got %q, want %q", row.choose, got, row.want)
		}
	}
	if _, err := CompileChoice("text == 'x'"); err == nil || !strings.Contains(err.Error(), "gives bool and not a name") {
		t.Errorf("got %v, want that it gives no name", err)
	}
}

func TestALongConditionIsRefused(t *testing.T) {
	if _, err := Compile("text == '" + strings.Repeat("x", maxExpression) + "'"); err == nil {
		t.Error("got none, want a problem")
	}
}

func TestASchemaKeepsItsOrderAndItsTypes(t *testing.T) {
	c := parse(t, `
models: { m: { model: x } }
agents:
  a:
    model: m
    instructions: hi
    output:
      schema:
        type: object
        properties:
          zebra: { type: integer, minimum: 1, maximum: 2.5, const: yes }
          "näme\n": { enum: [a, 1, true, null, 2020-01-01, "${env:KEY}", []] }
        required: [zebra]
policy: { dir: policies }
`)

	got := string(c.Agents["a"].Output.Schema)

	want := `{"type":"object","properties":{"zebra":{"type":"integer","minimum":1,"maximum":2.5,"const":"yes"},` +
		`"näme\n":{"enum":["a",1,true,null,"2020-01-01","${env:KEY}",[]]}},"required":["zebra"]}`
	if d := cmp.Diff(want, got); d != "" || !json.Valid([]byte(got)) {
		t.Errorf("want, got:\n%s", d)
	}
}

func TestASchemaMayBeInAFile(t *testing.T) {
	w := world(nil)
	w.Env = func(string) (string, bool) { return `{"type": "object"}`, true }

	c, err := Parse("behalf.yaml", []byte(strings.Replace(minimal, "instructions: hi", `instructions: hi, output: { schema: "${env:S}" }`, 1)), w)
	if err != nil {
		t.Fatal(err)
	}

	if got := c.Agents["a"].Output.Schema; got != `{"type": "object"}` {
		t.Errorf("got %s", got)
	}
}

const chats = `
models: { m: { model: x } }
tools: { ask: { agent: alone }, desk: { builtin: desk } }
agents:
  alone: { model: m, instructions: hi, handoffs: [other, { to: boss, name: boss_please }, room, lost] }
  other: { model: m, instructions: hi, tools: [ask] }
  boss: { kind: human, who: { role: manager } }
  lost: { kind: human }
group_chats:
  room: { kind: round_robin, participants: [other] }
  inner: { kind: swarm, participants: [alone, room] }
  outer: { kind: round_robin, participants: [{ name: inner, scopes: [] }, other], termination: { any: [{ all: [{ handoff: boss }, { function: look }] }, { max_messages: 5 }] } }
policy: { dir: policies }
`

func TestAHandOffIsOfferedWhereItLeadsSomewhere(t *testing.T) {
	c := parse(t, chats)
	for name, row := range map[string]struct {
		chats []string
		want  []string
	}{
		"by itself":    {nil, []string{"other"}},
		"in a chat":    {[]string{"inner"}, []string{"room"}},
		"nested":       {[]string{"outer", "inner"}, []string{"other", "boss", "room"}},
		"in the outer": {[]string{"outer"}, []string{"other", "boss"}},
	} {
		var got []string
		for _, h := range c.Offers("alone", row.chats...) {
			got = append(got, h.To)
		}
		if d := cmp.Diff(row.want, got); d != "" {
			t.Errorf("%s: want, got:\n%s", name, d)
		}
	}

	notes := strings.Join(text(c.Notes()), "\n")
	if !strings.Contains(notes, "agents.alone.handoffs[3].to: leads nowhere") || strings.Count(notes, "leads nowhere") != 1 {
		t.Errorf("got notes\n%s\nwant one about the hand-off to lost", notes)
	}
}

func TestNamesOfToolsInChatsAreCheckedOnceTheyAreKnown(t *testing.T) {
	c := parse(t, chats)

	got := text(c.CheckTools(map[string][]string{"ask": {"ask"}, "desk": {"boss_please", "looks"}}, nil))

	want := []string{
		`behalf.yaml:5:76: agents.alone.handoffs[1].name: is the name of a tool too; choose another one`,
		`behalf.yaml:12:143: group_chats.outer.termination.any[0].all[1].function: there is no tool "look"; did you mean looks?`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

func TestTheShortFormsMeanTheLongOnes(t *testing.T) {
	short := parse(t, chats)
	long := parse(t, strings.NewReplacer("max_messages: 5", "max_messages: { count: 5 }", "participants: [other]", "participants: [{ name: other }]").Replace(chats))

	if short.Revision() != long.Revision() {
		t.Error("they differ")
	}
}

func TestPersonsHaveNoCeiling(t *testing.T) {
	for _, one := range parse(t, chats).Ceilings(nil, nil) {
		if one.Agent == "boss" {
			t.Error("a person calls nothing and needs none")
		}
	}
}

func TestAConditionIsShownAsItIsWritten(t *testing.T) {
	c := parse(t, chats)
	outer, inner := c.GroupChats["outer"], c.GroupChats["inner"]

	want := `{"any":[{"all":[{"handoff":"boss"},{"function":"look"}]},{"max_messages":{"count":5}}]}`
	if got := outer.Termination.JSON(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := inner.Termination.JSON(); got != "" {
		t.Errorf("got %s for none", got)
	}
}
