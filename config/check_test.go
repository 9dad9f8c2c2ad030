package config

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const desk = `
models: { m: { model: x } }
tools: { desk: { builtin: supportdesk }, shop: { builtin: shop } }
agents:
  all: { model: m, instructions: hi, tools: [desk/*, buy] }
  bounded: { model: m, instructions: hi, tools: [refund], scopes: [orders.refund, orders.read] }
  reader: { model: m, instructions: hi, tools: [look] }
  shut: { model: m, instructions: hi, tools: [refnd, gone/*], scopes: [] }
policy: { dir: policies }
`

func TestToolNamesAreCheckedOnceTheyAreKnown(t *testing.T) {
	c := parse(t, strings.Replace(desk, ", gone/*", "", 1))

	got := text(c.CheckTools(map[string][]string{"desk": {"look", "refund"}, "shop": {"buy", "look"}}, nil))

	want := []string{
		`behalf.yaml:3:42: tools.shop: its tool "look" has the name of one in desk; names of tools are global: give one of the sets a prefix`,
		`behalf.yaml:8:47: agents.shut.tools[0]: there is no tool "refnd"; did you mean refund?`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

func TestANameMayBelongToAToolsetThatIsNotThereYet(t *testing.T) {
	c := parse(t, strings.Replace(desk, ", gone/*", "", 1))

	if got := c.CheckTools(map[string][]string{"desk": {"look"}}, nil); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

func TestCeilingsWarnOfWritesWithoutOne(t *testing.T) {
	c := parse(t, strings.Replace(desk, ", gone/*", "", 1))

	var got []string
	for _, one := range c.Ceilings(map[string][]string{"desk": {"look", "refund"}}, func(tool string) ToolFacts { return ToolFacts{Reads: tool == "look"} }) {
		line := one.Agent + ": " + one.String()
		if one.Warning != nil {
			line += " | " + one.Warning.String()
		}
		got = append(got, line)
	}

	want := []string{
		"all: no ceiling of its own | behalf.yaml:5:3: agents.all: it can write (buy, refund) and has no ceiling of its own; add scopes: it then does less than the person it acts for",
		"bounded: orders.refund, orders.read",
		"reader: no ceiling of its own",
		"shut: nothing",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

func TestCeilingsForbidToolsWhoseScopesTheyLack(t *testing.T) {
	c := parse(t, `
models: { m: { model: x } }
tools: { desk: { builtin: desk } }
agents:
  typo: { model: m, instructions: hi, tools: [look, refund], scopes: [crm.raed, orders.refund] }
  less: { model: m, instructions: hi, tools: [look, refund], scopes: [] }
  fits: { model: m, instructions: hi, tools: [look], scopes: [crm.read] }
policy: { dir: policies }
`)
	needs := map[string][]string{"look": {"crm.read"}, "refund": {"orders.refund"}}

	var got []string
	for _, one := range c.Ceilings(map[string][]string{"desk": {"look", "refund"}}, func(tool string) ToolFacts { return ToolFacts{Scopes: needs[tool]} }) {
		line := one.Agent + ": " + strings.Join(one.Tools, " ") + "/" + strings.Join(one.Writes, " ")
		if one.Warning != nil {
			line += " | " + one.Warning.String()
		}
		got = append(got, line)
	}

	want := []string{
		"fits: look/look",
		"less: / | behalf.yaml:6:3: agents.less: look needs crm.read and refund needs orders.refund, which its ceiling leaves out; add what is missing to its scopes, or remove the tools",
		"typo: refund/refund | behalf.yaml:5:3: agents.typo: look needs crm.read, which its ceiling leaves out; did you mean crm.read where it says crm.raed?",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

func TestWhatIsNotKnownToReadIsAWrite(t *testing.T) {
	c := parse(t, strings.Replace(desk, ", gone/*", "", 1))

	got := c.Ceilings(nil, nil)[0]

	if d := cmp.Diff([]string{"buy", "desk/*"}, got.Writes); d != "" || got.Warning == nil {
		t.Errorf("warning %v, want, got:\n%s", got.Warning, d)
	}
}

func TestServingNeedsAnIdentity(t *testing.T) {
	c := parse(t, minimal)

	got := text(c.CheckServe())

	if len(got) != 2 || !strings.Contains(got[0]+got[1], "identity.workload.source: is missing") {
		t.Errorf("got %v, want a missing source and missing grants", got)
	}
}

func TestJWTBundlesNeedAnAudience(t *testing.T) {
	const files = `identity: { workload: { source: files, cert: c.pem, key: k.pem, bundles: { a.example: a.pem }, jwt_bundles: { a.example: a.jwks }, tenants: { a.example: acme }%s } }`
	at := world(map[string]fs.FileMode{"c.pem": 0o644, "k.pem": 0o600, "a.pem": 0o644, "a.jwks": 0o644})

	_, err := Parse("behalf.yaml", []byte(minimal+fmt.Sprintf(files, "")), at)
	_, with := Parse("behalf.yaml", []byte(minimal+fmt.Sprintf(files, ", audiences: [behalf]")), at)

	if err == nil || !strings.Contains(err.Error(), "identity.workload.audiences: is missing") || with != nil {
		t.Errorf("got %v and %v, want a missing audience and none", err, with)
	}
}

func TestFederationIsHeldAgainstItsProfile(t *testing.T) {
	at := world(map[string]fs.FileMode{"c.pem": 0o644, "k.pem": 0o600, "a.pem": 0o644})
	const file = `identity:
  workload:
    source: files
    cert: c.pem
    key: k.pem
    bundles: { a.example: a.pem }
    tenants: { a.example: acme, b.example: beta }
    federation:
      %s
`
	for text, want := range map[string]string{
		`b.example: { url: "https://b.example/x", profile: https_web }`:                                                        "",
		`b.example: { url: "https://b.example/x", profile: https_spiffe, endpoint_id: "spiffe://a.example/r" }`:                "",
		`b.example: { url: "https://b.example/x", profile: https_spiffe, endpoint_id: "spiffe://b.example/r", bundle: a.pem }`: "",
		`b.example: { profile: https_web }`:                                                                     ".url: is missing",
		`b.example: { url: "https://b.example/x" }`:                                                             ".profile: is missing",
		`b.example: { url: "https://b.example/x", profile: web }`:                                               `.profile: "web" is not one of`,
		`b.example: { url: "http://b.example/x", profile: https_web }`:                                          `.url: "http://b.example/x" is not https`,
		`b.example: { url: "http://127.0.0.1/x", profile: https_spiffe, endpoint_id: "spiffe://a.example/r" }`:  ".url: is not https, so nobody",
		`c.example: { url: "https://c.example/x", profile: https_web }`:                                         "has no tenant",
		`a.example: { url: "https://a.example/x", profile: https_web }`:                                         "has a bundle in a file too",
		`b.example: { url: "https://b.example/x", profile: https_web, endpoint_id: "spiffe://b.example/r" }`:    "belongs to the profile https_spiffe",
		`b.example: { url: "https://b.example/x", profile: https_spiffe }`:                                      ".endpoint_id: is missing",
		`b.example: { url: "https://b.example/x", profile: https_spiffe, endpoint_id: "spiffe://a.example/*" }`: ".endpoint_id: is a pattern",
		`b.example: { url: "https://b.example/x", profile: https_spiffe, endpoint_id: "spiffe://b.example/r" }`: ".bundle: is missing",
		`b.example: { url: "https://b.example/x", profile: https_web, max_stale: 1m }`:                          "out of range",
		`B.example: { url: "https://b.example/x", profile: https_web }`:                                         "is not a trust domain",
	} {
		_, err := Parse("behalf.yaml", []byte(minimal+fmt.Sprintf(file, text)), at)

		switch {
		case want == "" && err != nil:
			t.Errorf("%s: got %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "behalf.yaml:")):
			t.Errorf("%s: got %v, want a place and %q", text, err, want)
		}
	}
}

func TestLimitsHaveHardCaps(t *testing.T) {
	for text, want := range map[string]string{
		"  b: { model: m, instructions: x, max_turns: 64 }\nruns: { max_tool_calls: 2000 }": "",
		"  b: { model: m, instructions: x, max_turns: 1000 }\nruns: { max_turns: 1000 }":    "",
		"runs: { max_turns: 1001 }":                           `runs.max_turns: "1001" is out of range`,
		"runs: { max_turns: 0 }":                              `runs.max_turns: "0" is out of range`,
		"runs: { max_tool_calls: 2001 }":                      `runs.max_tool_calls: "2001" is out of range`,
		"  b: { model: m, instructions: x, max_turns: 1001 }": `agents.b.max_turns: "1001" is out of range`,
		"  b: { model: m, instructions: x, max_turns: 65 }":   "agents.b.max_turns: is more than the 64 turns of any run",
		"group_chats: { g: { kind: round_robin, participants: [a], max_turns: 20 } }\nruns: { max_turns: 19 }": "group_chats.g.max_turns: is more than the 19 turns",
	} {
		file := strings.Replace(minimal, "policy:", text+"\npolicy:", 1)

		_, err := Parse("behalf.yaml", []byte(file), world(nil))

		switch {
		case want == "" && err != nil:
			t.Errorf("%s: got %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestNotesSayWhatIsPerhapsNotMeant(t *testing.T) {
	c := parse(t, `
server: { http: 0.0.0.0:8080 }
identity:
  workload:
    source: workload_api
    tenants: { corp.example: acme }
    grants: [{ id: "spiffe://corp.example/**" }]
models: { m: { model: x } }
agents:
  a: { model: m, instructions: hi, scopes: [x], handoffs: [{ to: b, scopes: [x, y] }] }
  b: { model: m, instructions: hi }
group_chats:
  on: { kind: round_robin, participants: [a, b] }
  off: { kind: round_robin, participants: [a, b], max_turns: 4 }
  said: { kind: round_robin, participants: [a, b], termination: { mention: DONE } }
policy: { dir: policies }
`)

	got := strings.Join(text(c.Notes()), "\n")

	for _, want := range []string{"cross the network in the clear", "any workload of the trust domain", "no operator_tenant", "does not: y", "group_chats.on: has no termination and no max_turns"} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant a note with %q", got, want)
		}
	}
	if strings.Count(got, "no termination") != 1 {
		t.Errorf("got\n%s\nwant a note for one of the chats only", got)
	}
}

func text(list []Problem) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
