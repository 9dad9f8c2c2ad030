package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
)

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("behalf.yaml", []byte(text), config.World{Env: func(name string) (string, bool) { return name, true }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const running = `
server: { listen: "127.0.0.1:8443", limits: { calls_per_user: 10 } }
policy: { dir: . }
audit:
  digest_key: ${env:one_long_enough_to_be_a_digest_key_of_the_log}
  tenants: { acme: { on_unavailable: journal } }
models: { m: { demo: restart_test.go } }
agents: { a: { model: m, instructions: x } }
`

func TestNeedsRestartNamesWhatARunningServerCannotTake(t *testing.T) {
	was := parsed(t, running)
	for name, c := range map[string]struct {
		from, to string
		want     []string
	}{
		"nothing":                      {"", "", nil},
		"a limit":                      {"calls_per_user: 10", "calls_per_user: 11", []string{"2:63: server.limits.calls_per_user"}},
		"two":                          {"server: { listen: \"127.0.0.1:8443\"", "store: { dsn: \"sqlite:///x\" }\nserver: { listen: \"127.0.0.1:8444\"", []string{"2:15: store.dsn", "3:19: server.listen"}},
		"a secret, which is not shown": {"one_long_enough", "two_long_enough", []string{"5:15: audit.digest_key"}},
		"what is taken out":            {"\n  tenants: { acme: { on_unavailable: journal } }", "", []string{"4:1: audit.tenants"}},
		"a map":                        {"acme: {", "other: {", []string{"6:3: audit.tenants"}},
		"what is reloaded": {
			"models: { m: { demo: restart_test.go } }\nagents: { a: { model: m, instructions: x } }",
			"models: { n: { demo: restart_test.go } }\nagents: { b: { model: n, instructions: y } }", nil,
		},
		"the policy folder": {"policy: { dir: . }", "policy: { dir: .., require_coverage: true }", nil},
		"issuers":           {"policy: {", "identity: { jwt: { issuers: [{ issuer: \"https://x.example\", audiences: [b], algorithms: [ES256], tenant: acme }] } }\npolicy: {", nil},
		"approvals":         {"policy: { dir: . }", "policy: { dir: ., approval_life: 2h }", []string{"3:34: policy.approval_life"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range was.NeedsRestart(parsed(t, strings.Replace(running, c.from, c.to, 1))) {
				got = append(got, strings.TrimPrefix(p.String(), "behalf.yaml:"))
			}

			same := slices.EqualFunc(got, c.want, func(got, want string) bool {
				return got == want+": has changed, and needs a restart; put it back as it was, or restart the server"
			})
			if !same {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
