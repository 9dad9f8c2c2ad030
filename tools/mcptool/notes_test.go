package mcptool_test

import (
	"testing"

	"github.com/behalf-dev/behalf/tools/mcptool"
)

// What the file says of a tool that the server does not have is the operator's to mend.
func TestTheOperatorIsWarnedOfAToolThatTheServerDoesNotList(t *testing.T) {
	c := serve(t, newBackend().handler(nil))
	c.Tools = map[string]mcptool.Known{"nothing": {}}
	w := newWorld(t, c)

	w.told(`level=WARN msg="a note about a tool backend" server=ext note="the server lists no tool \"nothing\""`)
}
