package mcptool_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

// The reference server of the protocol's authors, which is another implementation
// than ours on both sides. Over stdio: its HTTP listens on all interfaces.
func TestTheReferenceServer(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not here")
	}
	main := filepath.Join("..", "..", ".peers", "node", "node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js")
	if _, err := os.Stat(main); err != nil {
		t.Skip("the server is not here: make peers (it wants npm)")
	}
	w := newWorld(t, mcptool.Config{
		Command: []string{node, main, "stdio"}, Env: map[string]identity.Secret{"PATH": identity.NewSecret("/usr/bin:/bin")},
		TrustOnFirstUse: true, Tools: map[string]mcptool.Known{"echo": {Effect: tools.Read}},
	})
	w.open("get_sum")
	if r, err := tools.NewRegistry(w.all()...); err != nil || len(r.Names()) < 10 {
		t.Fatalf("got %v, %v", r.Names(), err)
	}

	want(t, w.bob("echo", `{"message":"hi"}`), "Echo: hi")
	want(t, w.bob("get_sum", `{"a":2,"b":3}`), "5")
	if got := w.bob("get_structured_content", `{"location":"New York"}`); !strings.Contains(got, `"temperature"`) || strings.Contains(got, `"content"`) {
		t.Errorf("got %s, want the structured content alone", got)
	}
	want(t, w.bob("get_tiny_image", `{}`), `"type":"image","mime_type":"image/png"`)
	got := w.bob("get_env", `{}`)
	without(t, got, "HOME")
	if told := w.progress("trigger_long_running_operation", `{"duration":1,"steps":2}`); len(told) == 0 {
		t.Error("nobody was told of the progress")
	}
}
