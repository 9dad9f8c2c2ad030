package autogen_test

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/config/autogen"
	"github.com/google/go-cmp/cmp"
)

// brought are the tools of the examples.
var brought = map[string][]string{"desk": {"get_customer", "list_orders", "refund_order"}}

// examples are configurations of this repository.
var examples = []string{"../../config.example.yaml", "../../examples/teams/behalf.yaml", "../../examples/supportdesk/behalf.yaml", "testdata/everything.yaml"}

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, bytes.ReplaceAll(data, []byte("${file:"), []byte("${env:")))
}

// parse reads the chats, agents, tools and models of a file: problems with the
// rest, such as keys that are not here, do not matter.
func parse(t *testing.T, data []byte) *config.Config {
	t.Helper()
	cfg, err := config.Parse("behalf.yaml", data, config.World{Env: func(string) (string, bool) { return "x", true }})
	if p, ok := err.(*config.Problems); ok {
		cfg = p.Rest
	}
	if cfg == nil {
		t.Fatal(err)
	}
	return cfg
}

func TestExportImportExportIsStable(t *testing.T) {
	for _, file := range examples {
		cfg := load(t, file)
		for _, target := range slices.Sorted(maps.Keys(cfg.GroupChats)) {
			t.Run(target, func(t *testing.T) { stable(t, cfg, target) })
		}
		for _, target := range slices.Sorted(maps.Keys(cfg.Agents)) {
			t.Run(target, func(t *testing.T) { stable(t, cfg, target) })
		}
	}
}

func stable(t *testing.T, cfg *config.Config, target string) {
	first, _, err := autogen.Export(cfg, target, brought)
	if err != nil {
		t.Fatal(err)
	}
	r, err := autogen.Import("team.json", first, autogen.Options{Tools: brought["desk"]})
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := autogen.Export(r.Config, r.Target, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.YAML)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Errorf("the second export differs (-first +second):\n%s\nfragment:\n%s", diff, r.YAML)
	}
}
