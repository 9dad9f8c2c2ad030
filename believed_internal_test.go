package behalf

import (
	"fmt"
	"testing"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/tools"
)

// asking is a snapshot whose backend has these tools.
func asking(section config.Toolset, list ...tools.Tool) *snapshot {
	return &snapshot{
		cfg: &config.Config{Tools: map[string]config.Toolset{"crm": section}}, sources: map[string]*running{"crm": {}}, brought: map[string][]tools.Tool{"crm": list},
	}
}

func needing(name string, scopes ...string) tools.Tool {
	return tools.Tool{Descriptor: tools.Descriptor{Name: name, Scopes: scopes}}
}

// TestWhatAToolAskedIsRememberedWhileItIsAway, also by an operator's reload that had
// nothing to accept of it, and until the operator writes the section anew.
func TestWhatAToolAskedIsRememberedWhileItIsAway(t *testing.T) {
	t.Parallel()
	d, start := demands{}, asking(config.Toolset{})
	with, without := asking(config.Toolset{}, needing("refund", "orders")), asking(config.Toolset{})
	d.keep(start, with)
	d.keep(with, without)

	if tool, why := d.weaker("crm", []tools.Tool{needing("refund")}); tool != "refund" || why == "" {
		t.Errorf("got %q, %q, want it not believed", tool, why)
	}
	if _, why := d.weaker("crm", []tools.Tool{needing("refund", "orders", "more"), needing("other")}); why != "" {
		t.Errorf("got %q, want more scopes and another tool believed", why)
	}
	d.keep(without, asking(config.Toolset{Prefix: "new_"}))
	if _, why := d.weaker("crm", []tools.Tool{needing("refund")}); why != "" {
		t.Errorf("got %q, want the operator's new word to hold", why)
	}
}

// TestABackendIsRememberedByABoundedNumberOfNames: one that has ever new ones is not
// believed any more, until an operator takes what it has.
func TestABackendIsRememberedByABoundedNumberOfNames(t *testing.T) {
	t.Parallel()
	d, was := demands{}, asking(config.Toolset{})
	for i := range mostDemands {
		next := asking(config.Toolset{}, needing(fmt.Sprint("tool", i), "orders"))
		if _, why := d.weaker("crm", next.brought["crm"]); why != "" {
			t.Fatalf("%d: got %q", i, why)
		}
		d.keep(was, next)
		was = next
	}
	more := asking(config.Toolset{}, needing("one_more"))
	if _, why := d.weaker("crm", more.brought["crm"]); why == "" {
		t.Error("got one name more than is remembered")
	}
	if _, why := d.weaker("crm", []tools.Tool{needing("tool7", "orders")}); why != "" {
		t.Errorf("got %q, want a tool that is known", why)
	}
	d.keep(was, more)
	if _, why := d.weaker("crm", []tools.Tool{needing("another")}); why != "" || len(d["crm"]) != 1 {
		t.Errorf("got %q and %d names, want it to begin anew", why, len(d["crm"]))
	}
}
