package behalf

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

// mostLack bounds what one answer says of one backend, in bytes.
const mostLack = 1 << 10

// lacks say without what of its backends a snapshot is in force, for whoever asked for
// it: an answer without a word of it would read as if all were there. What was lacking
// before already, and is none of the reload's doing, is in the log alone.
func (sn *snapshot) lacks(was *snapshot) (notes []string) {
	more := 0
	add := func(name, text string) {
		if len(notes) == mostTold {
			more++
			return
		}
		notes = append(notes, tools.Clean(name+": "+text, mostLack))
	}
	for _, name := range slices.Sorted(maps.Keys(sn.sources)) {
		for _, text := range sn.lacking(name, sn.sources[name] != was.sources[name]) {
			add(name, text)
		}
	}
	if len(sn.frozen) > 0 {
		add("tools", "a backend has other tools than before, and they cannot be taken: those from before stay, and calls of what changed fail; the server's log says which and why")
	}
	for _, l := range sn.left {
		if !slices.Contains(was.left, l) {
			add(l.Toolset, "tool "+l.Name+" is left out: "+l.Why)
		}
	}
	if more > 0 {
		notes = append(notes, fmt.Sprintf("and %d more; the server's log has all", more))
	}
	return notes
}

// lacking is what one backend lacks.
func (sn *snapshot) lacking(name string, fresh bool) (texts []string) {
	r := sn.sources[name]
	if !r.Read() && len(sn.brought[name]) > 0 {
		return []string{"is not there: " + sn.away(name) + "; calls of its tools fail until it is"}
	}
	if !r.Read() {
		return []string{"has no tools yet: " + sn.away(name) + "; the reload went on without it, and its tools are taken once they are there"}
	}
	if !fresh {
		return nil
	}
	texts = append(texts, r.Notes()...)
	if m, ok := r.inner().(*mcptool.Source); ok {
		if n := len(m.Offers()); n > 0 {
			texts = append(texts, fmt.Sprintf("%d of its tools are not in use: `%s %s` says why", n, cmp.Or(sn.opt.review, "behalf tools review"), name))
		}
	}
	return texts
}

// away is why a backend is not there. A server to which we show secrets may say them
// again, and what is wrong with a program names paths of this machine.
func (sn *snapshot) away(name string) string {
	if m := sn.cfg.Tools[name].MCP; m != nil && (len(m.Command) > 0 || len(m.Headers) > 0) {
		return "the server's log says why"
	}
	return oneLine(sn.sources[name].Problem())
}
