package behalf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/tools"
)

// quiet is a source as one finds it.
type quiet struct {
	source
	read    bool
	problem error
	notes   []string
}

func (q quiet) Read() bool      { return q.read }
func (q quiet) Problem() error  { return q.problem }
func (q quiet) Notes() []string { return q.notes }

func TestWhatAReloadGoesOnWithoutIsSaid(t *testing.T) {
	t.Parallel()
	var many []string
	for n := range 100 {
		many = append(many, fmt.Sprintf("left out: method M%d: %s", n, strings.Repeat("x", 4<<10)))
	}
	secret := errors.New("calling \"initialize\": key canary refused")
	kept := &running{source: quiet{read: true, notes: []string{"left out: method Old"}}}
	sn := &snapshot{
		Server: &Server{},
		cfg: &config.Config{Tools: map[string]config.Toolset{
			"down":    {GRPC: &config.GRPC{}},
			"keyed":   {MCP: &config.MCP{Headers: map[string]config.Secret{"X-Key": {}}}},
			"program": {MCP: &config.MCP{Command: []string{"/opt/canary"}}},
		}},
		sources: map[string]*running{
			"down":    {source: quiet{problem: errors.New("asked for reflection it answered Unimplemented: \x1b[31mno\nnever")}},
			"keyed":   {source: quiet{problem: secret}},
			"kept":    kept,
			"program": {source: quiet{problem: secret}},
			"slow":    {source: quiet{}},
			"whole":   {source: quiet{read: true}},
		},
		frozen: map[string][]tools.Tool{"kept": nil},
		left:   []tools.Left{{Name: "echo", Toolset: "whole", Why: "taken"}, {Name: "old", Toolset: "whole", Why: "taken"}},
	}
	was := &snapshot{sources: map[string]*running{"kept": kept}, left: sn.left[1:]}

	got := sn.lacks(was)

	const without = "; the reload went on without it, and its tools are taken once they are there"
	want := []string{
		"down: has no tools yet: asked for reflection it answered Unimplemented: [31mno; never" + without,
		"keyed: has no tools yet: the server's log says why" + without,
		"program: has no tools yet: the server's log says why" + without,
		"slow: has no tools yet: it was slow" + without,
		"tools: a backend has other tools than before, and they cannot be taken: those from before stay, and calls of what changed fail; the server's log says which and why",
		"whole: tool echo is left out: taken",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}

	sn.sources["whole"] = &running{source: quiet{read: true, notes: many}}
	got = sn.lacks(was)
	if last := got[len(got)-1]; len(got) != mostTold+1 || last != "and 74 more; the server's log has all" {
		t.Errorf("got %d notes, the last one %q", len(got), last)
	}
	for _, n := range got {
		if len(n) > mostLack || strings.ContainsAny(n, "\x1b\n") {
			t.Errorf("got a note of %d bytes", len(n))
		}
	}
}
